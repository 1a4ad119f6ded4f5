#include "compress/meter.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "engine/layer.h"
#include "fold/moments.h"
#include "fold/residual.h"
#include "kernels/log_softmax.h"
#include "kernels/row_ops.h"
#include "quant/feedback.h"
#include "rondo/thread_pool.h"

namespace rondo {

struct Meter::Layer {
  std::vector<Tensor> alive;  // so that no other tensor gets their addresses
  DenseLayer dense;
};

struct Meter::Head {
  std::vector<Tensor> alive;
  Tensor embedding;  // [vocab, d_model] f32
  PackedMatrix head;
  std::vector<float> norm_gain, norm_bias, bias;
};

namespace {

constexpr int64_t kHeadRows = 128;

// Names of the tensors that one depth reads.
std::vector<std::string> TensorsOfDepth(const State& state, int depth) {
  const SharingPlan& plan = state.model.plan;
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (state.model.weights.Has(name)) names.push_back(name);
  };
  for (const Module m : kAllModules) {
    if (plan[m].blocks.empty()) continue;
    const int block = plan[m].blocks[static_cast<size_t>(depth)];
    if (block == kAbsorbed) continue;
    for (const char* part : {"weight", "a", "b", "bias"}) add(BlockTensor(block, m, part));
    for (const char* part : {"a", "b", "diag", "magnitude", "scale", "gain", "bias"}) {
      add(ResidualTensor(depth, m, part));
    }
  }
  for (const char* part : {"k", "v"}) add(PrefixTensor(depth, part));
  add(PatchTensor(depth));
  return names;
}

Tensor Multiplied(const Tensor& low, const Tensor& projection, ThreadPool& pool) {
  std::vector<float> product(static_cast<size_t>(low.rows() * projection.rows()));
  MatMul(PackedMatrix(projection, DType::kF32), ToF32(low).data(), low.rows(), product.data(),
         /*accumulate=*/false, pool);
  return Tensor::FromF32({low.rows(), projection.rows()}, std::move(product));
}

// Whole sequences.
std::span<const int32_t> Whole(std::span<const int32_t> tokens, int context) {
  const auto length = static_cast<size_t>(context);
  return tokens.size() < length ? tokens : tokens.first(tokens.size() / length * length);
}

}  // namespace

Meter::Meter(const Model& original, std::span<const int32_t> tokens, int context, ThreadPool& pool)
    : pool_(pool),
      config_(original.config),
      runner_(config_, Whole(tokens, context), context, /*max_tokens=*/0, pool),
      tokens_(tokens.begin(), tokens.begin() + runner_.rows()),
      context_(static_cast<int>(std::min<int64_t>(context, runner_.rows()))) {
  const State state = InitialState(original, DType::kF32);
  const MeterValue nothing = SetBase(state);
  (void)nothing;
}

Meter::~Meter() = default;

Tensor Meter::Rounded(const State& state, const std::string& name) const {
  const Tensor& tensor = state.model.weights.Get(name);
  const DType type = state.types.at(name);
  return IsQuantized(type) ? Cast(Cast(tensor, type, &pool_), DType::kF32, &pool_)
                           : Cast(tensor, DType::kF32, &pool_);
}

Tensor Meter::RoundedVocabulary(const State& state, const std::string& name) {
  const bool is_head = name == "head.weight" || state.model.config.tied_embeddings;
  const DType type = state.types.at(name);
  const Tensor& tensor = state.model.weights.Get(name);
  const bool whole = state.model.plan.embedding_rank == 0;
  if (!is_head || !whole || !IsQuantized(type) || tensor.dtype() == type) {
    return Rounded(state, name);
  }
  const Key key = {{tensor.bytes().data(), static_cast<int>(type)}};
  auto& [from, rounded] = rounded_heads_[key];
  if (rounded.empty()) {
    from = tensor;
    rounded = RoundHead(tensor, head_moment_, state.model.config.tied_embeddings, type, pool_);
  }
  return Cast(rounded, DType::kF32, &pool_);
}

Meter::Key Meter::KeyOfDepth(const State& state, int depth) const {
  Key key;
  for (const std::string& name : TensorsOfDepth(state, depth)) {
    key.emplace_back(state.model.weights.Get(name).bytes().data(),
                     static_cast<int>(state.types.at(name)));
  }
  const bool local = state.model.config.IsLocal(depth);
  key.emplace_back(nullptr, local ? 1 : 0);
  return key;
}

