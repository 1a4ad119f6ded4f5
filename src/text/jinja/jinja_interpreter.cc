#include "text/jinja/jinja_interpreter.h"

#include <algorithm>
#include <utility>

#include "rondo/error.h"
#include "text/jinja/jinja_globals.h"
#include "text/jinja/jinja_library.h"

namespace rondo::jinja {
namespace {

using Kind = Expression::Kind;

constexpr size_t kMaxWork = 20'000'000;
constexpr size_t kMaxText = size_t{8} << 20;
constexpr int kMaxRecursion = 600;

Value Negate(Interpreter& in, const Value& value) {
  if (value.Is<double>()) return Value(-value.AsNumber());  // 0 - 0.0 has lost the sign
  return BinaryOperation(in, "-", Value(int64_t{0}), value);
}

}  // namespace

// One level deeper in the tree of the template or in calls of macros.
class Interpreter::Recursion {
 public:
  explicit Recursion(Interpreter& in) : in_(in) {
    if (++in_.recursion_ > kMaxRecursion) {
      --in_.recursion_;
      Fail("the chat template recurses too deeply");
    }
    in_.Charge(1);
  }
  ~Recursion() { --in_.recursion_; }
  Recursion(const Recursion&) = delete;
  Recursion& operator=(const Recursion&) = delete;

