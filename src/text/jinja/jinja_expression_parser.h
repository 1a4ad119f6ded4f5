// The expression part of the parser (jinja2's grammar and precedence).
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/jinja_ast.h"
#include "text/jinja/jinja_lexer.h"

namespace rondo::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  ExpressionPtr Condition();  // the widest expression without commas
  ExpressionPtr Tuple();      // a, b, c
  ExpressionPtr Or();         // without "x if y"
  // ".name", "[…]", "(…)", "|filter" and "is test" behind a filter block's missing subject.
  ExpressionPtr Filters(ExpressionPtr subject);

  const Token& Current() const { return tokens_[at_]; }
  const Token& Ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token Take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool IsOperator(std::string_view text) const;
  bool IsName(std::string_view text) const;
  bool TakeOperator(std::string_view text);  // if it is there
  bool TakeName(std::string_view text);
  void ExpectOperator(std::string_view text);
  void Expect(Token::Kind kind, const char* what);
  std::string ExpectName();
  // "name(…)|name…" of a filter block: filters of a missing subject.
  ExpressionPtr FilterBlock();
  // Special variables of macros that were read since the last call.
  struct MacroNames {
    bool caller = false, varargs = false, kwargs = false;
  };
  MacroNames TakeMacroNames() { return std::exchange(macro_names_, {}); }
  void AddMacroNames(const MacroNames& names);
  [[noreturn]] void FailHere(const std::string& problem) const;

 private:
  ExpressionPtr Make(Expression::Kind kind, std::vector<ExpressionPtr> children,
                     std::string name = {}) const;
  ExpressionPtr And();
  ExpressionPtr Not();
  ExpressionPtr Compare();
  ExpressionPtr Sum();
  ExpressionPtr Concat();
  ExpressionPtr Product();
  ExpressionPtr Power();
  ExpressionPtr Unary(bool with_filters);
  ExpressionPtr Primary();
  ExpressionPtr Literal();
  ExpressionPtr ListOrTuple(std::string_view close);
  ExpressionPtr DictLiteral();
  ExpressionPtr Postfix(ExpressionPtr object);
  ExpressionPtr Subscript(ExpressionPtr object);
  ExpressionPtr Filter(ExpressionPtr subject);
  ExpressionPtr Test(ExpressionPtr subject);
  void Arguments(Expression& call);
  static void Measure(Expression& expression);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  MacroNames macro_names_;
};

}  // namespace rondo::jinja
