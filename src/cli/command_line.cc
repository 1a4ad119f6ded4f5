#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <new>
#include <utility>

#include "rondo/version.h"

namespace rondo::cli {
namespace {

constexpr const char* kCommandsGroup = "Commands";

std::string Spelling(const Field& field) {
  if (field.positional) return std::string(field.name);
  const std::string letter = field.letter != 0 ? std::string(",-") + field.letter : "";
  return FlagName(field.name) + letter;
}

std::string HelpOf(const Field& field, const std::vector<std::string>& names) {
  // Of conditions, those that need another flag.
  return field.help + (names.empty() ? "" : " (one of " + Join(names, ", ") + ")") +
         (field.when.holds ? "" : " (only " + field.when.only + ")");
}

[[noreturn]] void FailUsage(std::string problem, std::string expected = {},
                            std::string field = {}) {
  throw UsageError({.function = "Program",
                    .problem = std::move(problem),
                    .expected = std::move(expected),
                    .file = {},
                    .field = std::move(field)});
}

std::string DidYouMean(const std::string& name, const std::vector<std::string>& known) {
  const std::string nearest = NearestName(name, known);
  return nearest.empty() ? "" : "; did you mean '" + nearest + "'?";
}

// The name of a function in brackets at the end of a message.
bool EndsWithFunction(const std::string& text, size_t* begin) {
  if (!text.ends_with(']')) return false;
  *begin = text.rfind(" [");
  if (*begin == text.npos || std::isupper(static_cast<unsigned char>(text[*begin + 2])) == 0) {
    return false;
  }
  return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(*begin) + 2, text.end() - 1,
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == ':' || c == '_'; });
}

}  // namespace

std::string FlagName(std::string_view field) {
  std::string name = "--" + std::string(field);
  std::ranges::replace(name, '_', '-');
  return name;
}

void Flags::AddSwitch(const Field& field, bool* value) {
  options_[std::string(field.name)] = app_->add_flag(Spelling(field), *value, HelpOf(field, {}));
}

void Flags::AddValue(const Field& field, Value value) {
  const std::string name = field.positional ? std::string(field.name) : FlagName(field.name);
  const auto read = [name, value](const CLI::results_t& texts) {
    if (value.list) value.clear();
    for (const std::string& text : texts) {
      if (const auto fault = value.assign(text)) FailUsage(fault->problem, fault->expected, name);
    }
    return true;
  };
  CLI::Option* option = app_->add_option(Spelling(field), read, HelpOf(field, value.names));
  option->type_name(value.type)->required(field.required)->default_str(value.standard);
  if (value.list) {
    option->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args(!field.single);
  }
  options_[std::string(field.name)] = option;
}

bool Flags::Given(std::string_view field) const {
  const auto found = options_.find(field);
  return found != options_.end() && found->second->count() > 0;
}

std::vector<std::string> Flags::Names() const {
  std::vector<std::string> names = {"--help"};
  for (const auto& [field, option] : options_) {
    if (!option->get_positional()) names.push_back(FlagName(field));
  }
  return names;
}

void IdleFlags::Fail(const Field& field) {
  const Fault fault = DoesNothing(field);
  FailUsage(fault.problem, fault.expected, FlagName(field.name));
}

struct Program::Command {
  CLI::App* app;
  std::unique_ptr<Flags> flags;  // null: another program's
  std::function<int()> run;
};

Program::Program(const std::string& name, const std::string& description)
    : app_(std::make_unique<CLI::App>(description, name)),
      flags_(std::make_unique<Flags>(app_.get())) {
  app_->set_version_flag("--version", RONDO_VERSION, "print the version and leave");
  app_->set_help_flag("--help,-h", "print this and leave");
  app_->allow_extras();
}

Program::~Program() = default;

Flags& Program::Add(const std::string& name, const std::string& help, std::function<int()> run) {
  CLI::App* app = app_->add_subcommand(name, help);
  app->group(kCommandsGroup)->allow_extras();
  commands_.push_back(
      std::make_unique<Command>(Command{app, std::make_unique<Flags>(app), std::move(run)}));
  return *commands_.back()->flags;
}

void Program::AddForeign(const std::string& name, const std::string& help,
                         std::function<int(const std::vector<std::string>&)> run) {
  CLI::App* app = app_->add_subcommand(name, help);
  app->group(kCommandsGroup)->prefix_command()->set_help_flag();
  commands_.push_back(std::make_unique<Command>(
      Command{app, nullptr, [app, run = std::move(run)] { return run(app->remaining()); }}));
}

