#include "train/model/params.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/glob.h"
#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Parameters begin at multiples of a cache line: products then take the same code path, and give
// the same bits, wherever a tensor stands.
constexpr int64_t kAlignElements = 16;

bool Decays(const Param& param) {
  return param.value.dim() >= 2 && !IsPrefixTensor(param.name) && !IsGrid(param.name);
}

std::vector<int64_t> Sizes(const Shape& shape) { return {shape.begin(), shape.end()}; }

}  // namespace

const TrainGroup* GroupOf(std::span<const TrainGroup> groups, std::string_view name) {
  const auto group =
      std::ranges::find_if(groups, [&](const TrainGroup& g) { return GlobMatch(g.pattern, name); });
  return group == groups.end() || group->lr_scale == 0 ? nullptr : &*group;
}

std::string CopyName(std::string_view name, int copy) {
  return std::string(name) + "@" + std::to_string(copy);
}

std::string_view BaseName(std::string_view name) { return name.substr(0, name.find('@')); }

at::Tensor ToTorch(const Tensor& tensor) {
  at::Tensor out = at::empty(Sizes(tensor.shape()), at::kFloat);
  float* data = out.mutable_data_ptr<float>();
  for (int64_t row = 0; row < tensor.rows(); ++row) {
    RowToF32(tensor, row, data + row * tensor.cols());
  }
  return out;
}

Tensor FromTorch(const at::Tensor& tensor) {
  at::Tensor here = tensor.detach().cpu().contiguous();
  return ViewTorch(here.is_alias_of(tensor) ? here.clone() : here);
}

Tensor ViewTorch(const at::Tensor& tensor) {
  auto owner = std::make_shared<const at::Tensor>(tensor.detach().cpu().contiguous());
  const auto* data = reinterpret_cast<const std::byte*>(owner->const_data_ptr<float>());
  const Shape shape(tensor.sizes().begin(), tensor.sizes().end());
  return Tensor(DType::kF32, shape, {data, static_cast<size_t>(owner->nbytes())}, owner);
}

Params::Params(const Model& model, at::Device device)
    : config_(model.config), plan_(model.plan), path_(model.path), device_(device) {
  for (const auto& [name, tensor] : model.weights) Add(name, ToTorch(tensor).to(device));
}

void Params::Add(const std::string& name, at::Tensor value) {
  Param param{.name = name, .value = std::move(value)};
  param.elements = param.value.numel();
  param.decay = Decays(param);
  param.apart = name.starts_with("exit_gate.");
  if (IsCopy(name)) ++copies_[std::string(BaseName(name))];
  params_.emplace(name, std::move(param));
}

Params Params::Frozen(const Model& model, at::Device device) { return Params(model, device); }

Params::Params(const Model& model, std::span<const TrainGroup> groups, at::Device device,
               const Rounding& rounding)
    : Params(model, device) {
  rounding_ = rounding;
  Layout(groups);
  Round();
}

// Gives every trained parameter its place in new flat arrays.
void Params::Layout(std::span<const TrainGroup> groups) {
  int64_t size = 0;
  trained_elements_ = 0;
  for (auto& [name, param] : params_) {
    const TrainGroup* group = GroupOf(groups, BaseName(name));
    if (group == nullptr || copies_.contains(name)) continue;
    param.lr_scale = group->lr_scale * (IsGrid(name) ? GridRate(name, rounding_) : 1);
    param.offset = size;
    size += (param.elements + kAlignElements - 1) / kAlignElements * kAlignElements;
    trained_elements_ += param.elements;
  }
  if (size == 0) {
    throw Error({.function = "Params",
                 .problem = "no parameter is trained",
                 .expected = "a pattern with a learning rate above 0",
                 .field = "train"});
  }
  flat_ = at::zeros({size}, at::device(device_).dtype(at::kFloat));
  for (auto& [name, param] : params_) {
    if (!param.trained()) continue;
    at::Tensor part = Part(flat_, param);
    part.copy_(param.value);
    const bool rounded = rounding_.types.contains(name);
    param.value = (rounded ? at::empty_like(part) : part.detach()).requires_grad_(true);
  }
  grad_ = at::zeros_like(flat_);
  for (auto& [name, param] : params_) {
    if (param.trained()) param.value.mutable_grad() = Part(grad_, param);
  }
}

