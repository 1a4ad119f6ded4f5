#include "train/recipe/round.h"

#include <algorithm>

#include "base/glob.h"
#include "base/strings.h"
#include "train/recipe/recipe_visit.h"

namespace rondo {
namespace {

bool IsMatrix(const std::string& name, const Tensor& tensor) {
  return tensor.shape().size() >= 2 && !IsPrefixTensor(name);
}

void CheckPatternsOfRound(const std::vector<RoundPattern>& patterns, const Weights& weights,
                          const Place& place) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights) {
    if (IsMatrix(name, tensor)) names.push_back(name);
  }
  for (const RoundPattern& p : patterns) {
    const auto matches = [&](const std::string& name) { return GlobMatch(p.pattern, name); };
    if (std::ranges::any_of(names, matches)) continue;
    place.Fail("round", "pattern '" + p.pattern + "' matches no matrix",
               UnknownNameHint(p.pattern, names));
  }
}

void CheckBlocks(const std::string& name, const Tensor& tensor, DType dtype, const Place& place) {
  const DTypeInfo& info = Info(dtype);
  if (tensor.cols() % info.block_length == 0) return;
  place.Fail("round",
             "type " + std::string(info.name) + " for '" + name + "' " + ToString(tensor.shape()),
             "rows of a multiple of " + std::to_string(info.block_length) +
                 " values, or a pattern that leaves the tensor out");
}

// Of a tensor as the file has it; f32: it is not rounded there.
DType TypeInFile(const Recipe& recipe, const std::string& name, const Tensor& stored) {
  if (!IsQuantized(stored.dtype())) return DType::kF32;
  if (CanRound(stored.dtype())) return stored.dtype();
  throw Error({.function = "Train",
               .problem = "type " + std::string(Info(stored.dtype()).name) +
                          ", whose scales cannot be learned",
               .expected = "one of " + RoundTypeNames() + ", or another type for it in `round`",
               .file = recipe.rounded,
               .field = name});
}

}  // namespace

std::vector<RoundPattern> ParseRound(const std::vector<std::string>& texts, const Place& place) {
  std::vector<RoundPattern> patterns;
  for (const std::string& text : texts) {
    const size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0) {
      place.Fail("round", "'" + text + "'", "pattern:type, such as blocks.*.weight:q4_0");
    }
    RoundPattern& p = patterns.emplace_back();
    p.pattern = text.substr(0, colon);
    p.dtype = place.Named("round", [&] { return DTypeFromName(text.substr(colon + 1)); });
    if (!CanRound(p.dtype)) {
      place.Fail("round", "type " + std::string(Info(p.dtype).name) + " in '" + text + "'",
                 "a type whose scales can be learned: " + RoundTypeNames());
    }
  }
  return patterns;
}

Model LoadRounded(const Recipe& recipe, const Model& model) {
  Model file = LoadModel(recipe.rounded);
  const auto fail = [&](std::string problem, std::string expected, std::string field) {
    throw Error({.function = "Train",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = recipe.rounded,
                 .field = std::move(field)});
  };
  if (file.plan != model.plan) fail("another plan", "that of " + recipe.model, "plan");
  for (const auto& [name, tensor] : model.weights) {
    if (!file.weights.Has(name)) fail("no such tensor", "the tensors of " + recipe.model, name);
    const Shape& shape = file.weights.Get(name).shape();
    if (shape != tensor.shape()) fail(ToString(shape), ToString(tensor.shape()), name);
  }
  return file;
}

RoundTypes ResolveRound(const Recipe& recipe, size_t index, const Weights& weights,
                        const Model* file) {
  const Place place = {recipe.file, "stages." + std::to_string(index)};
  const StageOptions& o = recipe.stages.at(index);
  if (file != nullptr && (IsTied(recipe, index) || o.mixture != 0)) {
    Place{recipe.file, ""}.Fail(
        "rounded",
        "given, but stage '" + o.name + "' " + (o.mixture != 0 ? "has a mixture" : "ties layers"),
        "stages that round");
  }
  const std::vector<RoundPattern> patterns = ParseRound(o.round, place);
  CheckPatternsOfRound(patterns, weights, place);
  RoundTypes types;
  for (const auto& [name, tensor] : weights) {
    if (!IsMatrix(name, tensor)) continue;
    const auto found = std::ranges::find_if(
        patterns, [&](const RoundPattern& p) { return GlobMatch(p.pattern, name); });
    if (found != patterns.end()) {
      CheckBlocks(name, tensor, found->dtype, place);
      types[name] = found->dtype;
    } else if (file != nullptr) {
      const DType dtype = TypeInFile(recipe, name, file->weights.Get(name));
      if (IsQuantized(dtype)) types[name] = dtype;
    }
  }
  return types;
}

}  // namespace rondo
