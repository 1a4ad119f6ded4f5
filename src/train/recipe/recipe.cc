#include "train/recipe/recipe.h"

#include <toml++/toml.h>

#include <algorithm>
#include <limits>
#include <set>
#include <sstream>
#include <type_traits>
#include <utility>

#include "base/file.h"
#include "base/strings.h"
#include "rondo/error.h"
#include "train/recipe/recipe_visit.h"

namespace rondo {
namespace {

template <typename T>
inline constexpr bool kIsList = false;
template <typename T>
inline constexpr bool kIsList<std::vector<T>> = true;

template <typename T>
const char* TypeName() {
  if constexpr (std::is_same_v<T, bool>) return "true or false";
  if constexpr (std::is_integral_v<T>) return "an integer";
  if constexpr (std::is_floating_point_v<T>) return "a number";
  if constexpr (std::is_same_v<T, std::string>) return "a string";
  return "a list";
}

std::string Excerpt(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& value) { out << value; });
  return out.str().substr(0, 80);
}

// Reads the keys of one table into options and remembers which there are.
class Reader {
 public:
  Reader(const toml::table& table, std::string section, std::string file)
      : table_(table), section_(std::move(section)), file_(std::move(file)) {}

  template <typename T>
  void operator()(const char* key, T& value, const char*) {
    known_.emplace_back(key);
    if (const toml::node* node = table_.get(key)) Assign(key, *node, value);
  }

  void Know(const char* key) { known_.emplace_back(key); }

  void RefuseUnknownKeys() const {
    for (const auto& [key, node] : table_) {
      const std::string name(key.str());
      if (std::ranges::find(known_, name) != known_.end()) continue;
      throw Error({.function = "ReadRecipe",
                   .problem = "unknown key '" + name + "'",
                   .expected = UnknownNameHint(name, known_),
                   .file = file_,
                   .field = Field(name)});
    }
  }

 private:
  std::string Field(const std::string& key) const {
    return section_.empty() ? key : section_ + "." + key;
  }

  [[noreturn]] void Fail(const std::string& key, const toml::node& node,
                         const char* expected) const {
    throw Error({.function = "ReadRecipe",
                 .problem = "value " + Excerpt(node),
                 .expected = expected,
                 .file = file_,
                 .field = Field(key)});
  }

  template <typename T>
  void Assign(const std::string& key, const toml::node& node, T& value) const {
    if constexpr (kIsList<T>) {
      const toml::array* list = node.as_array();
      if (list == nullptr) Fail(key, node, "a list");
      value.clear();
      for (const toml::node& item : *list) Assign(key, item, value.emplace_back());
    } else if constexpr (std::is_floating_point_v<T>) {
      // An integer is a number too.
      if (node.is_integer()) {
        value = static_cast<T>(node.as_integer()->get());
      } else if (node.is_floating_point()) {
        value = static_cast<T>(node.as_floating_point()->get());
      } else {
        Fail(key, node, TypeName<T>());
      }
      if (!(value >= -1e18 && value <= 1e18)) Fail(key, node, "a finite number");
    } else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::string>) {
      const auto found = node.value_exact<T>();
      if (!found) Fail(key, node, TypeName<T>());
      value = *found;
    } else {
      const auto found = node.value_exact<int64_t>();
      if (!found || !std::in_range<T>(*found)) Fail(key, node, TypeName<T>());
      value = static_cast<T>(*found);
    }
  }

  const toml::table& table_;
  std::string section_, file_;
  std::vector<std::string> known_;
};

template <typename Section>
void ReadSection(const toml::table& root, const char* name, const std::string& file,
                 Section& section) {
  const toml::node* node = root.get(name);
  if (node == nullptr) return;
  if (!node->is_table()) {
    throw Error({.function = "ReadRecipe",
                 .problem = "value " + Excerpt(*node),
                 .expected = "a table",
                 .file = file,
                 .field = name});
  }
  Reader reader(*node->as_table(), name, file);
  Visit(section, reader);
  reader.RefuseUnknownKeys();
}