std::string Program::Title() const {
  return app_->get_name() + (chosen_ == nullptr ? "" : " " + chosen_->app->get_name());
}

std::vector<std::string> Program::CommandNames() const {
  std::vector<std::string> names;
  for (const auto& command : commands_) names.push_back(command->app->get_name());
  return names;
}

void Program::RefuseUnknown() const {
  // What stands behind another program's command is for that to judge.
  const Command* ours = chosen_ != nullptr && chosen_->flags != nullptr ? chosen_ : nullptr;
  const Flags& flags = ours == nullptr ? *flags_ : *ours->flags;
  std::vector<std::string> unknown = app_->remaining();
  if (ours != nullptr) {
    for (const std::string& word : ours->app->remaining()) unknown.push_back(word);
  }
  std::vector<std::string> problems;
  for (const std::string& word : unknown) {
    if (!word.starts_with('-') || word == "-") continue;
    const std::string name = word.substr(0, word.find('='));
    problems.push_back("unknown flag '" + name + "'" + DidYouMean(name, flags.Names()));
  }
  if (problems.empty() && !unknown.empty()) {
    problems.push_back(chosen_ == nullptr && !commands_.empty()
                           ? "unknown command '" + unknown.front() + "'" +
                                 DidYouMean(unknown.front(), CommandNames())
                           : "argument '" + unknown.front() + "' too many");
  }
  if (!problems.empty()) FailUsage(Join(problems, "\n  "));
}

// help [command], in place of --help.
std::optional<int> Program::Help(const std::vector<std::string>& words) {
  if (commands_.empty() || (!words.empty() && words.front() != "help")) return std::nullopt;
  if (words.size() < 2) {
    std::fputs(app_->help().c_str(), stdout);
    return 0;
  }
  for (const auto& command : commands_) {
    if (command->app->get_name() != words[1]) continue;
    if (command->flags == nullptr) {
      const char* arguments[] = {"", words[1].c_str(), "--help"};
      return Run(3, arguments);
    }
    std::fputs(command->app->help(app_->get_name()).c_str(), stdout);
    return 0;
  }
  std::fprintf(stderr, "%s: unknown command '%s'%s\n", Title().c_str(), words[1].c_str(),
               DidYouMean(words[1], CommandNames()).c_str());
  return 2;
}

std::optional<int> Program::Parse(int argc, const char* const* argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (const auto code = Help(words)) return code;
  const auto choose = [&] {
    for (const auto& command : commands_) {
      if (command->app->parsed()) chosen_ = command.get();
    }
  };
  try {
    app_->parse(argc, argv);
    choose();
    RefuseUnknown();
    if (chosen_ == nullptr && !commands_.empty()) FailUsage("no command");
    return std::nullopt;
  } catch (const CLI::Success& done) {  // --help, --version
    return app_->exit(done);
  } catch (const CLI::ParseError& error) {
    choose();
    try {
      RefuseUnknown();
      FailUsage(error.what());
    } catch (const UsageError& usage) {
      std::fprintf(stderr, "%s: %s\n", Title().c_str(), UserText(usage).c_str());
    }
  } catch (const UsageError& error) {
    choose();
    std::fprintf(stderr, "%s: %s\n", Title().c_str(), UserText(error).c_str());
  }
  std::fprintf(stderr, "See '%s --help'.\n", Title().c_str());
  return 2;
}

int Program::Run(int argc, const char* const* argv) {
  if (const auto code = Parse(argc, argv)) return *code;
  return chosen_->run();
}

std::string UserText(const std::exception& error) {
  std::string text = error.what();
  size_t begin = 0;
  if (const auto* ours = dynamic_cast<const Error*>(&error)) {
    const std::string suffix = " [" + ours->info().function + "]";
    if (text.ends_with(suffix)) text.resize(text.size() - suffix.size());
  }
  while (EndsWithFunction(text, &begin)) text.resize(begin);
  return text;
}

int Guarded(const char* program, const std::function<int()>& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "%s: out of memory\n", program);
  } catch (const UsageError& error) {
    std::fprintf(stderr, "%s: %s\n", program, UserText(error).c_str());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program, UserText(error).c_str());
  }
  return 1;
}

}  // namespace rondo::cli
