#include "train/recipe/recipe.h"

#include <toml++/toml.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <type_traits>
#include <utility>

#include "base/file.h"
#include "base/options.h"
#include "base/strings.h"
#include "train/recipe/recipe_sections.h"

namespace rondo {
namespace {

std::string Excerpt(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& value) { out << value; });
  return out.str().substr(0, 80);
}

[[noreturn]] void FailAt(const std::string& file, const std::string& section,
                         const std::string& key, std::string problem, std::string expected) {
  throw Error({.function = "ReadRecipe",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = file,
               .field = section.empty() ? key : section + "." + key});
}

// Reads the keys of one table into options and remembers which there are.
class Reader {
 public:
  Reader(const toml::table& table, std::string section, std::string file)
      : table_(table), section_(std::move(section)), file_(std::move(file)) {}

  template <typename T>
  void operator()(const Field& field, T& value) {
    known_.emplace_back(field.name);
    const toml::node* node = table_.get(field.name);
    if (node == nullptr) return;
    const std::string key(field.name);
    Assign(field, *node, value);
    if (const auto fault = FaultOf(field, value)) Fail(key, fault->problem, fault->expected);
    given_.push_back(key);
  }

  void Know(const char* key) { known_.emplace_back(key); }
  // The keys that the table has.
  const std::vector<std::string>& given() const { return given_; }

  void RefuseUnknownKeys() const {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::ranges::find(known_, name) != known_.end()) continue;
      Fail(name, "unknown key '" + name + "'", UnknownNameHint(name, known_));
    }
  }

 private:
  [[noreturn]] void Fail(const std::string& key, std::string problem, std::string expected) const {
    FailAt(file_, section_, key, std::move(problem), std::move(expected));
  }

  template <typename T>
  void Assign(const Field& field, const toml::node& node, T& value) const {
    const std::string key(field.name);
    const auto refuse = [&](const std::string& expected) {
      Fail(key, "value " + Excerpt(node), expected);
    };
    if constexpr (kIsList<T>) {
      const toml::array* list = node.as_array();
      if (list == nullptr) refuse("a list");
      value.clear();
      for (const toml::node& item : *list) Assign(field, item, value.emplace_back());
    } else if constexpr (std::is_floating_point_v<T>) {
      // An integer is a number too.
      if (node.is_integer()) {
        value = static_cast<T>(node.as_integer()->get());
      } else if (node.is_floating_point()) {
        value = static_cast<T>(node.as_floating_point()->get());
      } else {
        refuse(TypeText<T>());
      }
      if (!(value >= -1e18 && value <= 1e18)) refuse("a finite number");
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto found = node.value_exact<bool>();
      if (!found) refuse(TypeText<T>());
      value = *found;
    } else if constexpr (std::is_integral_v<T>) {
      const auto found = node.value_exact<int64_t>();
      if (!found || !std::in_range<T>(*found)) refuse(TypeText<T>());
      value = static_cast<T>(*found);
    } else {
      const auto found = node.value_exact<std::string>();
      if (!found) refuse(TypeText<T>());
      if (const auto fault = rondo::Assign(field, *found, value)) {
        Fail(key, fault->problem, fault->expected);
      }
    }
  }

  const toml::table& table_;
  std::string section_, file_;
  std::vector<std::string> known_, given_;
};

// The keys that a recipe gives, by section: "", "data", "train", "stages.0".
using GivenKeys = std::map<std::string, std::vector<std::string>>;

// Refuses keys that were given and do nothing.
class IdleCheck {
 public:
  IdleCheck(const std::vector<std::string>& given, std::string section, std::string file)
      : given_(given), section_(std::move(section)), file_(std::move(file)) {}
  template <typename T>
  void operator()(const Field& field, T&) const {
    const std::string key(field.name);
    if (field.when.holds || std::ranges::find(given_, key) == given_.end()) return;
    const Fault fault = DoesNothing(field);
    FailAt(file_, section_, key, fault.problem, fault.expected);
  }

