#include "speech/encoder.h"

#include <algorithm>
#include <utility>

#include "engine/packed_type.h"
#include "engine/rows.h"
#include "kernels/rope.h"
#include "kernels/row_ops.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int64_t kKernel = 3;

// [d, in, 3] as the product reads windows of three frames: [d, 3 · in].
Tensor AsProduct(const Tensor& weight) {
  const int64_t d = weight.dim(0), in = weight.dim(1);
  const std::vector<float> from = ToF32(weight);
  std::vector<float> to(from.size());
  for (int64_t o = 0; o < d; ++o) {
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t k = 0; k < kKernel; ++k) {
        to[static_cast<size_t>((o * kKernel + k) * in + i)] =
            from[static_cast<size_t>((o * in + i) * kKernel + k)];
      }
    }
  }
  return Tensor::FromF32({d, kKernel * in}, std::move(to));
}

const Model& WithPath(const SpeechModel& model) { return model.encoder; }

}  // namespace

SpeechEncoder::SpeechEncoder(const SpeechModel& model, std::optional<DType> type, ThreadPool& pool)
    : speech_(model.config),
      config_(model.encoder.config),
      pool_(pool),
      weights_(WithPath(model), type, pool) {
  CheckSpeechModel(model);
  if (speech_.front.normalize) {
    shift_ = ToF32(model.heads.Get("front.shift"));
    scale_ = ToF32(model.heads.Get("front.scale"));
  }
  // Where linears are quantised, convolutions stay as they are, in memory as on disk.
  const std::optional<DType> conv_type = type && IsQuantized(*type) ? std::nullopt : type;
  for (size_t i = 0; i < speech_.front.strides.size(); ++i) {
    const std::string name = "front." + std::to_string(i);
    const Tensor& weight = model.heads.Get(name + ".weight");
    convs_.push_back({.weight = PackedMatrix(AsProduct(weight), PackedType(weight, conv_type)),
                      .bias = ToF32(model.heads.Get(name + ".bias")),
                      .in = weight.dim(1),
                      .stride = speech_.front.strides[i]});
  }
  rope_ = Rope(config_, false);
}

uint64_t SpeechEncoder::bytes() const {
  uint64_t total = weights_.bytes();
  for (const Conv& conv : convs_) total += conv.weight.bytes();
  return total;
}

void SpeechEncoder::Normalize(float* frames, int64_t count) const {
  if (shift_.empty()) return;
  const auto width = static_cast<int64_t>(shift_.size());
  for (int64_t i = 0; i < count * width; ++i) {
    const auto bin = static_cast<size_t>(i % width);
    frames[i] = (frames[i] - shift_[bin]) * scale_[bin];
  }
}

void SpeechEncoder::RunConv(const Conv& conv, std::span<const float> windows, int64_t count,
                            float* out, MatMulInput& input) const {
  const int64_t d = config_.d_model;
  input.Set(windows.data(), count, kKernel * conv.in);
  const Product product{.w = &conv.weight, .x = &input, .rows = count, .y = out, .y_stride = d};
  MatMul({&product, 1}, pool_);
  ForRows(pool_, count, d, [&](int64_t r) {
    AddTo(out + r * d, conv.bias.data(), d);
    Activate(Activation::kGelu, out + r * d, d);
  });
}

void SpeechEncoder::AddPositions(float* hidden, int64_t first, int64_t count) const {
  const int64_t d = config_.d_model;
  if (config_.positions == PositionKind::kRope) return;
  if (config_.positions == PositionKind::kSinusoidal) {
    const std::vector<float> table = SinusoidalPositions(first, count, d);
    return AddTo(hidden, table.data(), count * d);
  }
  if (first + count > config_.max_positions) {
    throw Error({.function = "SpeechEncoder",
                 .problem = std::to_string(first + count) + " positions",
                 .expected = "at most " + std::to_string(config_.max_positions)});
  }
  std::vector<float> row(static_cast<size_t>(d));
  for (int64_t r = 0; r < count; ++r) {
    RowToF32(weights_.positions(), first + r, row.data());
    AddTo(hidden + r * d, row.data(), d);
  }
}

