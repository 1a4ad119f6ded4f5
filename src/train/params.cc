#include "train/params.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/strings.h"
#include "rondo/error.h"
#include "train/glob.h"

namespace rondo {
namespace {

// Parameters begin at multiples of a cache line: products then take the same code path, and give
// the same bits, wherever a tensor stands.
constexpr int64_t kAlignElements = 16;

bool Decays(const Param& param) { return param.value.dim() >= 2 && !IsPrefixTensor(param.name); }

std::vector<int64_t> Sizes(const Shape& shape) { return {shape.begin(), shape.end()}; }

[[noreturn]] void FailNoMatch(const std::string& pattern, std::span<const std::string> names) {
  throw Error({.function = "Params",
               .problem = "pattern '" + pattern + "' matches no parameter",
               .expected = UnknownNameHint(pattern, names),
               .field = "train"});
}

}  // namespace

at::Tensor ToTorch(const Tensor& tensor) {
  at::Tensor out = at::empty(Sizes(tensor.shape()), at::kFloat);
  float* data = out.mutable_data_ptr<float>();
  for (int64_t row = 0; row < tensor.rows(); ++row) {
    RowToF32(tensor, row, data + row * tensor.cols());
  }
  return out;
}

Tensor FromTorch(const at::Tensor& tensor) {
  auto owner = std::make_shared<const at::Tensor>(tensor.detach().contiguous());
  const auto* data = reinterpret_cast<const std::byte*>(owner->const_data_ptr<float>());
  const Shape shape(tensor.sizes().begin(), tensor.sizes().end());
  return Tensor(DType::kF32, shape, {data, static_cast<size_t>(owner->nbytes())}, owner);
}

Params::Params(const Model& model) : config_(model.config), plan_(model.plan), path_(model.path) {
  for (const auto& [name, tensor] : model.weights) {
    Param param{.name = name, .value = ToTorch(tensor), .elements = tensor.elements()};
    param.decay = Decays(param);
    params_.emplace(name, std::move(param));
  }
}

Params Params::Frozen(const Model& model) { return Params(model); }

Params::Params(const Model& model, std::span<const TrainGroup> groups) : Params(model) {
  std::vector<std::string> names;
  for (const auto& [name, param] : params_) names.push_back(name);
  for (const TrainGroup& group : groups) {
    const auto matches = [&](const std::string& name) { return GlobMatch(group.pattern, name); };
    if (std::ranges::none_of(names, matches)) FailNoMatch(group.pattern, names);
  }
  int64_t size = 0;
  for (auto& [name, param] : params_) {
    const auto group = std::ranges::find_if(
        groups, [&](const TrainGroup& g) { return GlobMatch(g.pattern, name); });
    if (group == groups.end() || group->lr_scale == 0) continue;
    param.lr_scale = group->lr_scale;
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
  AllocateTrained(size);
}

void Params::AllocateTrained(int64_t size) {
  flat_ = at::zeros({size}, at::kFloat);
  grad_ = at::zeros({size}, at::kFloat);
  for (auto& [name, param] : params_) {
    if (!param.trained()) continue;
    at::Tensor part = Part(flat_, param);
    part.copy_(param.value);
    param.value = part.detach().requires_grad_(true);
    param.value.mutable_grad() = Part(grad_, param);
  }
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

void Params::ZeroGrad() { grad_.zero_(); }

void Params::BalanceFactors() {
  const at::NoGradGuard no_grad;
  for (const auto& [name, param] : params_) {
    if (!name.starts_with("residual.") || !name.ends_with(".a") || !param.trained()) continue;
    const Param& other = At(name.substr(0, name.size() - 1) + "b");
    if (!other.trained() || param.value.dim() != 2) continue;  // Kronecker factors have three
    const at::Tensor a_length = at::linalg_vector_norm(param.value, 2, at::IntArrayRef{1});
    const at::Tensor b_length = at::linalg_vector_norm(other.value, 2, at::IntArrayRef{0});
    at::Tensor factor = (b_length / a_length).sqrt();
    // Where one side is zero, as in a zero start, there is nothing to balance.
    factor = at::where((a_length > 0).logical_and(b_length > 0), factor, at::ones_like(factor));
    param.value.detach().mul_(factor.unsqueeze(1));
    other.value.detach().div_(factor.unsqueeze(0));
  }
}

Model Params::ToModel() const { return ToModel(flat_); }

Model Params::ToModel(const at::Tensor& flat) const {
  Model model{.config = config_, .plan = plan_, .weights = {}, .path = path_};
  for (const auto& [name, param] : params_) {
    model.weights.Set(name, FromTorch(param.trained() ? Part(flat, param) : param.value));
  }
  return model;
}

}  // namespace rondo
