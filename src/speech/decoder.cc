#include "speech/decoder.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/panel.h"
#include "kernels/rope.h"
#include "kernels/row_ops.h"
#include "rondo/error.h"

namespace rondo {
namespace {

const Model& DecoderOf(const SpeechModel& model) {
  if (model.decoder) return *model.decoder;
  throw Error({.function = "SpeechDecoder",
               .problem = "no decoder",
               .expected = "a model with an attention decoder",
               .file = model.path});
}

// Keys and values as exact as the weights.
KvType TypeFor(const PackedModel& weights) {
  return weights.head().weight->type() == DType::kF32 ? KvType::kF32 : KvType::kBF16;
}

// Keys of a head out of their panels: [head_dim, length].
std::vector<float> KeysOf(const KvView& kv, int head, int64_t length) {
  const int64_t dim = kv.layout.head_dim;
  std::vector<float> keys(static_cast<size_t>(dim * length));
  for (int64_t p = 0; p < length; ++p) {
    const std::byte* page = kv.Head(p / kPagePositions, head);
    const int64_t at = p % kPagePositions;
    for (int64_t i = 0; i < dim; ++i) {
      const int64_t index = (at / kPanelWidth * dim + i) * kPanelWidth + at % kPanelWidth;
      float& key = keys[static_cast<size_t>(i * length + p)];
      if (kv.layout.type == KvType::kF32) {
        key = reinterpret_cast<const float*>(page)[index];
      } else {
        const auto bits = reinterpret_cast<const uint16_t*>(page)[index];
        key = std::bit_cast<float>(uint32_t{bits} << 16);
      }
    }
  }
  return keys;
}

// softmax(scale · q · K) of one query over keys [head_dim, length].
void AttentionWeights(const ModelConfig& config, std::span<const float> keys, const float* query,
                      std::span<float> weights) {
  const size_t length = weights.size();
  std::ranges::fill(weights, 0.0f);
  for (size_t i = 0; i < static_cast<size_t>(config.head_dim); ++i) {
    const float q = query[i] * config.attn_scale;
    for (size_t p = 0; p < length; ++p) weights[p] += q * keys[i * length + p];
  }
  const float top = *std::ranges::max_element(weights);
  float sum = 0;
  for (float& weight : weights) sum += weight = std::exp(weight - top);
  for (float& weight : weights) weight /= sum;
}

}  // namespace

SpeechDecoder::SpeechDecoder(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool)
    : config_(DecoderOf(model).config), pool_(pool), weights_(DecoderOf(model), type, pool) {
  CheckSpeechModel(model);
  rope_ = Rope(config_, false);
  pages_ = std::make_shared<KvPagePool>(LayoutOfKv(config_, TypeFor(weights_)), config_.layers,
                                        std::numeric_limits<int32_t>::max());
}

LayerContext SpeechDecoder::Context(const Tap& tap, Workspace& space) const {
  return {.config = config_,
          .rope = rope_,
          .local_rope = rope_,
          .tap = tap,
          .space = space,
          .pool = pool_};
}

DecoderMemory SpeechDecoder::Remember(std::span<const float> hidden) const {
  const int length = static_cast<int>(std::ssize(hidden) / config_.d_model);
  DecoderMemory memory{KvSequence(pages_), length};
  memory.sequence.Reserve(0, length);
  auto space = spaces_.Take();
  const Tap tap;
  for (int depth = 0; depth < config_.layers; ++depth) {
    const LayerSpan span{.layer = &weights_.layer(depth),
                         .depth = depth,
                         .kv = memory.sequence.At(depth),
                         .first_position = 0,
                         .count = length};
    FillMemory(Context(tap, *space), span, hidden.data());
  }
  return memory;
}

void SpeechDecoder::Embed(int32_t token, int position, float* out) const {
  const auto fail = [&](const std::string& problem, int count) {
    throw Error({.function = "SpeechDecoder",
                 .problem = problem,
                 .expected = "0 to " + std::to_string(count - 1)});
  };
  if (token < 0 || token >= config_.vocab) fail("token " + std::to_string(token), config_.vocab);
  if (position >= config_.max_positions) {
    fail("position " + std::to_string(position), config_.max_positions);
  }
  const int64_t d = config_.d_model;
  weights_.EmbedRows({&token, 1}, out, pool_);
  if (config_.positions == PositionKind::kSinusoidal) {
    AddTo(out, SinusoidalPositions(position, 1, d).data(), d);
  } else if (config_.positions == PositionKind::kLearned) {
    std::vector<float> row(static_cast<size_t>(d));
    RowToF32(weights_.positions(), position, row.data());
    AddTo(out, row.data(), d);
  }
}

std::vector<float> SpeechDecoder::Forward(const DecoderMemory& memory,
                                          std::span<const Piece> pieces,
                                          std::vector<std::vector<float>>* queries) const {
  const int64_t d = config_.d_model;
  std::vector<float> hidden;
  for (const Piece& piece : pieces) {
    for (int i = 0; i < std::ssize(piece.tokens); ++i) {
      hidden.resize(hidden.size() + static_cast<size_t>(d));
      Embed(piece.tokens[static_cast<size_t>(i)], piece.text->length + i,
            hidden.data() + std::ssize(hidden) - d);
    }
  }
  for (const Piece& piece : pieces) {
    DecoderText& text = *piece.text;
    const int end = text.length + static_cast<int>(piece.tokens.size());
    text.sequence.Reserve(text.length, end);
  }
  auto space = spaces_.Take();
  const Tap tap;
  std::vector<LayerSpan> spans(pieces.size());
  for (int depth = 0; depth < config_.layers; ++depth) {
    float* wanted = queries == nullptr ? nullptr : (*queries)[static_cast<size_t>(depth)].data();
    for (size_t i = 0; i < pieces.size(); ++i) {
      spans[i] = {.layer = &weights_.layer(depth),
                  .depth = depth,
                  .kv = pieces[i].text->sequence.At(depth),
                  .first_position = pieces[i].text->length,
                  .count = static_cast<int>(pieces[i].tokens.size()),
                  .memory = {memory.sequence.At(depth), memory.length, wanted}};
    }
    RunLayer(Context(tap, *space), spans, hidden.data());
  }
  for (const Piece& piece : pieces) piece.text->length += static_cast<int>(piece.tokens.size());
  return hidden;
}

std::vector<float> SpeechDecoder::Head(std::span<float> hidden) const {
  const int64_t d = config_.d_model, rows = std::ssize(hidden) / d;
  RunNorm(config_, weights_.final_norm(), hidden.data(), rows, d, hidden.data(), pool_);
  std::vector<float> logits(static_cast<size_t>(rows * config_.vocab));
  RunLinear(weights_.head(), hidden.data(), rows, logits.data(), pool_);
  return logits;
}

std::vector<float> SpeechDecoder::Run(const DecoderMemory& memory, DecoderText& text,
                                      std::span<const int32_t> tokens, bool all) const {
  if (tokens.empty()) return {};
  const Piece piece{&text, tokens};
  std::vector<float> hidden = Forward(memory, {&piece, 1});
  const auto d = static_cast<size_t>(config_.d_model);
  return Head(all ? std::span(hidden) : std::span(hidden).last(d));
}

std::vector<float> SpeechDecoder::Step(const DecoderMemory& memory,
                                       std::span<DecoderText* const> texts,
                                       std::span<const int32_t> tokens) const {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < texts.size(); ++i) pieces.push_back({texts[i], tokens.subspan(i, 1)});
  std::vector<float> hidden = Forward(memory, pieces);
  return Head(hidden);
}