void SpeechEncoder::FinalNorm(float* hidden, int64_t count) const {
  RunNorm(config_, weights_.final_norm(), hidden, count, config_.d_model, hidden, pool_);
}

std::vector<float> SpeechEncoder::Run(std::span<const float> features,
                                      const AttentionContext& context) const {
  EncoderStream stream(*this, context);
  std::vector<float> hidden;
  stream.Push(features, &hidden);
  stream.Finish(&hidden);
  return hidden;
}

std::vector<float> SpeechEncoder::LayerInput(std::span<const float> features) const {
  EncoderStream stream(*this, {});
  std::vector<float> frames(features.begin(), features.end());
  Normalize(frames.data(), static_cast<int64_t>(frames.size()) / speech_.front.mel_bins);
  stream.RunConvs(0, frames, false);
  stream.RunConvs(0, {}, true);
  AddPositions(stream.waiting_.data(), 0, std::ssize(stream.waiting_) / config_.d_model);
  return std::move(stream.waiting_);
}

EncoderStream::EncoderStream(const SpeechEncoder& encoder, const AttentionContext& context)
    : encoder_(encoder),
      context_(context),
      convs_(encoder.convs_.size()),
      layout_(LayoutOfKv(encoder.config_, KvType::kF32)) {
  Reset();
}

void EncoderStream::Reset() {
  for (ConvState& conv : convs_) conv = {};
  waiting_.clear();
  position_ = chunk_index_ = first_stored_ = 0;
  const ModelConfig& config = encoder_.config_;
  if (config.conv_kernel == 0) return;
  const auto size = static_cast<size_t>((config.conv_kernel - 1) * config.d_model);
  conv_history_.assign(static_cast<size_t>(config.layers), std::vector<float>(size));
}

uint64_t EncoderStream::bytes() const {
  uint64_t total = 0;
  for (const AlignedBuffer& page : memory_) total += page.bytes();
  for (const ConvState& conv : convs_) total += conv.frames.capacity() * sizeof(float);
  for (const auto& history : conv_history_) total += history.size() * sizeof(float);
  return total + waiting_.capacity() * sizeof(float);
}

void EncoderStream::Push(std::span<const float> features, std::vector<float>* hidden) {
  frame_.assign(features.begin(), features.end());
  const int64_t width = encoder_.speech_.front.mel_bins;
  encoder_.Normalize(frame_.data(), static_cast<int64_t>(features.size()) / width);
  RunConvs(0, frame_, false);
  RunPositions(false, hidden);
}

void EncoderStream::Finish(std::vector<float>* hidden) {
  RunConvs(0, {}, true);
  RunPositions(true, hidden);
}

// Output j of a convolution reads frames j · stride − 1 to j · stride + 1, zeros beyond the ends.
void EncoderStream::RunConvs(size_t at, std::span<const float> frames, bool end) {
  if (at == convs_.size()) {
    waiting_.insert(waiting_.end(), frames.begin(), frames.end());
    return;
  }
  const SpeechEncoder::Conv& conv = encoder_.convs_[at];
  ConvState& state = convs_[at];
  const int64_t in = conv.in, d = encoder_.config_.d_model;
  state.frames.insert(state.frames.end(), frames.begin(), frames.end());
  state.received += static_cast<int64_t>(frames.size()) / in;
  const int64_t last = end ? state.received - 1 : state.received - 2;
  const int64_t ready = last < 0 ? 0 : last / conv.stride + 1;
  const int64_t count = std::max<int64_t>(0, ready - state.done);
  std::vector<float> out(static_cast<size_t>(count * d));
  if (count > 0) {
    window_.assign(static_cast<size_t>(count * kKernel * in), 0.0f);
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t k = 0; k < kKernel; ++k) {
        const int64_t frame = (state.done + j) * conv.stride + k - 1;
        if (frame < 0 || frame >= state.received) continue;
        std::copy_n(state.frames.begin() + (frame - state.first) * in, in,
                    window_.begin() + (j * kKernel + k) * in);
      }
    }
    encoder_.RunConv(conv, window_, count, out.data(), input_);
    state.done += count;
    const int64_t keep_from = std::max(state.first, state.done * conv.stride - 1);
    const int64_t drop = std::min(keep_from, state.received) - state.first;
    state.frames.erase(state.frames.begin(), state.frames.begin() + drop * in);
    state.first += drop;
  }
  RunConvs(at + 1, out, end);
}

