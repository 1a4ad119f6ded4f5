#include "rondo/module.h"

#include <string>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {
constexpr std::string_view kNames[kModuleCount] = {
    "q",         "k",        "v",      "o",      "gate",           "up",           "down",
    "attn_norm", "ffn_norm", "q_norm", "k_norm", "post_attn_norm", "post_ffn_norm"};
}  // namespace

std::string_view Name(Module module) { return kNames[static_cast<int>(module)]; }

Module ModuleFromName(std::string_view name) {
  for (const Module m : kAllModules) {
    if (Name(m) == name) return m;
  }
  const std::vector<std::string> names(std::begin(kNames), std::end(kNames));
  throw Error({.function = "ModuleFromName",
               .problem = "unknown module '" + std::string(name) + "'",
               .expected = UnknownNameHint(name, names)});
}

ModuleGroup GroupOf(Module module) {
  if (!IsLinear(module)) return ModuleGroup::kNorms;
  return module <= Module::kO ? ModuleGroup::kAttention : ModuleGroup::kFfn;
}

std::string_view Name(ModuleGroup group) {
  constexpr std::string_view kGroups[] = {"attention", "ffn", "norms"};
  return kGroups[static_cast<int>(group)];
}

}  // namespace rondo