std::vector<StageOptions> ReadStages(const toml::table& root, const std::string& file) {
  StageOptions defaults;
  ReadSection(root, "train", file, defaults);
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
    Reader reader(*table, "stages." + std::to_string(i), file);
    reader("name", stage.name, "");
    Visit(stage, reader);
    reader.RefuseUnknownKeys();
    stages.push_back(stage);
  }
  if (list == nullptr || stages.size() != list->size() || stages.empty()) {
    throw Error({.function = "ReadRecipe",
                 .problem = "not a list of tables",
                 .expected = "[[stages]], one for each stage",
                 .file = file,
                 .field = "stages"});
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
  throw Error({.function = "ReadRecipe",
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

// Writes options as TOML, one line a key.
class Writer {
 public:
  template <typename T>
  void operator()(const char* key, const T& value, const char*) {
    out_ << key << " = ";
    Write(value);
    out_ << "\n";
  }
  void Header(const std::string& header) { out_ << "\n" << header << "\n"; }
  std::string Text() const { return out_.str(); }

 private:
  void Write(bool value) { out_ << (value ? "true" : "false"); }
  void Write(const std::string& value) { out_ << toml::value<std::string>(value); }
  template <typename T>
  void Write(const std::vector<T>& values) {
    out_ << "[";
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0) out_ << ", ";
      Write(values[i]);
    }
    out_ << "]";
  }
  void Write(double value) {
    const std::string text = ShortestNumber(value);
    const bool integer = text.find_first_not_of("-0123456789") == text.npos;
    out_ << text << (integer ? ".0" : "");
  }
  template <typename T>
  requires std::is_integral_v<T>
  void Write(T value) { out_ << value; }

  std::ostringstream out_;
};

// Lists options with defaults and meanings.
class Helper {
 public:
  template <typename T>
  void operator()(const char* key, const T& value, const char* meaning) {
    Writer writer;
    writer(key, value, "");
    std::string line = writer.Text();
    line.pop_back();
    out_ << line << std::string(line.size() < 32 ? 32 - line.size() : 1, ' ') << "# " << meaning
         << "\n";
  }
  void Header(const std::string& header) { out_ << "\n" << header << "\n"; }
  std::string Text() const { return out_.str(); }

 private:
  std::ostringstream out_;
};

template <typename Visitor>
void VisitRoot(Recipe& recipe, Visitor& v) {
  v("model", recipe.model, "the model to train: a directory, usually folded");
  v("teacher", recipe.teacher, "the model to learn from; empty: none");
  v("teacher_cache", recipe.teacher_cache,
    "folder of the teacher's most probable tokens, for rows seen again; empty: it always runs");
  v("teacher_top_k", recipe.teacher_top_k, "so many of a position, with teacher_cache");
}

}  // namespace

Recipe ParseRecipe(const std::string& text, const std::string& file,
                   std::span<const std::string> settings) {
  toml::table root = ParseToml(text, file);
  for (const std::string& setting : settings) ApplySetting(root, setting);
  Recipe recipe;
  recipe.file = file;
  Reader reader(root, "", file);
  VisitRoot(recipe, reader);
  for (const char* section : {"init", "tying", "speech", "data", "valid", "run", "train", "stages"})
    reader.Know(section);
  reader.RefuseUnknownKeys();
  if (root.contains("init")) ReadSection(root, "init", file, recipe.init.emplace());
  if (root.contains("tying")) ReadSection(root, "tying", file, recipe.tying.emplace());
  if (root.contains("speech")) ReadSection(root, "speech", file, recipe.speech.emplace());
  ReadSection(root, "data", file, recipe.data);
  ReadSection(root, "valid", file, recipe.valid);
  ReadSection(root, "run", file, recipe.run);
  recipe.stages = ReadStages(root, file);
  return recipe;
}

Recipe ReadRecipe(const std::string& path, std::span<const std::string> settings) {
  constexpr uint64_t kMaxBytes = 1 << 20;
  return ParseRecipe(ReadTextFile(path, kMaxBytes), path, settings);
}

std::string RecipeToToml(const Recipe& recipe) {
  Recipe copy = recipe;
  Writer writer;
  VisitRoot(copy, writer);
  if (copy.init) {
    writer.Header("[init]");
    Visit(*copy.init, writer);
  }
  if (copy.tying) {
    writer.Header("[tying]");
    Visit(*copy.tying, writer);
  }
  if (copy.speech) {
    writer.Header("[speech]");
    Visit(*copy.speech, writer);
  }
  writer.Header("[data]");
  Visit(copy.data, writer);
  writer.Header("[valid]");
  Visit(copy.valid, writer);
  writer.Header("[run]");
  Visit(copy.run, writer);
  for (StageOptions& stage : copy.stages) {
    writer.Header("[[stages]]");
    writer("name", stage.name, "");
    Visit(stage, writer);
  }
  return writer.Text();
}

std::string RecipeHelp() {
  Recipe recipe;
  InitSection init;
  TyingSection tying;
  SpeechSection speech;
  StageOptions stage;
  Helper helper;
  VisitRoot(recipe, helper);
  helper.Header("[init]    # instead of model: random weights");
  Visit(init, helper);
  helper.Header("[tying]    # layers that tie themselves while training");
  Visit(tying, helper);
  helper.Header("[speech]    # instead of [init], [data] and [valid].text: docs/speech.md");
  Visit(speech, helper);
  helper.Header("[data]");
  Visit(recipe.data, helper);
  helper.Header("[valid]");
  Visit(recipe.valid, helper);
  helper.Header("[run]");
  Visit(recipe.run, helper);
  helper.Header("[train]    # defaults of all [[stages]], which also have a name");
  Visit(stage, helper);
  return helper.Text();
}

}  // namespace rondo
