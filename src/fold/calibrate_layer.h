// One layer at a time over all calibration sequences, with dense weights that may be replaced while
// the layer runs.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/kv_cache.h"
#include "engine/layer.h"
#include "fold/absorb.h"
#include "rondo/model.h"

namespace rondo {

// The four tap points in the order in which a layer reaches them.
inline constexpr int kTapPoints = 4;
std::span<const Module> ModulesAt(TapPoint point);
TapPoint TapOf(Module linear);

// The weights of one depth, owned and packed. Not movable: the engine's view points into it.
class DenseLayer {
 public:
  DenseLayer() = default;
  DenseLayer(const DenseLayer&) = delete;
  DenseLayer& operator=(const DenseLayer&) = delete;

  void SetLinear(Module m, const Tensor& weight);
  void SetBias(Module m, std::vector<float> bias);
  void SetGain(Module m, std::vector<float> gain);
  void SetPrefix(PrefixVectors prefix);
  void SetPatch(const Tensor& patch);
  const LayerUse& use() const { return use_; }

 private:
  std::array<PackedMatrix, kLinearCount> linears_;
  std::array<std::vector<float>, kModuleCount> gains_;
  std::array<std::vector<float>, kModuleCount> biases_;
  std::optional<PrefixVectors> prefix_;
  PackedMatrix patch_;
  LayerUse use_;
};

// The layer of an unrolled model, norms absorbed where `plan` absorbs them.
void LoadSourceLayer(const Model& model, const SharingPlan& plan, int depth, DenseLayer& layer,
                     ThreadPool& pool);

// Norms, biases, prefix vectors and linear patches alone.
void LoadSourceNorms(const Model& model, const SharingPlan& plan, int depth, DenseLayer& layer);

// Equally long sequences cut evenly out of a text, and the means to run layers over them.
class LayerRunner {
 public:
  // Uses at most `max_tokens` (0: all) in sequences of `context`, or one shorter sequence if the
  // text is shorter. Throws on fewer than two tokens or tokens outside the vocabulary.
  LayerRunner(const ModelConfig& config, std::span<const int32_t> tokens, int context,
              int64_t max_tokens, ThreadPool& pool);

  // An encoder's: rows [sequences · context, d_model] as they enter depth 0, which Embed() gives.
  LayerRunner(const ModelConfig& config, std::vector<float> rows, int context, ThreadPool& pool);

  int64_t rows() const { return std::ssize(spans_) * context_; }
  // hidden [rows, d_model] as it enters depth 0.
  std::vector<float> Embed(const Model& model) const;
  // hidden becomes the layer's output. `tap` is called once a point, with all rows, before the
  // linears that read it; it may replace them.
  void Run(const DenseLayer& layer, int depth, std::vector<float>& hidden, const Tap& tap);

 private:
  const ModelConfig& config_;
  ThreadPool& pool_;
  int context_;
  void MakeSpans(int64_t count);

  std::vector<int32_t> tokens_;  // all sequences, one after the other
  std::vector<float> rows_;      // instead of tokens
  std::vector<KvSequence> sequences_;
  std::vector<LayerSpan> spans_;
  Rope rope_, local_rope_;
  Workspace space_;
};

// How much a unit error of each output of gate, up and v moves the branch's output, mean square
// over `x` [rows, d_model], the input of the feed-forward at this depth (Σ over the columns of down
// or o that read it, and the slope of the activation).
std::map<Module, std::vector<double>> FfnOutputWeights(const ModelConfig& config,
                                                       const LayerUse& layer,
                                                       std::span<const float> down, const float* x,
                                                       int64_t rows, ThreadPool& pool);
std::vector<double> ValueOutputWeights(const ModelConfig& config, std::span<const float> o);

}  // namespace rondo
