#include "text/jinja/jinja_interpreter.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "rondo/error.h"
#include "text/jinja/jinja_library.h"

namespace rondo::jinja {
namespace {

using Kind = Expression::Kind;

constexpr size_t kMaxWork = 20'000'000;
constexpr size_t kMaxText = size_t{8} << 20;
constexpr int kMaxRecursion = 600;

Value Range(Interpreter& in, const Arguments& arguments) {
  CheckArguments("range", arguments, 3);
  std::vector<int64_t> numbers;
  for (const Value& value : arguments.positional) {
    if (!value.IsInteger()) Fail("range of something that is no integer");
    numbers.push_back(value.AsInteger());
  }
  if (numbers.empty()) Fail("range without arguments");
  const int64_t start = numbers.size() > 1 ? numbers[0] : 0;
  const int64_t stop = numbers.size() > 1 ? numbers[1] : numbers[0];
  const int64_t step = numbers.size() > 2 ? numbers[2] : 1;
  constexpr int64_t kMost = 100'000;  // items, as in jinja2's sandbox
  constexpr int64_t kBound = int64_t{1} << 40;
  if (step == 0 || std::abs(start) > kBound || std::abs(stop) > kBound || std::abs(step) > kBound) {
    Fail("range with bad arguments");
  }
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (items.size() >= size_t{kMost}) Fail("range is too long");
    in.Charge(1);
    items.emplace_back(i);
  }
  return Value::MakeList(std::move(items));
}

Value MakeNamespace(Interpreter& in, const Arguments& arguments) {
  Value out = in.NewNamespace();
  for (const Value& value : arguments.positional) {
    if (!value.IsDict()) Fail("namespace() takes a dict");
    for (const auto& [key, item] : value.AsDict().items) {
      out.AsNamespace().attributes.emplace_back(key.ToText(), item);
    }
  }
  for (const auto& [name, value] : arguments.named) {
    if (name.starts_with('_')) Fail("namespace attribute '" + name + "' is not allowed");
    out.AsNamespace().attributes.emplace_back(name, value);
  }
  return out;
}

Value MakeDictionary(Interpreter&, const Arguments& arguments) {
  std::vector<std::pair<Value, Value>> items;
  for (const Value& value : arguments.positional) {
    if (!value.IsDict()) Fail("dict() takes a dict");
    items.insert(items.end(), value.AsDict().items.begin(), value.AsDict().items.end());
  }
  for (const auto& [name, value] : arguments.named) items.emplace_back(Value(name), value);
  return Value::MakeDict(std::move(items));
}

Value RaiseException(Interpreter&, const Arguments& arguments) {
  Fail("the chat template refuses: " + ArgumentOr(arguments, 0, "message", Value("")).ToText());
}

Value StrftimeNow(Interpreter&, const Arguments& arguments) {
  const std::string format = ArgumentOr(arguments, 0, "format", Value("")).ToText();
  if (format.size() > 256) Fail("strftime_now with a long format");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string buffer(8192, '\0');
  buffer.resize(std::strftime(buffer.data(), buffer.size(), format.c_str(), &local));
  return Value(std::move(buffer));
}

// What a loop body sees as `loop`.
Value LoopVariable(const std::vector<Value>& items, size_t index) {
  const auto number = [](size_t value) { return Value(static_cast<int64_t>(value)); };
  const size_t count = items.size();
  const auto cycle = [index](Interpreter&, const Arguments& arguments) {
    if (arguments.positional.empty()) Fail("loop.cycle without arguments");
    return arguments.positional[index % arguments.positional.size()];
  };
  return Value::MakeDict(
      {{Value("index"), number(index + 1)},
       {Value("index0"), number(index)},
       {Value("first"), Value(index == 0)},
       {Value("last"), Value(index + 1 == count)},
       {Value("length"), number(count)},
       {Value("revindex"), number(count - index)},
       {Value("revindex0"), number(count - index - 1)},
       {Value("previtem"), index > 0 ? items[index - 1] : Value::MakeUndefined("loop.previtem")},
       {Value("nextitem"),
        index + 1 < count ? items[index + 1] : Value::MakeUndefined("loop.nextitem")},
       {Value("cycle"), Value::MakeFunction("cycle", cycle)}});
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

Interpreter::Interpreter(std::vector<std::pair<std::string, Value>> variables) {
  root_.variables = std::move(variables);
  const auto add = [this](const char* name, Value (*function)(Interpreter&, const Arguments&)) {
    root_.variables.emplace_back(name, Value::MakeFunction(name, function));
  };
  add("range", Range);
  add("namespace", MakeNamespace);
  add("dict", MakeDictionary);
  add("raise_exception", RaiseException);
  add("strftime_now", StrftimeNow);
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

Interpreter::Flow Interpreter::RunFor(const Statement& statement) {
  std::vector<Value> items = Iterate(Evaluate(*statement.expression));
  Scope scope{.variables = {}, .parent = scope_};
  Scope* const outer = std::exchange(scope_, &scope);
  if (statement.condition != nullptr) {
    std::vector<Value> kept;
    for (Value& item : items) {
      AssignTargets(statement, item);
      if (Evaluate(*statement.condition).Truthy()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  for (size_t i = 0; i < items.size(); ++i) {
    Charge(8);
    scope.variables.clear();
    Assign("loop", LoopVariable(items, i));
    AssignTargets(statement, items[i]);
    if (Run(statement.body) == Flow::kBreak) break;
  }
  scope_ = outer;
  return items.empty() ? Run(statement.otherwise) : Flow::kNormal;
}

void Interpreter::RunSet(const Statement& statement) {
  Value value;
  if (!statement.is_block) {
    value = Evaluate(*statement.expression);
  } else {
    value = NewText(Capture(statement.body));
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
  const auto call = [&statement](Interpreter& in, const Arguments& arguments) {
    return in.CallMacro(statement, arguments);
  };
  Assign(statement.text, Value::MakeFunction(statement.text, call));
}

Value Interpreter::CallMacro(const Statement& macro, const Arguments& arguments) {
  const Recursion level(*this);
  if (arguments.positional.size() > macro.targets.size()) {
    Fail("too many arguments for macro '" + macro.text + "'");
  }
  for (const auto& [name, value] : arguments.named) {
    if (std::find(macro.targets.begin(), macro.targets.end(), name) == macro.targets.end()) {
      Fail("macro '" + macro.text + "' has no parameter '" + name + "'");
    }
  }
  Scope scope{.variables = {}, .parent = &root_};
  Scope* const outer = std::exchange(scope_, &scope);
  const size_t first_default = macro.targets.size() - macro.defaults.size();
  for (size_t i = 0; i < macro.targets.size(); ++i) {
    Value value =
        ArgumentOr(arguments, i, macro.targets[i], Value::MakeUndefined(macro.targets[i]));
    if (value.IsUndefined() && i >= first_default) {
      value = Evaluate(*macro.defaults[i - first_default]);
    }
    Assign(macro.targets[i], std::move(value));
  }
  Value text = NewText(Capture(macro.body));
  scope_ = outer;
  return text;
}

Value Interpreter::Lookup(const std::string& name) const {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
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
      return BinaryOperation(*this, "-", Value(int64_t{0}), Evaluate(*children[0]));
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