 private:
  const std::vector<std::string>& given_;
  std::string section_, file_;
};

// Collects the names of fields that count.
struct Counting {
  std::set<std::string, std::less<>> names;
  template <typename T>
  void operator()(const Field& field, T&) {
    if (field.when.holds) names.emplace(field.name);
  }
};

// A key of [train] may do nothing in some stages, but not in all.
void RefuseIdleDefaults(Recipe& recipe, const std::vector<std::string>& given) {
  const RecipeKind kind = KindOf(recipe);
  Counting counting;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    Visit(recipe.stages[i], kind, IsTied(recipe, i), counting);
  }
  std::vector<std::string> idle;
  for (const std::string& key : given) {
    if (!counting.names.contains(key)) idle.push_back(key);
  }
  IdleCheck check(idle, "train", recipe.file);
  Visit(recipe.stages.front(), kind, IsTied(recipe, 0), check);
}

void RefuseIdleKeys(Recipe& recipe, const GivenKeys& given) {
  VisitSections(recipe, [&](const std::string& section, const auto& visit) {
    const auto found = given.find(section);
    if (found == given.end()) return;
    IdleCheck check(found->second, section, recipe.file);
    visit(check);
  });
  const auto train = given.find("train");
  if (train != given.end()) RefuseIdleDefaults(recipe, train->second);
}

// Gives fields that do not count the values of `standard`, so that nothing follows from them.
class Clearing {
 public:
  explicit Clearing(StageOptions standard) : standard_(std::move(standard)) {}
  void Clear(StageOptions& o, const RecipeKind& kind, bool tied) {
    Counting counting;
    Visit(o, kind, tied, counting);
    StageOptions kept = std::exchange(o, standard_);
    kept.name.swap(o.name);
    fields_.clear();
    const auto remember = [&]<typename T>(const Field& field, T& value) {
      if (counting.names.contains(field.name)) fields_[std::string(field.name)] = &value;
    };
    Visit(kept, kind, tied, remember);
    const auto restore = [&]<typename T>(const Field& field, T& value) {
      const auto found = fields_.find(std::string(field.name));
      if (found != fields_.end()) value = *static_cast<T*>(found->second);
    };
    Visit(o, kind, tied, restore);
  }

 private:
  StageOptions standard_;
  std::map<std::string, void*> fields_;
};

template <typename F>
void ReadTable(const toml::table& root, const std::string& name, const std::string& file,
               GivenKeys& given, const F& visit) {
  const toml::node* node = root.get(name);
  if (node == nullptr) return;
  if (!node->is_table()) FailAt(file, "", name, "value " + Excerpt(*node), "a table");
  Reader reader(*node->as_table(), name, file);
  visit(reader);
  reader.RefuseUnknownKeys();
  given[name] = reader.given();
}

// `defaults` are what [train] does not say.
std::vector<StageOptions> ReadStages(const toml::table& root, const std::string& file,
                                     StageOptions defaults, const RecipeKind& kind,
                                     GivenKeys& given) {
  ReadTable(root, "train", file, given, [&](auto& v) { Visit(defaults, kind, false, v); });
  const toml::node* node = root.get("stages");
  if (node == nullptr) {
    defaults.name = "train";
    return {defaults};
  }
  const toml::array* list = node->as_array();
  std::vector<StageOptions> stages;
  for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
    const toml::table* table = (*list)[i].as_table();
    if (table == nullptr) break;
    StageOptions stage = defaults;
    stage.name = "stage " + std::to_string(i);
    const std::string section = "stages." + std::to_string(i);
    Reader reader(*table, section, file);
    reader({.name = "name"}, stage.name);
    Visit(stage, kind, false, reader);
    reader.RefuseUnknownKeys();
    given[section] = reader.given();
    stages.push_back(stage);
  }
  if (list == nullptr || stages.size() != list->size() || stages.empty()) {
    FailAt(file, "", "stages", "not a list of tables", "[[stages]], one for each stage");
  }
  return stages;
}

