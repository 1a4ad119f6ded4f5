#include "cli/plan_flags.h"

#include <charconv>
#include <filesystem>
#include <functional>
#include <vector>

#include "base/file.h"
#include "base/options.h"
#include "base/strings.h"
#include "base/with_file.h"
#include "cli/command_line.h"
#include "formats/file_kind.h"
#include "rondo/any_model.h"

namespace rondo::cli {
namespace {

constexpr ModuleGroup kGroups[] = {ModuleGroup::kAttention, ModuleGroup::kFfn, ModuleGroup::kNorms};

constexpr uint64_t kMaxPlanBytes = uint64_t{16} << 20;

[[noreturn]] void Fail(const char* flag, std::string problem, std::string expected) {
  throw UsageError({.function = "ParseFoldOptions",
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

// What TieMap finds wrong is a flag's value.
void CheckOrders(const FoldOptions& options, int layers) {
  for (const ModuleGroup group : kGroups) {
    if (group == ModuleGroup::kNorms && options.norms != NormPolicy::kTied) continue;
    try {
      TieMap(options.order[static_cast<size_t>(group)], layers);
    } catch (const Error& error) {
      ErrorInfo info = error.info();
      info.field = FlagName(info.field);
      throw UsageError(std::move(info));
    }
  }
}

// A model's directory, its config.json, or a GGUF file, rather than a file with a plan.
bool NamesModel(const std::string& file) {
  return IsDirectory(file) || std::filesystem::path(file).filename() == "config.json" ||
         ContentOf(file).kind == FileKind::kGguf;
}

// The plan that another model was folded by. Its gate was trained and stays its own.
SharingPlan PlanOfModel(const std::string& path) {
  const AnyModel model = LoadAnyModel(path, LoadParts::kConfig);
  const auto* speech = std::get_if<SpeechModel>(&model);
  SharingPlan plan = speech ? speech->encoder.plan : std::get<Model>(model).plan;
  plan.exit_gate = false;
  if (!plan.IsPlain()) return plan;
  throw Error({.function = "PlanOfModel",
               .problem = "the model shares nothing, so there is no plan in it",
               .expected = "a folded model, or a file with a plan",
               .file = path,
               .field = "--plan"});
}

SharingPlan Checked(SharingPlan plan, const ModelConfig& config, const std::string& file) {
  WithFile(file, [&] { plan.Validate(config); });
  return plan;
}

}  // namespace

FoldOptions ParseFoldOptions(const PlanFlags& flags, const ModelConfig& config) {
  FoldOptions options = flags.fold;
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
  ParseRank(flags.rank, config, &options);
  const bool bare = options.residual == ResidualKind::kNone;
  options.init = flags.init.value_or(bare ? InitKind::kStepwise : InitKind::kAverage);
  return options;
}

bool IsWholePlan(const std::string& file) {
  if (file.empty()) return false;
  return NamesModel(file) || Trim(ReadTextFile(file, kMaxPlanBytes)).starts_with('{');
}

SharingPlan PlanFromFlags(const PlanFlags& flags, const FoldOptions& options,
                          const ModelConfig& config) {
  const std::string& file = flags.plan_file;
  if (file.empty()) {
    CheckOrders(options, config.layers);
    return MakePlan(config, options);
  }
  if (NamesModel(file)) return Checked(PlanOfModel(file), config, file);
  const std::string text = ReadTextFile(file, kMaxPlanBytes);
  if (Trim(text).starts_with('{')) return Checked(PlanFromJson(text, file), config, file);
  FoldOptions custom = options;
  custom.order = TieOrdersFromText(text, file);
  return MakePlan(config, custom);
}

}  // namespace rondo::cli
