// All sections of a recipe in their order.
#pragma once

#include <string>

#include "train/recipe/recipe_visit.h"
#include "train/recipe/speech_visit.h"
#include "train/recipe/stage_visit.h"
#include "train/recipe/tying_visit.h"

namespace rondo {

// Calls f(name, visit) for every section that is a table by itself, where visit(visitor) walks its
// fields.
template <typename F>
void VisitTables(Recipe& recipe, const RecipeKind& kind, const F& f) {
  if (recipe.init) f("init", [&](auto& v) { Visit(*recipe.init, kind, v); });
  if (recipe.tying) f("tying", [&](auto& v) { Visit(*recipe.tying, kind, v); });
  if (recipe.speech) f("speech", [&](auto& v) { Visit(*recipe.speech, kind, v); });
  f("data", [&](auto& v) { Visit(recipe.data, kind, v); });
  f("valid", [&](auto& v) { Visit(recipe.valid, kind, v); });
  f("run", [&](auto& v) { Visit(recipe.run, kind, v); });
}

// The same for all: "" is what stands above any section, "stages.<i>" a stage.
template <typename F>
void VisitSections(Recipe& recipe, const F& f) {
  const RecipeKind kind = KindOf(recipe);
  f("", [&](auto& v) { VisitRoot(recipe, kind, v); });
  VisitTables(recipe, kind, f);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    f("stages." + std::to_string(i),
      [&](auto& v) { Visit(recipe.stages[i], kind, IsTied(recipe, i), v); });
  }
}

}  // namespace rondo
