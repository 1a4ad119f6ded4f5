#include "train/model/balance.h"

#include <set>
#include <string>

#include "train/model/mixture.h"

namespace rondo {

void BalanceFactors(at::Tensor& a, at::Tensor& b) {
  const at::NoGradGuard no_grad;
  const at::Tensor a_length = at::linalg_vector_norm(a, 2, at::IntArrayRef{1});
  const at::Tensor b_length = at::linalg_vector_norm(b, 2, at::IntArrayRef{0});
  const at::Tensor both = (a_length > 0).logical_and(b_length > 0);
  const at::Tensor factor = at::where(both, (b_length / a_length).sqrt(), at::ones_like(a_length));
  a = a * factor.unsqueeze(1);
  b = b / factor.unsqueeze(0);
}

void BalanceFactors(Model& model, std::span<const TrainGroup> groups, std::string_view scope) {
  const std::vector<std::string> trained = TrainedFactors(model.config, model.plan, groups, scope);
  const std::set<std::string> names(trained.begin(), trained.end());
  for (const std::string& name : names) {
    if (!name.ends_with(".a")) continue;
    const std::string other = name.substr(0, name.size() - 1) + "b";
    if (!names.contains(other)) continue;
    at::Tensor a = ToTorch(model.weights.Get(name)), b = ToTorch(model.weights.Get(other));
    BalanceFactors(a, b);
    model.weights.Set(name, FromTorch(a));
    model.weights.Set(other, FromTorch(b));
  }
}

}  // namespace rondo