const Meter::Layer& Meter::LayerOf(const State& state, int depth, const Key& key) {
  std::unique_ptr<Layer>& layer = layers_[key];
  if (layer) return *layer;
  layer = std::make_unique<Layer>();
  // The depth alone, rounded, as a model of its own to merge from.
  Weights rounded;
  for (const std::string& name : TensorsOfDepth(state, depth)) {
    layer->alive.push_back(state.model.weights.Get(name));
    rounded.Set(name, Rounded(state, name));
  }
  const SharingPlan& plan = state.model.plan;
  for (const Module m : kAllModules) {
    if (plan[m].blocks.empty()) continue;
    const int block = plan[m].blocks[static_cast<size_t>(depth)];
    if (block == kAbsorbed) continue;
    if (IsLinear(m)) {
      layer->dense.SetLinear(m, MergedWeight(rounded, plan, m, depth));
    } else {
      layer->dense.SetGain(m, ToF32(rounded.Get(BlockTensor(block, m))));
    }
    if (state.model.config.HasBias(m)) {
      layer->dense.SetBias(m, ToF32(MergedBias(rounded, plan, m, depth)));
    }
  }
  if (plan.HasPatch(depth)) layer->dense.SetPatch(rounded.Get(PatchTensor(depth)));
  if (plan.prefix > 0) {
    layer->dense.SetPrefix(PrefixVectors(state.model.config, plan, rounded, depth));
  }
  return *layer;
}

const Meter::Head& Meter::HeadOf(const State& state) {
  const Weights& weights = state.model.weights;
  Key key;
  std::vector<Tensor> alive;
  for (const char* name : {"embed.weight", "embed_projection.weight", "head.weight"}) {
    if (!weights.Has(name)) continue;
    alive.push_back(weights.Get(name));
    key.emplace_back(alive.back().bytes().data(), static_cast<int>(state.types.at(name)));
  }
  std::unique_ptr<Head>& head = heads_[key];
  if (head) return *head;
  head = std::make_unique<Head>();
  head->alive = std::move(alive);
  head->embedding = RoundedVocabulary(state, "embed.weight");
  if (state.model.plan.embedding_rank > 0) {
    head->embedding = Multiplied(head->embedding, Rounded(state, "embed_projection.weight"), pool_);
  }
  const bool tied = state.model.config.tied_embeddings;
  head->head =
      PackedMatrix(tied ? head->embedding : RoundedVocabulary(state, "head.weight"), DType::kF32);
  head->norm_gain = ToF32(weights.Get("final_norm.weight"));
  if (weights.Has("final_norm.bias")) head->norm_bias = ToF32(weights.Get("final_norm.bias"));
  if (weights.Has("head.bias")) head->bias = ToF32(weights.Get("head.bias"));
  return *head;
}

MeterValue Meter::SetBase(const State& state) {
  const Head& head = HeadOf(state);
  Model embedded = {.config = state.model.config, .plan = {}, .weights = {}, .path = {}};
  embedded.weights.Set("embed.weight", head.embedding);
  if (const Tensor* p = state.model.weights.Find("positions.weight")) {
    embedded.weights.Set("positions.weight", *p);
  }
  std::vector<Key> keys;
  std::vector<std::vector<float>> states;
  keys.push_back({{head.embedding.bytes().data(), 0}});
  bool same = !base_keys_.empty() && base_keys_[0] == keys[0];
  std::vector<float> hidden = same ? base_hidden_[0] : runner_.Embed(embedded);
  for (int depth = 0; depth < state.model.plan.depths; ++depth) {
    const Key key = KeyOfDepth(state, depth);
    const auto next = static_cast<size_t>(depth) + 1;
    same = same && next < base_hidden_.size() && base_keys_[next] == key;
    states.push_back(hidden);
    keys.push_back(key);
    if (same) {  // the base has what leaves this depth
      hidden = base_hidden_[next];
      continue;
    }
    runner_.Run(LayerOf(state, depth, key).dense, state.origin[static_cast<size_t>(depth)], hidden,
                {});
  }
  base_keys_ = std::move(keys);
  base_hidden_ = std::move(states);
  Forget(base_keys_);
  return Compare(state, hidden);
}

void Meter::Forget(const std::vector<Key>& kept) {
  const std::set<Key> needed(kept.begin(), kept.end());
  std::erase_if(layers_, [&](const auto& entry) { return !needed.contains(entry.first); });
  constexpr size_t kHeads = 2;
  while (heads_.size() > kHeads) heads_.erase(heads_.begin());
}

