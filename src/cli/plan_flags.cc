#include "cli/plan_flags.h"

#include <charconv>
#include <functional>
#include <vector>

#include "base/file.h"
#include "base/strings.h"
#include "rondo/error.h"

namespace rondo::cli {
namespace {

constexpr ModuleGroup kGroups[] = {ModuleGroup::kAttention, ModuleGroup::kFfn, ModuleGroup::kNorms};

constexpr uint64_t kMaxPlanBytes = uint64_t{16} << 20;

[[noreturn]] void Fail(const char* flag, std::string problem, std::string expected) {
  throw Error({.function = "ParseFoldOptions",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .field = flag});
}

int ToInt(const char* flag, std::string_view text) {
  int value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) {
    Fail(flag, "'" + std::string(text) + "'", "an integer");
  }
  return value;
}

// "v" calls set("", v); "a=v,b=w" calls set("a", v), set("b", w).
void ForEachSetting(const char* flag, const std::string& text,
                    const std::function<void(const std::string&, const std::string&)>& set) {
  if (text.find('=') == std::string::npos) return set("", text);
  for (const std::string& part : Split(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == part.size()) {
      Fail(flag, "'" + part + "'", "NAME=VALUE, separated by commas");
    }
    set(part.substr(0, equals), part.substr(equals + 1));
  }
}

// Calls set for the named group, or for all groups when the name is empty.
void ForGroups(const char* flag, const std::string& name,
               const std::function<void(ModuleGroup)>& set) {
  bool found = false;
  std::vector<std::string> names;
  for (const ModuleGroup group : kGroups) {
    names.emplace_back(Name(group));
    if (!name.empty() && name != Name(group)) continue;
    set(group);
    found = true;
  }
  if (!found) Fail(flag, "unknown group '" + name + "'", UnknownNameHint(name, names));
}

template <typename Enum>
Enum Choose(const char* flag, const std::string& value, const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == value) return static_cast<Enum>(i);
  }
  Fail(flag, "unknown value '" + value + "'", UnknownNameHint(value, names));
}

void ParseRank(const std::string& text, const ModelConfig& config, FoldOptions* options) {
  ForEachSetting("--rank", text, [&](const std::string& name, const std::string& value) {
    const int rank = ToInt("--rank", value);
    if (rank < 0) Fail("--rank", value, "0 or more");
    if (name.empty()) {
      options->rank = rank;
      return;
    }
    bool is_group = false;
    for (const Module m : kAllModules) {
      if (!IsLinear(m) || name != Name(GroupOf(m))) continue;
      is_group = true;
      // A rank for the module itself wins.
      if (config.HasModule(m)) options->module_ranks.emplace(m, rank);
    }
    if (!is_group) options->module_ranks[ModuleFromName(name)] = rank;
  });
}

}  // namespace

FoldOptions ParseFoldOptions(const PlanFlags& flags, const ModelConfig& config) {
  FoldOptions options;
  ForEachSetting("--order", flags.order, [&](const std::string& name, const std::string& value) {
    ForGroups("--order", name,
              [&](ModuleGroup group) { options.order[static_cast<size_t>(group)].order = value; });
  });
  ForEachSetting("--loops", flags.loops, [&](const std::string& name, const std::string& value) {
    ForGroups("--loops", name, [&](ModuleGroup group) {
      options.order[static_cast<size_t>(group)].loops = ToInt("--loops", value);
    });
  });
  for (TieOrder& order : options.order) {
    order.keep_first = flags.keep_first;
    order.keep_last = flags.keep_last;
  }
  options.residual = ResidualKindFromName(flags.residual);
  ParseRank(flags.rank, config, &options);
  const bool bare = options.residual == ResidualKind::kNone;
  const std::string init = !flags.init.empty() ? flags.init : bare ? "stepwise" : "average";
  options.init =
      Choose<InitKind>("--init", init, {"stepwise", "average", "lower", "upper", "random"});
  options.residual_start =
      Choose<ResidualStart>("--residual-start", flags.residual_start, {"fit", "zero"});
  options.norms = Choose<NormPolicy>("--norms", flags.norms, {"own", "absorbed", "tied"});
  options.tie_biases = flags.tie_biases;
  options.prefix = flags.prefix;
  options.seed = flags.seed;
  return options;
}

SharingPlan PlanFromFlags(const PlanFlags& flags, const FoldOptions& options,
                          const ModelConfig& config) {
  if (flags.plan_file.empty()) return MakePlan(config, options);
  const std::string text = ReadTextFile(flags.plan_file, kMaxPlanBytes);
  if (!Trim(text).starts_with('{')) {
    FoldOptions custom = options;
    custom.order = TieOrdersFromText(text, flags.plan_file);
    return MakePlan(config, custom);
  }
  SharingPlan plan = PlanFromJson(text, flags.plan_file);
  plan.Validate(config);
  return plan;
}

}  // namespace rondo::cli