std::vector<float> SpeechDecoder::CrossAttention(const DecoderMemory& memory,
                                                 std::span<const int32_t> tokens,
                                                 std::span<const std::array<int, 2>> heads) const {
  const int64_t width = int64_t{config_.heads} * config_.head_dim, rows = std::ssize(tokens);
  std::vector<std::vector<float>> queries(static_cast<size_t>(config_.layers),
                                          std::vector<float>(static_cast<size_t>(rows * width)));
  DecoderText text = Begin();
  const Piece piece{&text, tokens};
  Forward(memory, {&piece, 1}, &queries);
  std::vector<float> weights(heads.size() * static_cast<size_t>(rows * memory.length));
  for (size_t h = 0; h < heads.size(); ++h) {
    const auto [depth, head] = heads[h];
    const std::vector<float> keys = KeysOf(memory.sequence.At(depth), head, memory.length);
    for (int64_t r = 0; r < rows; ++r) {
      const float* query =
          queries[static_cast<size_t>(depth)].data() + r * width + head * config_.head_dim;
      const int64_t at = (static_cast<int64_t>(h) * rows + r) * memory.length;
      AttentionWeights(
          config_, keys, query,
          std::span(weights).subspan(static_cast<size_t>(at), static_cast<size_t>(memory.length)));
    }
  }
  return weights;
}

}  // namespace rondo
