#include "rondo/module.h"

#include <string>
#include <vector>

#include "base/strings.h"
#include "rondo/error.h"

namespace rondo {
namespace {
constexpr std::string_view kNames[] = {"q",
                                       "k",
                                       "v",
                                       "o",
                                       "gate",
                                       "up",
                                       "down",
                                       "cross_q",
                                       "cross_k",
                                       "cross_v",
                                       "cross_o",
                                       "pre_up",
                                       "pre_down",
                                       "conv_in",
                                       "conv_out",
                                       "attn_norm",
                                       "ffn_norm",
                                       "q_norm",
                                       "k_norm",
                                       "post_attn_norm",
                                       "post_ffn_norm",
                                       "cross_norm",
                                       "pre_ffn_norm",
                                       "conv_norm",
                                       "conv_mid_norm",
                                       "out_norm",
                                       "conv_depth"};
static_assert(std::size(kNames) == kModuleCount);
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
  const bool attention =
      module <= Module::kO || (module >= Module::kCrossQ && module <= Module::kCrossO);
  return attention ? ModuleGroup::kAttention : ModuleGroup::kFfn;
}

std::string_view Name(ModuleGroup group) {
  constexpr std::string_view kGroups[] = {"attention", "ffn", "norms"};
  return kGroups[static_cast<int>(group)];
}

}  // namespace rondo
