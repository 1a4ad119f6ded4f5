#include "text/jinja/jinja_expression_parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "text/jinja/jinja_library.h"

namespace rondo::jinja {
namespace {

using Kind = Expression::Kind;

constexpr int kMaxDepth = 200;

std::vector<ExpressionPtr> Children(ExpressionPtr a, ExpressionPtr b = nullptr) {
  std::vector<ExpressionPtr> out;
  out.push_back(std::move(a));
  if (b != nullptr) out.push_back(std::move(b));
  return out;
}

}  // namespace

void ExpressionParser::FailHere(const std::string& problem) const {
  Fail("line " + std::to_string(Current().line) + ": " + problem);
}

bool ExpressionParser::IsOperator(std::string_view text) const {
  return Current().kind == Token::Kind::kOperator && Current().text == text;
}

bool ExpressionParser::IsName(std::string_view text) const {
  return Current().kind == Token::Kind::kName && Current().text == text;
}

bool ExpressionParser::TakeOperator(std::string_view text) {
  if (!IsOperator(text)) return false;
  Take();
  return true;
}

bool ExpressionParser::TakeName(std::string_view text) {
  if (!IsName(text)) return false;
  Take();
  return true;
}

void ExpressionParser::ExpectOperator(std::string_view text) {
  if (!TakeOperator(text)) {
    FailHere("expected '" + std::string(text) + "' before '" + Current().text + "'");
  }
}

void ExpressionParser::Expect(Token::Kind kind, const char* what) {
  if (Current().kind != kind) {
    FailHere(std::string("expected ") + what + " before '" + Current().text + "'");
  }
  Take();
}

std::string ExpressionParser::ExpectName() {
  if (Current().kind != Token::Kind::kName) {
    FailHere("expected a name before '" + Current().text + "'");
  }
  return Take().text;
}

// Trees deeper than the interpreter may recurse are refused as they grow.
void ExpressionParser::Measure(Expression& expression) {
  int deepest = 0;
  const auto look = [&deepest](const ExpressionPtr& child) {
    if (child != nullptr) deepest = std::max(deepest, child->depth);
  };
  for (const ExpressionPtr& child : expression.children) look(child);
  for (const auto& [name, child] : expression.named) look(child);
  look(expression.unpacked);
  look(expression.unpacked_named);
  expression.depth = deepest + 1;
  if (expression.depth > kMaxDepth) {
    Fail("line " + std::to_string(expression.line) + ": expression nested too deeply");
  }
}

ExpressionPtr ExpressionParser::Make(Kind kind, std::vector<ExpressionPtr> children,
                                     std::string name) const {
  auto expression = std::make_unique<Expression>();
  expression->kind = kind;
  expression->line = Current().line;
  expression->name = std::move(name);
  expression->children = std::move(children);
  Measure(*expression);
  return expression;
}

ExpressionPtr ExpressionParser::Tuple() {
  ExpressionPtr first = Condition();
  if (!IsOperator(",")) return first;
  std::vector<ExpressionPtr> items = Children(std::move(first));
  while (TakeOperator(",")) {
    const bool end = Current().kind == Token::Kind::kBlockEnd ||
                     Current().kind == Token::Kind::kOutputEnd || IsOperator(")") ||
                     IsOperator("=");
    if (end) break;
    items.push_back(Condition());
  }
  return Make(Kind::kTuple, std::move(items));
}

ExpressionPtr ExpressionParser::Condition() {
  if (++nesting_ > kMaxDepth) FailHere("expression nested too deeply");
  ExpressionPtr value = Or();
  while (TakeName("if")) {
    std::vector<ExpressionPtr> children = Children(Or(), std::move(value));
    if (TakeName("else")) children.push_back(Condition());
    value = Make(Kind::kConditional, std::move(children));
  }
  --nesting_;
  return value;
}

ExpressionPtr ExpressionParser::Or() {
  ExpressionPtr left = And();
  while (TakeName("or")) left = Make(Kind::kOr, Children(std::move(left), And()));
  return left;
}

ExpressionPtr ExpressionParser::And() {
  ExpressionPtr left = Not();
  while (TakeName("and")) left = Make(Kind::kAnd, Children(std::move(left), Not()));
  return left;
}

ExpressionPtr ExpressionParser::Not() {
  int count = 0;
  while (TakeName("not")) ++count;
  ExpressionPtr value = Compare();
  if (count > kMaxDepth) FailHere("expression nested too deeply");
  for (; count > 0; --count) value = Make(Kind::kNot, Children(std::move(value)));
  return value;
}

ExpressionPtr ExpressionParser::Compare() {
  constexpr std::array<std::string_view, 6> kOperators = {"==", "!=", "<", "<=", ">", ">="};
  std::vector<ExpressionPtr> operands = Children(Sum());
  std::vector<std::string> operators;
  while (true) {
    const bool known =
        Current().kind == Token::Kind::kOperator &&
        std::find(kOperators.begin(), kOperators.end(), Current().text) != kOperators.end();
    if (known || IsName("in")) {
      operators.push_back(Take().text);
    } else if (IsName("not") && Ahead().kind == Token::Kind::kName && Ahead().text == "in") {
      Take();
      Take();
      operators.push_back("not in");
    } else {
      break;
    }
    operands.push_back(Sum());
  }
  if (operators.empty()) return std::move(operands[0]);
  ExpressionPtr compare = Make(Kind::kCompare, std::move(operands));
  compare->names = std::move(operators);
  return compare;
}

ExpressionPtr ExpressionParser::Sum() {
  ExpressionPtr left = Concat();
  while (IsOperator("+") || IsOperator("-")) {
    const std::string name = Take().text;
    left = Make(Kind::kBinary, Children(std::move(left), Concat()), name);
  }
  return left;
}

ExpressionPtr ExpressionParser::Concat() {
  ExpressionPtr left = Product();
  while (TakeOperator("~")) left = Make(Kind::kBinary, Children(std::move(left), Product()), "~");
  return left;
}

ExpressionPtr ExpressionParser::Product() {
  ExpressionPtr left = Power();
  while (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%")) {
    const std::string name = Take().text;
    left = Make(Kind::kBinary, Children(std::move(left), Power()), name);
  }
  return left;
}

ExpressionPtr ExpressionParser::Power() {
  ExpressionPtr left = Unary(true);
  while (TakeOperator("**"))
    left = Make(Kind::kBinary, Children(std::move(left), Unary(true)), "**");
  return left;
}

ExpressionPtr ExpressionParser::Unary(bool with_filters) {
  if (++nesting_ > kMaxDepth) FailHere("expression nested too deeply");
  ExpressionPtr value;
  if (TakeOperator("-")) {
    value = Make(Kind::kNegative, Children(Unary(false)));
  } else if (TakeOperator("+")) {
    value = Make(Kind::kPositive, Children(Unary(false)));
  } else {
    value = Primary();
  }
  value = Postfix(std::move(value));
  if (with_filters) value = Filters(std::move(value));
  --nesting_;
  return value;
}

ExpressionPtr ExpressionParser::Literal() {
  const Token token = Take();
  ExpressionPtr literal = Make(Kind::kLiteral, {});
  const char* begin = token.text.data();
  const char* end = begin + token.text.size();
  if (token.kind == Token::Kind::kString) {
    std::string text = token.text;
    while (Current().kind == Token::Kind::kString) text += Take().text;
    literal->value = Value(std::move(text));
  } else if (token.kind == Token::Kind::kInteger) {
    int64_t number = 0;
    if (std::from_chars(begin, end, number).ec != std::errc()) FailHere("number too large");
    literal->value = Value(number);
  } else {
    double number = 0;
    if (std::from_chars(begin, end, number).ec != std::errc()) FailHere("bad number");
    literal->value = Value(number);
  }
  return literal;
}

ExpressionPtr ExpressionParser::Primary() {
  const Token& token = Current();
  if (token.kind == Token::Kind::kString || token.kind == Token::Kind::kInteger ||
      token.kind == Token::Kind::kFloat) {
    return Literal();
  }
  if (token.kind == Token::Kind::kName) {
    const std::string name = Take().text;
    ExpressionPtr out = Make(Kind::kLiteral, {});
    if (name == "true" || name == "True") {
      out->value = Value(true);
    } else if (name == "false" || name == "False") {
      out->value = Value(false);
    } else if (name == "none" || name == "None") {
      out->value = Value(None{});
    } else {
      out->kind = Kind::kName;
      out->name = name;
      macro_names_.caller |= name == "caller";
      macro_names_.varargs |= name == "varargs";
      macro_names_.kwargs |= name == "kwargs";
    }
    return out;
  }
  if (TakeOperator("(")) return ListOrTuple(")");
  if (TakeOperator("[")) return ListOrTuple("]");
  if (TakeOperator("{")) return DictLiteral();
  FailHere("unexpected '" + token.text + "'");
}

// Behind "(" or "[". "(x)" is x; "(x,)" and "()" are tuples.
ExpressionPtr ExpressionParser::ListOrTuple(std::string_view close) {
  std::vector<ExpressionPtr> items;
  bool comma = false;
  while (!IsOperator(close)) {
    items.push_back(Condition());
    if (IsOperator(close)) break;
    ExpectOperator(",");
    comma = true;
  }
  ExpectOperator(close);
  if (close == "]") return Make(Kind::kList, std::move(items));
  if (items.size() == 1 && !comma) return std::move(items[0]);
  return Make(Kind::kTuple, std::move(items));
}

ExpressionPtr ExpressionParser::DictLiteral() {
  std::vector<ExpressionPtr> items;
  while (!IsOperator("}")) {
    items.push_back(Condition());
    ExpectOperator(":");
    items.push_back(Condition());
    if (!IsOperator("}")) ExpectOperator(",");
  }
  ExpectOperator("}");
  return Make(Kind::kDict, std::move(items));
}

ExpressionPtr ExpressionParser::Postfix(ExpressionPtr object) {
  while (true) {
    if (TakeOperator(".")) {
      if (Current().kind == Token::Kind::kInteger) {
        object = Make(Kind::kSubscript, Children(std::move(object), Literal()));
      } else {
        const std::string name = ExpectName();
        object = Make(Kind::kAttribute, Children(std::move(object)), name);
      }
    } else if (TakeOperator("[")) {
      object = Subscript(std::move(object));
    } else if (TakeOperator("(")) {
      object = Make(Kind::kCall, Children(std::move(object)));
      Arguments(*object);
    } else {
      return object;
    }
  }
}

ExpressionPtr ExpressionParser::Subscript(ExpressionPtr object) {
  std::vector<ExpressionPtr> parts = Children(std::move(object));
  parts.push_back(IsOperator(":") ? nullptr : Condition());
  bool slice = false;
  while (parts.size() < 4 && TakeOperator(":")) {
    slice = true;
    parts.push_back(IsOperator(":") || IsOperator("]") ? nullptr : Condition());
  }
  ExpectOperator("]");
  if (!slice) return Make(Kind::kSubscript, std::move(parts));
  parts.resize(4);
  return Make(Kind::kSlice, std::move(parts));
}

// Behind "("; positional arguments are appended to the children.
void ExpressionParser::Arguments(Expression& call) {
  while (!IsOperator(")")) {
    if (IsOperator("*") || IsOperator("**")) {
      ExpressionPtr& unpacked = IsOperator("*") ? call.unpacked : call.unpacked_named;
      if (unpacked != nullptr || call.unpacked_named != nullptr)
        FailHere("unpacked arguments twice");
      Take();
      unpacked = Condition();
      if (!IsOperator(")")) ExpectOperator(",");
      continue;
    }
    const bool named = Current().kind == Token::Kind::kName &&
                       Ahead().kind == Token::Kind::kOperator && Ahead().text == "=";
    if (named) {
      std::string name = ExpectName();
      Take();
      call.named.emplace_back(std::move(name), Condition());
    } else {
      if (!call.named.empty() || call.unpacked != nullptr || call.unpacked_named != nullptr) {
        FailHere("positional argument behind named ones");
      }
      call.children.push_back(Condition());
    }
    if (!IsOperator(")")) ExpectOperator(",");
  }
  ExpectOperator(")");
  Measure(call);
}

ExpressionPtr ExpressionParser::FilterBlock() { return Filters(Filter(nullptr)); }

void ExpressionParser::AddMacroNames(const MacroNames& names) {
  macro_names_.caller |= names.caller;
  macro_names_.varargs |= names.varargs;
  macro_names_.kwargs |= names.kwargs;
}

ExpressionPtr ExpressionParser::Filter(ExpressionPtr subject) {
  const std::string name = ExpectName();
  if (!IsFilter(name)) FailHere("filter '" + name + "' is not supported");
  std::vector<ExpressionPtr> children;
  children.push_back(std::move(subject));
  subject = Make(Kind::kFilter, std::move(children), name);
  if (TakeOperator("(")) Arguments(*subject);
  return subject;
}

ExpressionPtr ExpressionParser::Filters(ExpressionPtr subject) {
  while (true) {
    if (TakeOperator("|")) {
      subject = Filter(std::move(subject));
    } else if (TakeName("is")) {
      subject = Test(std::move(subject));
    } else if (TakeOperator("(")) {
      subject = Make(Kind::kCall, Children(std::move(subject)));
      Arguments(*subject);
    } else {
      return subject;
    }
  }
}

ExpressionPtr ExpressionParser::Test(ExpressionPtr subject) {
  const bool negated = TakeName("not");
  const std::string name = ExpectName();
  if (!IsTest(name)) FailHere("test '" + name + "' is not supported");
  ExpressionPtr test = Make(Kind::kTest, Children(std::move(subject)), name);
  const Token::Kind next = Current().kind;
  const bool other_name = next == Token::Kind::kName && !IsName("else") && !IsName("or") &&
                          !IsName("and") && !IsName("is") && !IsName("if") && !IsName("not");
  if (TakeOperator("(")) {
    Arguments(*test);
  } else if (next == Token::Kind::kString || next == Token::Kind::kInteger ||
             next == Token::Kind::kFloat || IsOperator("[") || IsOperator("{") || other_name) {
    test->children.push_back(Postfix(Primary()));
    Measure(*test);
  }
  if (!negated) return test;
  return Make(Kind::kNot, Children(std::move(test)));
}

}  // namespace rondo::jinja
