#include "train/tying/tie_policies.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "rondo/error.h"
#include "train/model/merge.h"

namespace rondo {
namespace {

constexpr uint64_t kMaxPlanBytes = uint64_t{16} << 20;

// [depths · depths] cosines between the linears of a unit as layers use them.
std::vector<double> Similarities(const TieUnit& unit, const Params& params,
                                 const SharingPlan& plan) {
  const at::NoGradGuard no_grad;
  const int depths = plan.depths;
  std::vector<double> products(static_cast<size_t>(depths * depths));
  for (const Module m : unit.modules) {
    if (!IsLinear(m)) continue;
    std::vector<at::Tensor> weights;
    for (int d = 0; d < depths; ++d) {
      weights.push_back(MergeLinear(params, plan, m, d).detach().flatten());
    }
    for (int i = 0; i < depths; ++i) {
      for (int j = 0; j <= i; ++j) {
        const auto a = static_cast<size_t>(i), b = static_cast<size_t>(j);
        products[a * static_cast<size_t>(depths) + b] +=
            at::dot(weights[a], weights[b]).item<double>();
      }
    }
  }
  const auto at = [&](int i, int j) -> double& {
    return products[static_cast<size_t>(i * depths + j)];
  };
  std::vector<double> squares;
  for (int i = 0; i < depths; ++i) squares.push_back(at(i, i));
  for (int i = 0; i < depths; ++i) {
    for (int j = 0; j <= i; ++j) {
      const double norm =
          std::sqrt(squares[static_cast<size_t>(i)] * squares[static_cast<size_t>(j)]);
      at(i, j) = at(j, i) = norm > 0 ? at(i, j) / norm : 0;
    }
  }
  return products;
}

// Joins the two groups whose layers are most alike on average, until `keep` are left.
std::vector<int> Greedy(const std::vector<double>& similarity, int depths, int keep) {
  std::vector<std::vector<int>> groups;
  for (int d = 0; d < depths; ++d) groups.push_back({d});
  const auto alike = [&](const std::vector<int>& a, const std::vector<int>& b) {
    double sum = 0;
    for (const int i : a) {
      for (const int j : b) sum += similarity[static_cast<size_t>(i * depths + j)];
    }
    return sum / static_cast<double>(a.size() * b.size());
  };
  while (static_cast<int>(groups.size()) > keep) {
    size_t first = 0, second = 1;
    for (size_t i = 0; i < groups.size(); ++i) {
      for (size_t j = i + 1; j < groups.size(); ++j) {
        if (alike(groups[i], groups[j]) > alike(groups[first], groups[second])) {
          first = i;
          second = j;
        }
      }
    }
    groups[first].insert(groups[first].end(), groups[second].begin(), groups[second].end());
    groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(second));
  }
  std::vector<int> choice(static_cast<size_t>(depths));
  for (const std::vector<int>& group : groups) {
    const int owner = *std::ranges::min_element(group);
    for (const int d : group) choice[static_cast<size_t>(d)] = owner;
  }
  return choice;
}

std::vector<int> OfPlan(const std::string& file, const TieUnit& unit, int depths) {
  const SharingPlan plan = PlanFromJson(ReadTextFile(file, kMaxPlanBytes), file);
  const std::vector<int>& blocks = plan[unit.modules.front()].blocks;
  for (const Module m : unit.modules) {
    if (plan[m].blocks == blocks) continue;
    throw Error({.function = "ChoicesOfPolicy",
                 .problem = std::string(Name(m)) + " is tied otherwise than " +
                            std::string(Name(unit.modules.front())) + ", and " + unit.name +
                            " is tied as a whole",
                 .expected = "tying.unit = \"half\" or \"module\", or tying.norms = \"own\"",
                 .file = file,
                 .field = "modules." + std::string(Name(m)) + ".blocks"});
  }
  if (static_cast<int>(blocks.size()) != depths) {
    throw Error({.function = "ChoicesOfPolicy",
                 .problem = std::to_string(blocks.size()) + " depths",
                 .expected = "the model's " + std::to_string(depths),
                 .file = file,
                 .field = "modules." + std::string(Name(unit.modules.front())) + ".blocks"});
  }
  std::vector<int> choice;
  for (const int block : blocks) {
    choice.push_back(static_cast<int>(std::ranges::find(blocks, block) - blocks.begin()));
  }
  return choice;
}

// Each layer to one up to itself; one that was tied leads to its owner.
std::vector<int> Random(int depths, uint64_t seed) {
  Rng rng(seed);
  std::vector<int> choice(static_cast<size_t>(depths));
  for (int d = 0; d < depths; ++d) {
    const int drawn = static_cast<int>(rng.Uniform() * (d + 1));
    choice[static_cast<size_t>(d)] = drawn == d ? d : choice[static_cast<size_t>(drawn)];
  }
  return choice;
}

}  // namespace

std::vector<int> ChoicesOfPolicy(const TiePolicyOptions& options, const TieUnit& unit,
                                 const Params& params, const SharingPlan& plan) {
  const int depths = plan.depths;
  std::vector<int> choice(static_cast<size_t>(depths));
  std::iota(choice.begin(), choice.end(), 0);
  const auto set = [&](auto&& of) {
    for (int d = 0; d < depths; ++d) choice[static_cast<size_t>(d)] = of(d);
  };
  switch (options.kind) {
    case TiePolicy::kNone:
      break;
    case TiePolicy::kFirst:
      set([](int) { return 0; });
      break;
    case TiePolicy::kPairs:
      set([](int d) { return d - d % 2; });
      break;
    case TiePolicy::kMirror:
      set([&](int d) { return std::min(d, depths - 1 - d); });
      break;
    case TiePolicy::kRandom:
      choice = Random(depths, CombineHash(options.seed, HashText(unit.name)));
      break;
    case TiePolicy::kGreedy: {
      const int keep = options.keep > 0 ? options.keep : (depths + 1) / 2;
      choice = Greedy(Similarities(unit, params, plan), depths, keep);
      break;
    }
    case TiePolicy::kPlan:
      choice = OfPlan(options.plan, unit, depths);
      break;
  }
  return choice;
}

}  // namespace rondo
