// The encoder of a speech model at work, without LibTorch: for whole utterances and for streams, to
// the same bits. Whisper's encoder runs here too.
//
//   SpeechEncoder encoder(model, {}, pool);
//   std::vector<float> hidden = encoder.Run(features, {});              // [positions, d_model]
//   EncoderStream stream(encoder, {.chunk = 8, .left_chunks = 4});
//   stream.Push(some_frames, &hidden);  …  stream.Finish(&hidden);     // appends what is certain
//
// A SpeechEncoder is immutable; any number of threads may use it (they take turns in the pool). A
// stream belongs to one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/layer.h"
#include "engine/packed_model.h"
#include "kernels/aligned_buffer.h"
#include "rondo/speech_model.h"

namespace rondo {

class SpeechEncoder {
 public:
  // `type` as in EngineOptions: of the matrices in memory; nullopt: as the file has them. `pool`
  // outlives the encoder; the model itself is not kept.
  SpeechEncoder(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool);

  // hidden[Positions(frames), d_model] of features[frames, mel_bins].
  std::vector<float> Run(std::span<const float> features, const AttentionContext& context) const;

  // What enters the first layer: [Positions(frames), d_model].
  std::vector<float> LayerInput(std::span<const float> features) const;

  const SpeechConfig& speech() const { return speech_; }
  const ModelConfig& config() const { return config_; }
  ThreadPool& pool() const { return pool_; }
  uint64_t bytes() const;  // of packed weights

 private:
  friend class EncoderStream;

  // One convolution: a product over three frames, one behind the other.
  struct Conv {
    PackedMatrix weight;      // [d_model, 3 · in]
    std::vector<float> bias;  // [d_model]
    int64_t in;
    int stride;
  };

  // A frame as the first convolution reads it.
  void Normalize(float* frames, int64_t count) const;
  // Rows [count, d_model] from windows[count, 3 · in].
  void RunConv(const Conv& conv, std::span<const float> windows, int64_t count, float* out,
               MatMulInput& input) const;
  void AddPositions(float* hidden, int64_t first, int64_t count) const;
  void FinalNorm(float* hidden, int64_t count) const;

  SpeechConfig speech_;
  ModelConfig config_;
  ThreadPool& pool_;
  PackedModel weights_;
  std::vector<Conv> convs_;
  std::vector<float> shift_, scale_;  // empty: features as they are
  std::vector<float> frequencies_;
};

// An utterance as it comes in. Memory is bounded where left_chunks is: keys and values of the
// chunks that can still be seen, and a few frames.
class EncoderStream {
 public:
  // `encoder` outlives the stream. A chunk of 0 waits for the whole utterance.
  EncoderStream(const SpeechEncoder& encoder, const AttentionContext& context);

  // Takes features[frames, mel_bins]; appends to `hidden` the rows of every chunk that is complete.
  void Push(std::span<const float> features, std::vector<float>* hidden);
  // The utterance is over: appends the rest.
  void Finish(std::vector<float>* hidden);
  // Begins another utterance; memory is kept.
  void Reset();
  // Memory of keys, values, buffers and workspace.
  uint64_t bytes() const;

 private:
  friend class SpeechEncoder;
  // Frames before a convolution that has not used them up.
  struct ConvState {
    std::vector<float> frames;  // from frame `first` on
    int64_t first = 0, received = 0, done = 0;
  };

  void RunConvs(size_t at, std::span<const float> frames, bool end);
  void RunChunk(int64_t count, std::vector<float>* hidden);
  void RunPositions(bool end, std::vector<float>* hidden);
  KvView ViewOf(int depth);
  void MakeRoom(int64_t first_key, int64_t end);

  const SpeechEncoder& encoder_;
  AttentionContext context_;
  std::vector<ConvState> convs_;
  std::vector<float> waiting_;  // positions before the encoder
  int64_t position_ = 0;        // of waiting_[0]
  int64_t chunk_index_ = 0;
  KvLayout layout_;
  std::vector<AlignedBuffer> memory_;
  std::vector<std::byte*> pages_;  // page 0 holds positions from first_stored_ on
  int64_t first_stored_ = 0;
  std::vector<std::vector<float>> conv_history_;  // [depth]
  std::vector<float> frame_, window_;
  MatMulInput input_;
  Workspace space_;
};

}  // namespace rondo