void EncoderStream::RunPositions(bool end, std::vector<float>* hidden) {
  const int64_t d = encoder_.config_.d_model;
  while (!waiting_.empty()) {
    const int64_t have = static_cast<int64_t>(waiting_.size()) / d;
    const bool whole = context_.chunk > 0 && have >= context_.chunk;
    if (!whole && !end) return;
    RunChunk(whole ? context_.chunk : have, hidden);
  }
}

// Pages for positions [first_key, end); whole pages before them go to the end of the list.
void EncoderStream::MakeRoom(int64_t first_key, int64_t end) {
  const int64_t unseen = (first_key - first_stored_) / kPagePositions;
  if (unseen > 0) {
    const auto count = std::min(unseen, static_cast<int64_t>(pages_.size()));
    std::rotate(pages_.begin(), pages_.begin() + count, pages_.end());
    first_stored_ += unseen * kPagePositions;
  }
  const auto depths = static_cast<uint64_t>(encoder_.config_.layers);
  while (static_cast<int64_t>(pages_.size()) < PagesFor(end - first_stored_)) {
    memory_.emplace_back(layout_.depth_bytes() * depths);
    pages_.push_back(memory_.back().as<std::byte>());
  }
}

KvView EncoderStream::ViewOf(int depth) {
  return {layout_, pages_, layout_.depth_bytes() * static_cast<uint64_t>(depth)};
}

void EncoderStream::RunChunk(int64_t count, std::vector<float>* hidden) {
  const int64_t d = encoder_.config_.d_model;
  const int64_t left =
      context_.left_chunks < 0 ? position_ : int64_t{context_.left_chunks} * context_.chunk;
  const int64_t first_key = std::max<int64_t>(0, position_ - left), end = position_ + count;
  MakeRoom(first_key, end);
  const size_t at = hidden->size();
  hidden->insert(hidden->end(), waiting_.begin(), waiting_.begin() + count * d);
  waiting_.erase(waiting_.begin(), waiting_.begin() + count * d);
  float* rows = hidden->data() + at;
  encoder_.AddPositions(rows, position_, count);
  const Tap no_tap;
  const LayerContext context{.config = encoder_.config_,
                             .rope = encoder_.rope_,
                             .local_rope = encoder_.rope_,
                             .tap = no_tap,
                             .space = space_,
                             .pool = encoder_.pool_};
  for (int depth = 0; depth < encoder_.config_.layers; ++depth) {
    const LayerSpan span{.layer = &encoder_.weights_.layer(depth),
                         .depth = depth,
                         .kv = ViewOf(depth),
                         .first_position = static_cast<int>(position_ - first_stored_),
                         .count = static_cast<int>(count),
                         .keys = {first_key - first_stored_, end - first_stored_},
                         .first_stored = static_cast<int>(first_stored_),
                         .conv_history = conv_history_.empty()
                                             ? nullptr
                                             : conv_history_[static_cast<size_t>(depth)].data()};
    RunLayer(context, {&span, 1}, rows);
  }
  encoder_.FinalNorm(rows, count);
  position_ = end;
}

}  // namespace rondo