 private:
  Interpreter& in_;
};

// Another scope for as long as the object lives.
class Interpreter::Inside {
 public:
  Inside(Interpreter& in, ScopePtr parent)
      : in_(in), outer_(std::exchange(in.scope_, std::make_shared<Scope>())) {
    in.scope_->parent = std::move(parent);
  }
  ~Inside() { in_.scope_ = outer_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Interpreter& in_;
  ScopePtr outer_;
};

Interpreter::~Interpreter() {
  for (const ScopePtr& scope : captured_) scope->variables.clear();
  root_->variables.clear();
  namespaces_.clear();
}

Interpreter::Interpreter(std::vector<std::pair<std::string, Value>> variables) {
  root_->variables = std::move(variables);
  AddGlobals(root_->variables);
}

std::string Interpreter::Render(const Block& block) { return Capture(block); }

void Interpreter::Charge(size_t units) {
  work_ += units;
  if (work_ > kMaxWork) Fail("the chat template takes too long");
}

Value Interpreter::NewText(std::string text) {
  if (text.size() > kMaxText) Fail("the chat template makes a text that is too long");
  Charge(1 + text.size() / 16);
  return Value(std::move(text));
}

Value Interpreter::NewNamespace() {
  Charge(1);
  return Value(&namespaces_.emplace_back());
}

Value Interpreter::Call(const Value& callee, const Arguments& arguments) {
  if (callee.IsUndefined()) Fail("'" + callee.UndefinedName() + "' is undefined");
  if (callee.IsDict()) {
    const Value* call = callee.Find(Value(kLoopCall));
    if (call != nullptr && call->IsFunction()) return Call(*call, arguments);
  }
  if (!callee.IsFunction()) Fail(std::string("a ") + callee.TypeName() + " cannot be called");
  return callee.AsFunction().call(*this, arguments);
}

std::vector<Value> Interpreter::Iterate(const Value& value) {
  std::vector<Value> items;
  if (value.IsList()) {
    items = value.AsList().items;
  } else if (value.IsDict()) {
    for (const auto& [key, item] : value.AsDict().items) items.push_back(key);
  } else if (value.IsString()) {
    for (const std::string_view character : Characters(value.AsString())) {
      items.emplace_back(std::string(character));
    }
  } else if (!value.IsUndefined()) {
    Fail(std::string("a ") + value.TypeName() + " is not iterable");
  }
  Charge(items.size());
  return items;
}

Interpreter::Flow Interpreter::Run(const Block& block) {
  for (const auto& statement : block) {
    const Flow flow = RunStatement(*statement);
    if (flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::RunStatement(const Statement& statement) {
  const Recursion level(*this);
  switch (statement.kind) {
    case Statement::Kind::kText:
      Write(statement.text);
      return Flow::kNormal;
    case Statement::Kind::kOutput:
      Write(Evaluate(*statement.expression).ToText());
      return Flow::kNormal;
    case Statement::Kind::kIf:
      return RunIf(statement);
    case Statement::Kind::kFor:
      return RunFor(statement);
    case Statement::Kind::kSet:
      RunSet(statement);
      return Flow::kNormal;
    case Statement::Kind::kMacro:
      RunMacro(statement);
      return Flow::kNormal;
    case Statement::Kind::kCall:
      RunCall(statement);
      return Flow::kNormal;
    case Statement::Kind::kFilter:
      RunFilter(statement);
      return Flow::kNormal;
    case Statement::Kind::kScope:
      return RunScope(statement);
    case Statement::Kind::kBreak:
      return Flow::kBreak;
    case Statement::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

void Interpreter::Write(std::string_view text) {
  Charge(1 + text.size() / 16);
  if (output_->size() + text.size() > kMaxText) Fail("the chat template writes too much");
  output_->append(text);
}

std::string Interpreter::Capture(const Block& block) {
  std::string text;
  std::string* const outer = std::exchange(output_, &text);
  Run(block);
  output_ = outer;
  return text;
}

Interpreter::Flow Interpreter::RunIf(const Statement& statement) {
  for (const auto& [condition, body] : statement.branches) {
    if (Evaluate(*condition).Truthy()) return Run(body);
  }
  return Run(statement.body);
}

std::string Interpreter::CaptureInside(const Block& block) {
  const Inside scope(*this, scope_);
  return Capture(block);
}

Interpreter::Flow Interpreter::RunFor(const Statement& statement) {
  return RunLoop(statement, Iterate(Evaluate(*statement.expression)), scope_, 0);
}

// Items that the loop's condition leaves out are not counted either.
Interpreter::Flow Interpreter::RunLoop(const Statement& statement, std::vector<Value> items,
                                       ScopePtr outer, int64_t depth) {
  const Recursion level(*this);
  {
    const Inside scope(*this, outer);
    if (statement.condition != nullptr) {
      std::vector<Value> kept;
      for (Value& item : items) {
        AssignTargets(statement, item);
        if (Evaluate(*statement.condition).Truthy()) kept.push_back(std::move(item));
      }
      items = std::move(kept);
    }
    const Value recursive = statement.recursive ? RecursiveCall(statement, outer, depth) : Value();
    const auto seen = std::make_shared<Value>();
    for (size_t i = 0; i < items.size(); ++i) {
      Charge(40);  // the variables of a round cost as much as so many steps
      scope_->variables.clear();
      Assign("loop", LoopVariable(items, i, depth, seen, recursive));
      AssignTargets(statement, items[i]);
      if (Run(statement.body) == Flow::kBreak) break;
    }
  }
  return items.empty() ? Run(statement.otherwise) : Flow::kNormal;
}

Value Interpreter::RecursiveCall(const Statement& statement, const ScopePtr& outer, int64_t depth) {
  const auto call = [&statement, outer, depth](Interpreter& in, const Arguments& arguments) {
    CheckArguments("loop", arguments, 1, {"iterable"});
    std::vector<Value> items = in.Iterate(ArgumentOr(arguments, 0, "iterable", Value()));
    std::string text;
    std::string* const written = std::exchange(in.output_, &text);
    in.RunLoop(statement, std::move(items), outer, depth + 1);
    in.output_ = written;
    return in.NewText(std::move(text));
  };
  return Value::MakeFunction("loop", call);
}

Interpreter::Flow Interpreter::RunScope(const Statement& statement) {
  std::vector<Value> values = EvaluateItems(statement.defaults);
  const Inside scope(*this, scope_);
  for (size_t i = 0; i < values.size(); ++i) Assign(statement.targets[i], std::move(values[i]));
  return Run(statement.body);
}

void Interpreter::RunFilter(const Statement& statement) {
  block_text_ = CaptureInside(statement.body);
  Write(Evaluate(*statement.expression).ToText());
}

void Interpreter::RunCall(const Statement& statement) {
  const Value callee = Evaluate(*statement.expression->children[0]);
  Arguments arguments = EvaluateArguments(*statement.expression);
  arguments.named.emplace_back("caller", MakeMacro(statement));
  Write(Call(callee, arguments).ToText());
}

void Interpreter::RunSet(const Statement& statement) {
  Value value;
  if (!statement.is_block) {
    value = Evaluate(*statement.expression);
  } else {
    value = NewText(CaptureInside(statement.body));
    if (statement.expression != nullptr) {
      block_text_ = value.AsString();
      value = Evaluate(*statement.expression);
    }
  }
  if (statement.attribute.empty()) {
    AssignTargets(statement, value);
    return;
  }
  const Value object = Lookup(statement.text);
  if (!object.Is<Namespace*>()) Fail("cannot set an attribute of '" + statement.text + "'");
  if (statement.attribute.starts_with('_')) {
    Fail("namespace attribute '" + statement.attribute + "' is not allowed");
  }
  for (auto& [name, present] : object.AsNamespace().attributes) {
    if (name != statement.attribute) continue;
    present = std::move(value);
    return;
  }
  object.AsNamespace().attributes.emplace_back(statement.attribute, std::move(value));
}

void Interpreter::RunMacro(const Statement& statement) {
  Assign(statement.text, MakeMacro(statement));
}

Value Interpreter::MakeMacro(const Statement& macro) {
  if (captured_.empty() || captured_.back() != scope_) captured_.push_back(scope_);
  const std::weak_ptr<Scope> outer = scope_;  // captured_ keeps it
  const auto call = [&macro, outer](Interpreter& in, const Arguments& arguments) {
    return in.CallMacro(macro, outer.lock(), arguments);
  };
  return Value::MakeFunction(macro.text, call);
}

// caller, varargs and kwargs are there for macros that read them; others refuse what they would
// hold.
void Interpreter::AssignSpecial(const Statement& macro, const Arguments& arguments) {
  const size_t places = macro.targets.size();
  std::vector<Value> varargs;
  if (arguments.positional.size() > places) {
    varargs.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(places),
                   arguments.positional.end());
  }
  if (!varargs.empty() && !macro.uses_varargs) {
    Fail("too many arguments for macro '" + macro.text + "'");
  }
  Value caller = Value::MakeUndefined("caller");
  std::vector<std::pair<Value, Value>> kwargs;
  for (const auto& [name, value] : arguments.named) {
    if (std::find(macro.targets.begin(), macro.targets.end(), name) != macro.targets.end())
      continue;
    if (name == "caller" && macro.uses_caller) {
      caller = value;
    } else if (macro.uses_kwargs && name != "caller") {
      kwargs.emplace_back(Value(name), value);
    } else {
      Fail("macro '" + macro.text + "' has no parameter '" + name + "'");
    }
  }
  if (macro.uses_caller) Assign("caller", caller);
  if (macro.uses_varargs) Assign("varargs", Value::MakeList(std::move(varargs), true));
  if (macro.uses_kwargs) Assign("kwargs", Value::MakeDict(std::move(kwargs)));
}

Value Interpreter::CallMacro(const Statement& macro, const ScopePtr& outer,
                             const Arguments& arguments) {
  const Recursion level(*this);
  const Inside scope(*this, outer);
  if (macro.kind != Statement::Kind::kCall) AssignSpecial(macro, arguments);
  const size_t first_default = macro.targets.size() - macro.defaults.size();
  for (size_t i = 0; i < macro.targets.size(); ++i) {
    Value value =
        ArgumentOr(arguments, i, macro.targets[i], Value::MakeUndefined(macro.targets[i]));
    if (value.IsUndefined() && i >= first_default) {
      value = Evaluate(*macro.defaults[i - first_default]);
    }
    Assign(macro.targets[i], std::move(value));
  }
  return NewText(Capture(macro.body));
}

Value Interpreter::Lookup(const std::string& name) const {
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    for (const auto& [candidate, value] : scope->variables) {
      if (candidate == name) return value;
    }
  }
  return Value::MakeUndefined(name);
}

void Interpreter::Assign(const std::string& name, Value value) {
  for (auto& [candidate, present] : scope_->variables) {
    if (candidate != name) continue;
    present = std::move(value);
    return;
  }
  scope_->variables.emplace_back(name, std::move(value));
}

void Interpreter::AssignTargets(const Statement& statement, const Value& value) {
  if (!statement.unpack) {
    Assign(statement.targets[0], value);
    return;
  }
  const std::vector<Value> items = Iterate(value);
  if (items.size() != statement.targets.size()) Fail("wrong number of values to unpack");
  for (size_t i = 0; i < items.size(); ++i) Assign(statement.targets[i], items[i]);
}

std::vector<Value> Interpreter::EvaluateItems(const std::vector<ExpressionPtr>& items) {
  std::vector<Value> values;
  for (const ExpressionPtr& item : items) values.push_back(Evaluate(*item));
  return values;
}

Value Interpreter::Evaluate(const Expression& expression) {
  const Recursion level(*this);
  const auto& children = expression.children;
  switch (expression.kind) {
    case Kind::kLiteral:
      return expression.value;
    case Kind::kName:
      return Lookup(expression.name);
    case Kind::kList:
    case Kind::kTuple:
      return Value::MakeList(EvaluateItems(children), expression.kind == Kind::kTuple);
    case Kind::kDict: {
      std::vector<std::pair<Value, Value>> items;
      for (size_t i = 0; i < children.size(); i += 2) {
        Charge(items.size() / 8);
        Value key = Evaluate(*children[i]);
        items.emplace_back(std::move(key), Evaluate(*children[i + 1]));
      }
      return Value::MakeDict(std::move(items));
    }
    case Kind::kNegative:
      return Negate(*this, Evaluate(*children[0]));
    case Kind::kPositive:
      return BinaryOperation(*this, "+", Value(int64_t{0}), Evaluate(*children[0]));
    case Kind::kNot:
      return Value(!Evaluate(*children[0]).Truthy());
    case Kind::kAnd: {
      Value left = Evaluate(*children[0]);
      return left.Truthy() ? Evaluate(*children[1]) : left;
    }
    case Kind::kOr: {
      Value left = Evaluate(*children[0]);
      return left.Truthy() ? left : Evaluate(*children[1]);
    }
    case Kind::kBinary: {
      const Value left = Evaluate(*children[0]);
      return BinaryOperation(*this, expression.name, left, Evaluate(*children[1]));
    }
    case Kind::kCompare:
      return EvaluateCompare(expression);
    case Kind::kConditional:
      if (Evaluate(*children[0]).Truthy()) return Evaluate(*children[1]);
      return children.size() > 2 ? Evaluate(*children[2]) : Value();
    case Kind::kAttribute:
      return GetAttribute(Evaluate(*children[0]), expression.name);
    case Kind::kSubscript: {
      const Value object = Evaluate(*children[0]);
      if (object.IsString()) Charge(object.AsString().size() / 16);
      return GetItem(object, Evaluate(*children[1]));
    }
    case Kind::kSlice:
      return EvaluateSlice(expression);
    case Kind::kCall:
      return EvaluateCall(expression);
    case Kind::kFilter:
      return EvaluateFilter(expression,
                            children[0] == nullptr ? Value(block_text_) : Evaluate(*children[0]));
    case Kind::kTest:
      return Value(
          ApplyTest(expression.name, Evaluate(*children[0]), EvaluateArguments(expression)));
  }
  return {};
}

Arguments Interpreter::EvaluateArguments(const Expression& expression) {
  Arguments arguments;
  for (size_t i = 1; i < expression.children.size(); ++i) {
    arguments.positional.push_back(Evaluate(*expression.children[i]));
  }
  for (const auto& [name, value] : expression.named) {
    arguments.named.emplace_back(name, Evaluate(*value));
  }
  if (expression.unpacked != nullptr) {
    for (Value& value : Iterate(Evaluate(*expression.unpacked))) {
      arguments.positional.push_back(std::move(value));
    }
  }
  if (expression.unpacked_named != nullptr) {
    const Value named = Evaluate(*expression.unpacked_named);
    if (!named.IsDict()) Fail("** of something that is no dict");
    for (const auto& [name, value] : named.AsDict().items) {
      arguments.named.emplace_back(name.ToText(), value);
    }
  }
  return arguments;
}

Value Interpreter::EvaluateCall(const Expression& expression) {
  const Value callee = Evaluate(*expression.children[0]);
  return Call(callee, EvaluateArguments(expression));
}

Value Interpreter::EvaluateFilter(const Expression& expression, const Value& subject) {
  return ApplyFilter(*this, expression.name, subject, EvaluateArguments(expression));
}

Value Interpreter::EvaluateCompare(const Expression& expression) {
  Value left = Evaluate(*expression.children[0]);
  for (size_t i = 0; i < expression.names.size(); ++i) {
    Value right = Evaluate(*expression.children[i + 1]);
    const std::string& name = expression.names[i];
    bool holds = false;
    if (name == "==") {
      holds = left == right;
    } else if (name == "!=") {
      holds = !(left == right);
    } else if (name == "in") {
      holds = ContainsValue(right, left);
    } else if (name == "not in") {
      holds = !ContainsValue(right, left);
    } else if (name == "<" || name == ">=") {
      holds = Less(left, right) == (name == "<");
    } else {
      holds = Less(right, left) == (name == ">");
    }
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::EvaluateSlice(const Expression& expression) {
  Value parts[4];
  for (size_t i = 0; i < 4; ++i) {
    const ExpressionPtr& part = expression.children[i];
    parts[i] = part == nullptr ? Value(None{}) : Evaluate(*part);
  }
  return GetSlice(*this, parts[0], parts[1], parts[2], parts[3]);
}

}  // namespace rondo::jinja