std::vector<ParamMove> Params::Retie(const SharingPlan& plan,
                                     std::map<std::string, ParamSource> sources,
                                     std::span<const TrainGroup> groups) {
  const at::NoGradGuard no_grad;
  // Gradients go first, so that at most one of the flat arrays exists twice.
  grad_ = at::Tensor();
  std::map<std::string, Param, std::less<>> before = std::exchange(params_, {});
  for (auto& [name, param] : before) param.value = param.value.detach();
  for (auto& [name, source] : sources) {
    Add(name, source.from.empty() ? std::exchange(source.value, {}).detach().to(device_)
                                  : before.at(source.from).value);
  }
  plan_ = plan;
  std::map<std::string, int64_t> old_offsets;
  for (const auto& [name, param] : before) old_offsets[name] = param.offset;
  // What becomes frozen must not hold the old array.
  for (auto& [name, param] : params_) {
    const TrainGroup* group = GroupOf(groups, name);
    const std::string& from = sources.at(name).from;
    const bool shares = from.empty() || before.at(from).trained();
    if (group == nullptr && shares) param.value = param.value.clone();
  }
  before.clear();
  Layout(groups);
  std::vector<ParamMove> moves;
  for (const Param* param : List()) {
    if (!param->trained()) continue;
    ParamMove move{.from = sources.at(param->name).from,
                   .to = param->name,
                   .offset = param->offset,
                   .elements = param->elements};
    if (!move.from.empty()) move.old_offset = old_offsets.at(move.from);
    if (move.old_offset < 0) move.from.clear();
    moves.push_back(std::move(move));
  }
  return moves;
}

const Param& Params::At(std::string_view name) const {
  const auto found = params_.find(name);
  if (found == params_.end()) {
    throw Error({.function = "Params",
                 .problem = "no parameter '" + std::string(name) + "'",
                 .expected = "a tensor of the model"});
  }
  return found->second;
}

const at::Tensor& Params::Get(std::string_view name) const { return At(name).value; }

std::vector<const Param*> Params::List() const {
  std::vector<const Param*> list;
  for (const auto& [name, param] : params_) list.push_back(&param);
  std::ranges::stable_sort(list, {}, [](const Param* p) {
    return p->trained() ? p->offset : std::numeric_limits<int64_t>::max();
  });
  return list;
}

at::Tensor Params::Part(const at::Tensor& flat, const Param& param) {
  return flat.narrow(0, param.offset, param.elements).view(param.value.sizes());
}

void Params::UseCopy(std::string_view name, int copy) {
  params_.find(name)->second.value = Get(CopyName(name, copy));
}

at::Tensor Params::MeanOfCopies(std::string_view name, int count, const at::Tensor& flat) const {
  const at::NoGradGuard no_grad;
  at::Tensor sum = Part(flat, At(CopyName(name, 0))).clone();
  for (int copy = 1; copy < count; ++copy) sum.add_(Part(flat, At(CopyName(name, copy))));
  return sum.div_(count);
}

void Params::UseMeans() {
  for (const auto& [name, count] : copies_) {
    params_.find(name)->second.value = MeanOfCopies(name, count, flat_);
  }
}

void Params::ZeroGrad() { grad_.zero_(); }

Latents Params::LatentsOf(const std::string& name) const {
  const auto value = [&](const std::string& of) {
    const Param& param = At(of);
    return param.trained() ? Part(flat_, param) : param.value;
  };
  const bool offsets = HasOffsets(rounding_.types.at(name));
  return {.weight = value(name),
          .scale = value(ScaleName(name)),
          .offset = offsets ? value(OffsetName(name)) : at::Tensor()};
}

Latents Params::GradientsOf(const std::string& name) const {
  const auto gradient = [&](const std::string& of) { return Part(grad_, At(of)); };
  const bool offsets = HasOffsets(rounding_.types.at(name));
  return {.weight = gradient(name),
          .scale = gradient(ScaleName(name)),
          .offset = offsets ? gradient(OffsetName(name)) : at::Tensor()};
}

// Of a frozen tensor the latents become the rounded values, which are rounded to themselves.
void Params::Round() {
  const at::NoGradGuard no_grad;
  for (const auto& [name, dtype] : rounding_.types) {
    RoundTensor(dtype, LatentsOf(name), params_.find(name)->second.value);
  }
}

void Params::FinishGrad() {
  for (const auto& [name, dtype] : rounding_.types) {
    if (!At(name).trained()) continue;
    Latents gradient = GradientsOf(name);
    RoundTensorBackward(dtype, LatentsOf(name), gradient.weight, gradient.scale, gradient.offset);
  }
}

Model Params::ToModel() const { return ToModel(flat_); }

Model Params::ToModel(const at::Tensor& flat) const {
  Model model{.config = config_, .plan = plan_, .weights = {}, .path = path_};
  const at::Tensor here = flat.cpu();
  for (const auto& [name, param] : params_) {
    if (IsBeside(name)) continue;
    const auto found = copies_.find(name);
    const at::Tensor value = found != copies_.end() ? MeanOfCopies(name, found->second, here)
                             : param.trained()      ? Part(here, param)
                                                    : param.value;
    model.weights.Set(name, FromTorch(value));
  }
  return model;
}

Model Params::ToRoundedModel() const {
  Model model = ToModel();
  for (const auto& [name, dtype] : rounding_.types) {
    model.weights.Set(name, PackTensor(dtype, LatentsOf(name)));
  }
  return model;
}

}  // namespace rondo
