// The parameters of a training run: every unique tensor of a model once, by its name.
//
//   Params params(model, {{"residual.*", 2}, {"*", 1}});
//   const at::Tensor& w = params.Get("blocks.0.q.weight");   // a leaf that collects a gradient
//
// All trained values lie in one flat array, and so do their gradients: norm, clipping and optimiser
// run over arrays in which no tensor can occur twice. There is no module tree.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "rondo/model.h"
#include "train/model/rounded_tensor.h"
#include "train/model/torch.h"

namespace rondo {

// Parameters that a pattern names. The first group that matches a parameter decides; a parameter
// that none matches is frozen.
struct TrainGroup {
  std::string pattern;  // blocks.*, residual.*.q.*, *
  float lr_scale = 1;   // factor on the learning rate; 0 freezes
};

// The group that decides about a parameter; null: it is frozen.
const TrainGroup* GroupOf(std::span<const TrainGroup> groups, std::string_view name);

// Parameters <name>@0, <name>@1, … are copies of <name> (see mixture.h): they are trained in its
// place, and it is one of them or their mean.
std::string CopyName(std::string_view name, int copy);
// What a copy is a copy of; any other name is its own.
std::string_view BaseName(std::string_view name);
// Whether a parameter stands beside the model's tensors: a copy, a scale or an offset.
inline bool IsBeside(std::string_view name) { return BaseName(name) != name; }
inline bool IsCopy(std::string_view name) { return IsBeside(name) && !IsGrid(name); }

struct Param {
  std::string name;
  at::Tensor value;     // f32; a leaf with a gradient when trained; of rounded tensors the rounded
  int64_t offset = -1;  // in the flat arrays; -1: frozen
  int64_t elements = 0;
  bool decay = false;  // matrices decay; norms, biases, diagonals, magnitudes and prefixes do not
  bool apart = false;  // its gradient is neither part of the norm nor clipped: the exit gate's
  float lr_scale = 1;
  bool trained() const { return offset >= 0; }
};

// Where a parameter of a new plan comes from: the parameter `from`, which goes on under a new name
// maybe, or, when that is empty, `value`.
struct ParamSource {
  std::string from;
  at::Tensor value;
};

// A trained parameter's place in the flat arrays before and after they were laid out anew.
struct ParamMove {
  std::string from;         // its name before; empty: it is new there
  std::string to;           // its name now
  int64_t old_offset = -1;  // -1: new there
  int64_t offset = 0;
  int64_t elements = 0;
};

class Params {
 public:
  // Throws when a group matches nothing, or nothing is trained. `rounding`: tensors of which
  // `model` holds latents and grids (ToLatents).
  Params(const Model& model, std::span<const TrainGroup> groups, at::Device device = at::kCPU,
         const Rounding& rounding = {});
  // Nothing trained: values only.
  static Params Frozen(const Model& model, at::Device device = at::kCPU);

  const at::Tensor& Get(std::string_view name) const;
  const Param& At(std::string_view name) const;
  bool Has(std::string_view name) const { return params_.find(name) != params_.end(); }
  // Names and numbers of copies of the parameters that have some.
  const std::map<std::string, int, std::less<>>& copies() const { return copies_; }
  // Lets a parameter with copies be one of them, which then collects its gradient.
  void UseCopy(std::string_view name, int copy);
  // Lets every parameter with copies be their mean, which has no gradient.
  void UseMeans();
  // By name, trained ones first in the order of their offsets.
  std::vector<const Param*> List() const;

  at::Device device() const { return device_; }
  at::Tensor& flat() { return flat_; }
  at::Tensor& grad() { return grad_; }
  const at::Tensor& flat() const { return flat_; }
  const at::Tensor& grad() const { return grad_; }
  // The part of a flat array that belongs to a parameter, in its shape.
  static at::Tensor Part(const at::Tensor& flat, const Param& param);
  // Number of trained values, without padding.
  int64_t trained_elements() const { return trained_elements_; }
  void ZeroGrad();

  // Rounds what is rounded. Whoever writes into flat() calls it before values are read.
  void Round();
  // Makes the gradients of rounded values those of latents and grids. Once, when all are added.
  void FinishGrad();
  const RoundTypes& rounded() const { return rounding_.types; }

  // Goes on with the tensors of another plan: values are taken from `sources` (by the new names),
  // gradients become zero, and nothing of what is gone stays in memory. `groups` decide what is
  // trained; a pattern may match nothing. Not with copies or rounded tensors. Returns the moves of
  // trained parameters.
  std::vector<ParamMove> Retie(const SharingPlan& plan, std::map<std::string, ParamSource> sources,
                               std::span<const TrainGroup> groups);

  // The model with the present values (or those of another flat array); on the CPU its tensors
  // share memory with the parameters. Copies are merged into their mean, and rounded tensors are
  // their latents.
  Model ToModel() const;
  Model ToModel(const at::Tensor& flat) const;
  // The same with rounded tensors in their types.
  Model ToRoundedModel() const;

 private:
  Params(const Model& model, at::Device device);
  void Add(const std::string& name, at::Tensor value);
  void Layout(std::span<const TrainGroup> groups);
  at::Tensor MeanOfCopies(std::string_view name, int count, const at::Tensor& flat) const;
  // Of a rounded tensor, and in the same places of the gradient.
  Latents LatentsOf(const std::string& name) const;
  Latents GradientsOf(const std::string& name) const;

  ModelConfig config_;
  SharingPlan plan_;
  std::string path_;
  at::Device device_;
  std::map<std::string, Param, std::less<>> params_;
  std::map<std::string, int, std::less<>> copies_;
  Rounding rounding_;
  at::Tensor flat_, grad_;
  int64_t trained_elements_ = 0;
};

// f32 copies of a tensor of any type, and of an f32 one wherever it is.
at::Tensor ToTorch(const Tensor& tensor);
Tensor FromTorch(const at::Tensor& tensor);
// The same without a copy of what is on the CPU: it changes as `tensor` changes, so it is for
// writing at once only.
Tensor ViewTorch(const at::Tensor& tensor);

}  // namespace rondo
