#include "train/speech/speech_forward.h"

#include <algorithm>

#include "rondo/error.h"
#include "train/model/fused.h"
#include "train/model/matmul.h"
#include "train/model/merge.h"

namespace rondo {
namespace {

// Positions of a batch are bounded by memory alone; rotary tables are made for so many.
constexpr int64_t kMostPositions = 1 << 14;

Forward MakeForward(const ModelConfig& config, ComputeType compute) {
  return Forward(config, std::min<int64_t>(kMostPositions, config.max_positions), compute);
}

SpeechModel WithoutWeights(const SpeechModel& model) { return SplitWeights(model, {}); }

at::Tensor Sinusoids(int64_t length, int64_t width) {
  return at::tensor(SinusoidalPositions(0, length, width), at::kFloat).view({length, width});
}

// bool [rows, length]: whether an index is below the row's length.
at::Tensor WithinLengths(std::span<const int64_t> lengths, int64_t length) {
  const at::Tensor ends = at::tensor(at::ArrayRef<int64_t>(lengths.data(), lengths.size()));
  return at::arange(length).unsqueeze(0) < ends.unsqueeze(1);
}

// int32 [rows, length, 2]: what each position sees of its sequence, nothing behind the row's end.
at::Tensor ChunkRanges(const AttentionContext& context, std::span<const int64_t> lengths,
                       int64_t length) {
  const auto rows = static_cast<int64_t>(lengths.size());
  at::Tensor ranges = at::zeros({rows, length, 2}, at::kInt);
  const std::vector<ChunkContext> chunks = ChunksOf(context, length);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t end = lengths[static_cast<size_t>(row)];
    int32_t* to = ranges.mutable_data_ptr<int32_t>() + row * length * 2;
    for (const ChunkContext& chunk : chunks) {
      for (int64_t i = chunk.begin; i < std::min(chunk.end, end); ++i) {
        to[2 * i] = static_cast<int32_t>(chunk.first_key);
        to[2 * i + 1] = static_cast<int32_t>(std::min(chunk.keys_end, end));
      }
    }
  }
  return ranges;
}

}  // namespace

Model AsParameters(const SpeechModel& model) {
  return {.config = model.encoder.config,
          .plan = model.encoder.plan,
          .weights = JoinWeights(model),
          .path = model.path};
}

SpeechForward::SpeechForward(const SpeechModel& shape, const Params& params, ComputeType compute)
    : shape_(WithoutWeights(shape)),
      params_(params),
      encoder_(MakeForward(shape.encoder.config, compute)) {
  if (shape.decoder) decoder_.emplace(MakeForward(shape.decoder->config, compute));
}

at::Tensor SpeechForward::Linear(const at::Tensor& x, const char* name) const {
  return LinearOp(x, params_.Get(std::string(name) + ".weight"),
                  params_.Get(std::string(name) + ".bias"));
}

// What lies beyond a row's end is zero before every convolution, as the padding of a row alone is.
at::Tensor SpeechForward::Subsample(at::Tensor x, std::vector<int64_t>& lengths) const {
  const std::vector<int>& strides = shape_.config.front.strides;
  for (size_t i = 0; i < strides.size(); ++i) {
    const std::string name = "front." + std::to_string(i);
    x = at::gelu(at::conv1d(x, params_.Get(name + ".weight"), params_.Get(name + ".bias"),
                            /*stride=*/at::IntArrayRef{strides[i]},
                            /*padding=*/at::IntArrayRef{1}));
    for (int64_t& length : lengths) length = (length - 1) / strides[i] + 1;
    x = x * WithinLengths(lengths, x.size(2)).unsqueeze(1);
  }
  return x.transpose(1, 2);
}

