#include <toml++/toml.h>

#include <sstream>

#include "base/options.h"
#include "train/recipe/recipe_sections.h"

namespace rondo {
namespace {

template <typename T>
std::string TomlText(const T& value) {
  std::ostringstream out;
  if constexpr (kIsList<T>) {
    std::vector<std::string> items;
    for (const auto& item : value) items.push_back(TomlText(item));
    out << "[" << Join(items, ", ") << "]";
  } else if constexpr (std::is_floating_point_v<T>) {
    const std::string text = ShortestNumber(value);
    const bool integer = text.find_first_not_of("-0123456789") == text.npos;
    out << text << (integer ? ".0" : "");
  } else if constexpr (std::is_arithmetic_v<T>) {
    out << ToText(value);
  } else {
    out << toml::value<std::string>(ToText(value));
  }
  return out.str();
}

// Writes the fields that count, one line a key.
struct Writer {
  std::ostringstream out;
  template <typename T>
  void operator()(const Field& field, const T& value) {
    if (field.when.holds) out << field.name << " = " << TomlText(value) << "\n";
  }
};

// Lists fields with defaults, meanings and names.
struct Helper {
  std::ostringstream out;
  std::string implied;  // a condition that the section's heading has said already
  template <typename T>
  void operator()(const Field& field, const T& value) {
    const std::string line = std::string(field.name) + " = " + TomlText(value);
    out << line << std::string(line.size() < 32 ? 32 - line.size() : 1, ' ') << "# " << field.help;
    const std::vector<std::string> names = NamesOf(field, value);
    if (!names.empty()) out << " (one of " << Join(names, ", ") << ")";
    std::string only = field.when.only;
    if (!implied.empty() && only.starts_with(implied)) {
      only.erase(0, implied.size());
      if (only.starts_with(" and ")) only.erase(0, 5);
    }
    if (!only.empty()) out << " (only " << only << ")";
    out << "\n";
  }
};

}  // namespace

std::string RecipeToToml(const Recipe& recipe) {
  Recipe copy = recipe;
  Writer writer;
  VisitSections(copy, [&](const std::string& section, const auto& visit) {
    if (section.starts_with("stages.")) {
      const size_t index = std::stoul(section.substr(section.find('.') + 1));
      writer.out << "\n[[stages]]\n";
      writer({.name = "name"}, copy.stages[index].name);
    } else if (!section.empty()) {
      writer.out << "\n[" << section << "]\n";
    }
    visit(writer);
  });
  return writer.out.str();
}

std::string TomlToJson(const std::string& toml) {
  std::ostringstream out;
  out << toml::json_formatter(toml::parse(toml));
  return out.str();
}

std::string RecipeHelp() {
  Recipe recipe;
  recipe.init.emplace();
  recipe.tying.emplace();
  recipe.speech.emplace();
  Helper helper;
  const RecipeKind kind;
  VisitRoot(recipe, kind, helper);
  VisitTables(recipe, kind, [&](const std::string& section, const auto& visit) {
    const bool language = section == "init" || section == "tying" || section == "data";
    helper.implied = language ? "for language models" : "";
    helper.out << "\n[" << section << "]";
    if (section == "init") helper.out << "    # instead of model: random weights,";
    if (section == "tying") helper.out << "    # layers that tie themselves while training,";
    if (section == "speech") helper.out << "    # a speech model (docs/speech.md)";
    if (section == "data") helper.out << "    #";
    helper.out << (language ? " for language models\n" : "\n");
    visit(helper);
  });
  helper.implied.clear();
  helper.out << "\n[train]    # defaults of all [[stages]], which also have a name\n";
  StageOptions stage;
  Visit(stage, kind, false, helper);
  return helper.out.str();
}

}  // namespace rondo
