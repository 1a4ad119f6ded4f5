// Runs a template. Bounded in recursion, work and output, so that a hostile template ends in an
// error.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/jinja_ast.h"

namespace rondo::jinja {

class Interpreter {
 public:
  // Variables that the template finds besides range, namespace, dict, raise_exception,
  // strftime_now.
  explicit Interpreter(std::vector<std::pair<std::string, Value>> variables);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  // The block must outlive the interpreter.
  std::string Render(const Block& block);

  // Counts work of about `units` simple steps; throws when the template has used up its share.
  void Charge(size_t units);
  // Counts the work of making a text, and refuses giant ones.
  Value NewText(std::string text);
  Value NewNamespace();
  Value Call(const Value& callee, const Arguments& arguments);
  // The items that a for loop or a filter sees: of a list, keys of a dict, characters of a string.
  std::vector<Value> Iterate(const Value& value);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  struct Scope {
    std::vector<std::pair<std::string, Value>> variables;
    std::shared_ptr<Scope> parent;
  };
  using ScopePtr = std::shared_ptr<Scope>;
  class Recursion;
  class Inside;

  Flow Run(const Block& block);
  Flow RunStatement(const Statement& statement);
  Flow RunIf(const Statement& statement);
  Flow RunFor(const Statement& statement);
  Flow RunLoop(const Statement& statement, std::vector<Value> items, ScopePtr outer, int64_t depth);
  Value RecursiveCall(const Statement& statement, const ScopePtr& outer, int64_t depth);
  Flow RunScope(const Statement& statement);
  void RunFilter(const Statement& statement);
  void RunCall(const Statement& statement);
  void RunSet(const Statement& statement);
  void RunMacro(const Statement& statement);
  // A function that runs `macro` in the scope where it stands.
  Value MakeMacro(const Statement& macro);
  Value CallMacro(const Statement& macro, const ScopePtr& outer, const Arguments& arguments);
  void AssignSpecial(const Statement& macro, const Arguments& arguments);
  void Write(std::string_view text);
  std::string Capture(const Block& block);        // in the present scope
  std::string CaptureInside(const Block& block);  // in a scope of its own

  Value Evaluate(const Expression& expression);
  Value EvaluateCall(const Expression& expression);
  Value EvaluateFilter(const Expression& expression, const Value& subject);
  Value EvaluateCompare(const Expression& expression);
  Value EvaluateSlice(const Expression& expression);
  Arguments EvaluateArguments(const Expression& expression);
  std::vector<Value> EvaluateItems(const std::vector<ExpressionPtr>& items);

  Value Lookup(const std::string& name) const;
  void Assign(const std::string& name, Value value);
  void AssignTargets(const Statement& statement, const Value& value);

  ScopePtr root_ = std::make_shared<Scope>();
  ScopePtr scope_ = root_;
  std::vector<ScopePtr> captured_;  // that macros refer to; they hold each other
  std::string* output_ = nullptr;
  std::string block_text_;  // the subject of a block's filters
  size_t work_ = 0;
  int recursion_ = 0;
  std::deque<Namespace> namespaces_;
};

}  // namespace rondo::jinja