EncodedRows SpeechForward::Encode(const at::Tensor& features, std::span<const int64_t> lengths,
                                  const AttentionContext& context, double dropout,
                                  std::span<const int> keep) const {
  const ModelConfig& config = shape_.encoder.config;
  EncodedRows encoded;
  encoded.lengths.assign(lengths.begin(), lengths.end());
  at::Tensor x = Subsample(features, encoded.lengths);
  const int64_t rows = x.size(0), length = x.size(1), d = config.d_model;
  if (config.positions == PositionKind::kSinusoidal) x = x + Sinusoids(length, d);
  if (config.positions == PositionKind::kLearned) {
    x = x + params_.Get("encoder.positions.weight").narrow(0, 0, length);
  }
  x = DropoutOp(x, dropout);
  const RowsShape shape{.rows = rows,
                        .length = length,
                        .visible = ChunkRanges(context, encoded.lengths, length),
                        .dropout = dropout};
  x = x.reshape({rows * length, d});
  for (int depth = 0; depth < config.layers; ++depth) {
    const LayerTensors layer =
        MergeLayer(params_, config, shape_.encoder.plan, depth, {.scope = "encoder."});
    x = encoder_.Layer(layer, depth, x, shape);
    if (std::ranges::find(keep, depth) != keep.end()) {
      encoded.states[depth] = x.view({rows, length, d});
    }
  }
  x = encoder_.Norm(
      {params_.Get("encoder.final_norm.weight"), params_.Get("encoder.final_norm.bias")}, x);
  encoded.hidden = x.view({rows, length, d});
  return encoded;
}

at::Tensor SpeechForward::Ctc(const EncodedRows& encoded) const {
  return Linear(encoded.hidden, "ctc");
}

at::Tensor SpeechForward::Decode(const EncodedRows& encoded, const at::Tensor& tokens,
                                 double dropout) const {
  const ModelConfig& config = shape_.decoder->config;
  const int64_t rows = tokens.size(0), length = tokens.size(1), d = config.d_model;
  at::Tensor x = at::embedding(params_.Get("decoder.embed.weight"), tokens) * config.embed_scale;
  if (config.positions == PositionKind::kSinusoidal) x = x + Sinusoids(length, d);
  if (config.positions == PositionKind::kLearned) {
    x = x + params_.Get("decoder.positions.weight").narrow(0, 0, length);
  }
  x = DropoutOp(x, dropout);
  x = x.reshape({rows * length, d});
  const RowsShape shape{.rows = rows,
                        .length = length,
                        .memory = encoded.hidden.reshape({-1, d}),
                        .memory_length = encoded.positions(),
                        .memory_lengths = encoded.lengths,
                        .dropout = dropout};
  for (int depth = 0; depth < config.layers; ++depth) {
    const LayerTensors layer =
        MergeLayer(params_, config, shape_.decoder->plan, depth, {.scope = "decoder."});
    x = decoder_->Layer(layer, depth, x, shape);
  }
  x = decoder_->Norm(
      {params_.Get("decoder.final_norm.weight"), params_.Get("decoder.final_norm.bias")}, x);
  const char* head = config.tied_embeddings ? "decoder.embed.weight" : "decoder.head.weight";
  const at::Tensor bias = config.head_bias ? params_.Get("decoder.head.bias") : at::Tensor();
  return LinearOp(x, params_.Get(head), bias).view({rows, length, config.vocab});
}

SpeechForward::Transitions SpeechForward::Transduce(const EncodedRows& encoded,
                                                    const at::Tensor& units) const {
  const int64_t rows = units.size(0), length = units.size(1);
  const at::Tensor embed = params_.Get("predictor.embed.weight");  // [context, units, width]
  // Before the first unit stand blanks.
  at::Tensor h;
  for (int64_t i = 0; i < embed.size(0); ++i) {
    const at::Tensor shifted =
        at::constant_pad_nd(units, {i + 1, 0}, kBlankUnit).narrow(1, 0, length + 1);
    const at::Tensor part = at::embedding(embed.select(0, i), shifted);
    h = h.defined() ? h + part : part;
  }
  h = at::relu(h).view({rows, 1, length + 1, -1});
  const at::Tensor x = Linear(encoded.hidden, "joiner.encoder").unsqueeze(2);
  const at::Tensor log_p = at::log_softmax(Linear(at::tanh(x + h), "joiner.out"), -1);
  const at::Tensor index =
      units.view({rows, 1, length, 1}).expand({rows, encoded.positions(), length, 1});
  return {.blank = log_p.select(3, kBlankUnit),
          .label = log_p.narrow(2, 0, length).gather(3, index).squeeze(3)};
}

}  // namespace rondo
