// The attention decoder of a speech model at work, without LibTorch: texts that grow token by token
// while they attend to an utterance. Whisper's decoder is one.
//
//   SpeechDecoder decoder(model, {}, pool);
//   DecoderMemory memory = decoder.Remember(hidden);          // of the encoder, once an utterance
//   DecoderText text = decoder.Begin();
//   std::vector<float> logits = decoder.Run(memory, text, prompt);      // of the last token
//   logits = decoder.Run(memory, text, {&token, 1});
//   DecoderText other = text;                                  // a beam: shares what it has
//
// A SpeechDecoder is immutable; texts and memories belong to one thread each.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/layer.h"
#include "engine/packed_model.h"
#include "rondo/speech_model.h"

namespace rondo {

// Keys and values of cross-attention, for every depth.
struct DecoderMemory {
  KvSequence sequence;
  int length = 0;
};

// Keys and values of a text's tokens. Copies share pages until one of them writes.
struct DecoderText {
  KvSequence sequence;
  int length = 0;
};

class SpeechDecoder {
 public:
  // `type` as in EngineOptions. Throws when the model has no decoder. `pool` outlives the decoder;
  // the model itself is not kept.
  SpeechDecoder(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool);

  const ModelConfig& config() const { return config_; }
  uint64_t bytes() const { return weights_.bytes(); }
  uint64_t page_bytes() const { return pages_->page_bytes(); }

  // hidden [positions, d_model] as the encoder gives it.
  DecoderMemory Remember(std::span<const float> hidden) const;
  DecoderText Begin() const { return {KvSequence(pages_), 0}; }
  // Appends `tokens`; returns the logits of the last one [vocab], or of all [tokens, vocab]. Throws
  // for tokens outside the vocabulary and texts longer than max_positions.
  std::vector<float> Run(const DecoderMemory& memory, DecoderText& text,
                         std::span<const int32_t> tokens, bool all = false) const;
  // One token for each of several texts of the same utterance: logits [texts, vocab].
  std::vector<float> Step(const DecoderMemory& memory, std::span<DecoderText* const> texts,
                          std::span<const int32_t> tokens) const;

  // Attention of a head over the utterance while the tokens of a text are read: weights
  // [heads, tokens, memory.length] for the (depth, head) pairs asked for.
  std::vector<float> CrossAttention(const DecoderMemory& memory, std::span<const int32_t> tokens,
                                    std::span<const std::array<int, 2>> heads) const;

 private:
  struct Piece {
    DecoderText* text;
    std::span<const int32_t> tokens;
  };
  // Hidden rows of all pieces, one behind the other, before the final norm. `queries` [depths], if
  // given, are filled with those of cross-attention.
  std::vector<float> Forward(const DecoderMemory& memory, std::span<const Piece> pieces,
                             std::vector<std::vector<float>>* queries = nullptr) const;
  void Embed(int32_t token, int position, float* out) const;
  std::vector<float> Head(std::span<float> hidden) const;
  LayerContext Context(const Tap& tap, Workspace& space) const;

  ModelConfig config_;
  ThreadPool& pool_;
  PackedModel weights_;
  Rope rope_;
  std::shared_ptr<KvPagePool> pages_;
  mutable WorkspacePool spaces_;
};

}  // namespace rondo