toml::table ParseToml(const std::string& text, const std::string& file) {
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    const auto line = error.source().begin.line;
    throw Error({.function = "ReadRecipe",
                 .problem = std::string(error.description()),
                 .expected = "TOML",
                 .file = file,
                 .field = "line " + std::to_string(line)});
  }
}

[[noreturn]] void FailSetting(const std::string& setting, const char* expected) {
  throw UsageError({.function = "ReadRecipe",
                    .problem = "setting '" + setting + "'",
                    .expected = expected,
                    .field = "--set"});
}

// The value of "value" as TOML has it, or as the string it is.
toml::table ValueTable(const std::string& value) {
  try {
    return toml::parse("v = " + value);
  } catch (const toml::parse_error&) {
    toml::table table;
    table.insert("v", value);
    return table;
  }
}

void ApplySetting(toml::table& root, const std::string& setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string::npos || equals == 0) FailSetting(setting, "key=value");
  const std::vector<std::string> path =
      Split(std::string(Trim(std::string_view(setting).substr(0, equals))), '.');
  toml::table holder = ValueTable(std::string(Trim(std::string_view(setting).substr(equals + 1))));
  toml::node* at = &root;
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    if (toml::array* list = at->as_array()) {
      size_t index = 0;
      const bool number = !path[i].empty() && path[i].size() < 4 &&
                          path[i].find_first_not_of("0123456789") == std::string::npos;
      if (number) index = std::stoul(path[i]);
      if (!number || index >= list->size()) FailSetting(setting, "the number of a stage, from 0");
      at = list->get(index);
    } else {
      toml::table* table = at->as_table();
      if (table == nullptr) FailSetting(setting, "a key of a table");
      if (table->get(path[i]) == nullptr) table->insert(path[i], toml::table());
      at = table->get(path[i]);
    }
  }
  toml::table* table = at->as_table();
  if (table == nullptr) FailSetting(setting, "a key of a table");
  table->insert_or_assign(path.back(), std::move(*holder.get("v")));
}

Recipe Parse(const toml::table& root, const std::string& file, bool refuse_idle) {
  Recipe recipe;
  recipe.file = file;
  const RecipeKind any;
  GivenKeys given;
  Reader reader(root, "", file);
  VisitRoot(recipe, any, reader);
  for (const char* section : {"init", "tying", "speech", "data", "valid", "run", "train", "stages"})
    reader.Know(section);
  reader.RefuseUnknownKeys();
  given[""] = reader.given();
  if (root.contains("init")) recipe.init.emplace();
  if (root.contains("tying")) recipe.tying.emplace();
  if (root.contains("speech")) recipe.speech.emplace();
  StageOptions defaults;
  // A speech model learns from texts first; a language model that lacks its teacher is an error.
  if (recipe.speech && recipe.teacher.empty()) defaults.kd = 0;
  VisitTables(recipe, any, [&](const std::string& name, const auto& visit) {
    ReadTable(root, name, file, given, visit);
  });
  recipe.stages = ReadStages(root, file, defaults, any, given);
  if (refuse_idle) RefuseIdleKeys(recipe, given);
  const RecipeKind kind = KindOf(recipe);
  Clearing clearing(defaults);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    clearing.Clear(recipe.stages[i], kind, IsTied(recipe, i));
  }
  return recipe;
}

}  // namespace

Recipe ParseRecipe(const std::string& text, const std::string& file,
                   std::span<const std::string> settings) {
  toml::table root = ParseToml(text, file);
  for (const std::string& setting : settings) ApplySetting(root, setting);
  return Parse(root, file, true);
}

Recipe ParseResolved(const std::string& text, const std::string& file) {
  return Parse(ParseToml(text, file), file, false);
}

Recipe ReadRecipe(const std::string& path, std::span<const std::string> settings) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  return ParseRecipe(ReadTextFile(path, kMaxBytes), path, settings);
}

}  // namespace rondo
