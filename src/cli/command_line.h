// Command lines of rondo and rondo-train: flags from the fields of option structs
// (base/options.h). CLI11 is seen by command_line.cc alone.
//
//   Program program("rondo", "what it is");
//   program.Add<FoldCommandOptions>("fold", "what the command does", RunFold);
//   return program.Run(argc, argv);
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/options.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace rondo::cli {

// "--calibrate-tokens" of the field calibrate_tokens.
std::string FlagName(std::string_view field);

// The flags of one command: a visitor that binds them to fields, and afterwards knows what the user
// gave.
class Flags {
 public:
  explicit Flags(CLI::App* app) : app_(app) {}

  template <typename T>
  void operator()(const Field& field, T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      AddSwitch(field, &value);
    } else {
      AddValue(field,
               {.assign = [&value,
                           field](const std::string& text) { return Assign(field, text, value); },
                .clear = [&value] { value = T(); },
                .standard = ToText(value),
                .type = kIsList<T> ? "LIST" : TypeLabel<T>(),
                .names = NamesOf(field, value),
                .list = kIsList<T>});
    }
  }

  bool Given(std::string_view field) const;
  std::vector<std::string> Names() const;  // "--order", …

 private:
  struct Value {
    std::function<std::optional<Fault>(const std::string&)> assign;
    std::function<void()> clear;
    std::string standard, type;
    std::vector<std::string> names;
    bool list;
  };
  template <typename T>
  static const char* TypeLabel() {
    if constexpr (kIsOptional<T>) {
      return TypeLabel<typename T::value_type>();
    } else {
      return std::is_arithmetic_v<T> ? "N" : std::is_same_v<T, std::string> ? "TEXT" : "NAME";
    }
  }
  void AddSwitch(const Field& field, bool* value);
  void AddValue(const Field& field, Value value);

  CLI::App* app_;
  std::map<std::string, CLI::Option*, std::less<>> options_;
};

// Throws UsageError for a flag that was given and does nothing.
class IdleFlags {
 public:
  explicit IdleFlags(const Flags& flags) : flags_(flags) {}
  template <typename T>
  void operator()(const Field& field, T&) const {
    if (!field.when.holds && flags_.Given(field.name)) Fail(field);
  }

 private:
  [[noreturn]] static void Fail(const Field& field);
  const Flags& flags_;
};

class Program {
 public:
  Program(const std::string& name, const std::string& description);
  ~Program();

  // Of the program itself, beside its commands.
  Flags& flags() { return *flags_; }
  // `run` is called when the command was chosen and its flags were read.
  Flags& Add(const std::string& name, const std::string& help, std::function<int()> run);
  // Everything behind the command is another program's.
  void AddForeign(const std::string& name, const std::string& help,
                  std::function<int(const std::vector<std::string>&)> run);

  // Reads the command line; what ends the program already (help, a version, a usage error, which
  // are printed) gives its exit code.
  std::optional<int> Parse(int argc, const char* const* argv);
  // Parse, and the chosen command. Throws rondo::Error from the command.
  int Run(int argc, const char* const* argv);

 private:
  struct Command;
  void RefuseUnknown() const;
  std::vector<std::string> CommandNames() const;
  std::optional<int> Help(const std::vector<std::string>& words);
  std::string Title() const;  // "rondo fold"

  std::unique_ptr<CLI::App> app_;
  std::unique_ptr<Flags> flags_;
  std::vector<std::unique_ptr<Command>> commands_;
  const Command* chosen_ = nullptr;
};

// What an exception says to a user: without the names of functions.
std::string UserText(const std::exception& error);

// Runs a program's work; prints what it throws. 0 on success, 2 for UsageError, 1 for all else.
int Guarded(const char* program, const std::function<int()>& work);

}  // namespace rondo::cli