MeterValue Meter::Measure(const State& state) {
  const Head& head = HeadOf(state);
  size_t depth = 0;
  std::vector<Key> keys;
  const auto depths = static_cast<size_t>(state.model.plan.depths);
  for (size_t d = 0; d < depths; ++d) keys.push_back(KeyOfDepth(state, static_cast<int>(d)));
  const bool same_embedding = base_keys_[0][0].first == head.embedding.bytes().data();
  while (same_embedding && depth < depths && depth < base_hidden_.size() &&
         keys[depth] == base_keys_[depth + 1]) {
    ++depth;
  }
  std::vector<float> hidden;
  if (!same_embedding) {
    Model embedded = {.config = state.model.config, .plan = {}, .weights = {}, .path = {}};
    embedded.weights.Set("embed.weight", head.embedding);
    if (const Tensor* p = state.model.weights.Find("positions.weight")) {
      embedded.weights.Set("positions.weight", *p);
    }
    hidden = runner_.Embed(embedded);
  } else if (depth < base_hidden_.size()) {
    hidden = base_hidden_[depth];
  } else {  // nothing but the head differs: run the last depth again
    hidden = base_hidden_[--depth];
  }
  for (; depth < depths; ++depth) {
    runner_.Run(LayerOf(state, static_cast<int>(depth), keys[depth]).dense, state.origin[depth],
                hidden, {});
  }
  const MeterValue value = Compare(state, hidden);
  std::vector<Key> kept = base_keys_;
  Forget(kept);
  return value;
}

std::vector<float> Meter::Normed(const Head& head, const float* hidden, int64_t rows) const {
  std::vector<float> normed(static_cast<size_t>(rows * config_.d_model));
  const NormUse norm = {.gain = head.norm_gain.data(),
                        .bias = head.norm_bias.empty() ? nullptr : head.norm_bias.data()};
  RunNorm(config_, norm, hidden, rows, config_.d_model, normed.data(), pool_);
  return normed;
}

std::vector<float> Meter::Logits(const State& state, const Head& head, const float* hidden,
                                 int64_t rows) const {
  const ModelConfig& config = state.model.config;
  const int64_t vocab = config.vocab;
  const std::vector<float> normed = Normed(head, hidden, rows);
  std::vector<float> logits(static_cast<size_t>(rows * vocab));
  MatMul(head.head, normed.data(), rows, logits.data(), /*accumulate=*/false, pool_);
  pool_.ParallelFor(rows, [&](int64_t r) {
    float* row = logits.data() + r * vocab;
    if (!head.bias.empty()) AddTo(row, head.bias.data(), vocab);
    if (config.logit_softcap > 0) SoftCap(row, config.logit_softcap, vocab);
    LogSoftmax({row, static_cast<size_t>(vocab)}, vocab);
  });
  return logits;
}

void Meter::MeasureHead(const Head& head, const std::vector<float>& hidden) {
  const std::vector<float> normed = Normed(head, hidden.data(), runner_.rows());
  const Rows rows = {normed.data(), runner_.rows(), config_.d_model};
  head_moment_ = CrossMoment(rows, rows, pool_);
}

// The first call is with the original's hidden states.
MeterValue Meter::Compare(const State& state, const std::vector<float>& hidden) {
  const Head& head = HeadOf(state);
  const int64_t rows = runner_.rows(), d = config_.d_model, vocab = config_.vocab;
  const bool first = log_probabilities_.empty();
  if (first) MeasureHead(head, hidden);
  std::vector<double> kl(static_cast<size_t>(rows)), nll(static_cast<size_t>(rows));
  for (int64_t begin = 0; begin < rows; begin += kHeadRows) {
    const int64_t count = std::min(kHeadRows, rows - begin);
    const std::vector<float> own = Logits(state, head, hidden.data() + begin * d, count);
    if (first) log_probabilities_.insert(log_probabilities_.end(), own.begin(), own.end());
    pool_.ParallelFor(count, [&](int64_t r) {
      const int64_t at = begin + r;
      const float* q = own.data() + r * vocab;
      const float* p = log_probabilities_.data() + at * vocab;
      double sum = 0;
      for (int64_t v = 0; v < vocab; ++v) sum += std::exp(p[v]) * (p[v] - q[v]);
      kl[static_cast<size_t>(at)] = sum;
      const bool last = at % context_ == context_ - 1;
      if (!last) nll[static_cast<size_t>(at)] = -q[tokens_[static_cast<size_t>(at) + 1]];
    });
  }
  MeterValue value;
  for (const double k : kl) value.kl += k / static_cast<double>(rows);
  const double predicted = static_cast<double>(rows - rows / context_);
  for (const double n : nll) value.nll += n / predicted;
  return value;
}

std::vector<float> Meter::Inputs(const State& base, int depth, TapPoint point) {
  std::vector<float> hidden = base_hidden_.at(static_cast<size_t>(depth)), inputs;
  runner_.Run(LayerOf(base, depth, KeyOfDepth(base, depth)).dense,
              base.origin[static_cast<size_t>(depth)], hidden,
              [&](int, TapPoint at, const float* x, int64_t rows, int64_t width) {
                if (at == point) inputs.assign(x, x + rows * width);
              });
  return inputs;
}

std::vector<int64_t> Meter::TokenCounts() const {
  std::vector<int64_t> counts(static_cast<size_t>(config_.vocab));
  for (const int32_t token : tokens_) ++counts[static_cast<size_t>(token)];
  return counts;
}

}  // namespace rondo
