#include "text/jinja/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "text/jinja/jinja_expression_parser.h"
#include "text/jinja/jinja_lexer.h"

namespace rondo::jinja {
namespace {

using Kind = Statement::Kind;
using Ends = std::initializer_list<std::string_view>;

constexpr int kMaxBlocks = 100;  // nested statements

class Parser {
 public:
  explicit Parser(std::string_view source) : in_(Tokenize(source)) {}

  Block Run() {
    Block block = Statements({});
    if (in_.Current().kind != Token::Kind::kEnd) in_.FailHere("unexpected end of the template");
    return block;
  }

 private:
  // Statements up to a tag that begins with one of `ends`, whose name is left to be read.
  Block Statements(Ends ends) {
    if (++nesting_ > kMaxBlocks) in_.FailHere("statements nested too deeply");
    Block block;
    while (in_.Current().kind != Token::Kind::kEnd) {
      if (in_.Current().kind == Token::Kind::kText) {
        auto text = New(Kind::kText);
        text->text = in_.Take().text;
        block.push_back(std::move(text));
      } else if (in_.Current().kind == Token::Kind::kOutputBegin) {
        in_.Take();
        auto output = New(Kind::kOutput);
        output->expression = in_.Tuple();
        in_.Expect(Token::Kind::kOutputEnd, "'}}'");
        block.push_back(std::move(output));
      } else {
        in_.Expect(Token::Kind::kBlockBegin, "a tag");
        if (std::find(ends.begin(), ends.end(), in_.Current().text) != ends.end()) break;
        Tag(block);
      }
    }
    --nesting_;
    if (ends.size() > 0 && in_.Current().kind == Token::Kind::kEnd) {
      in_.FailHere("missing '" + std::string(*(ends.end() - 1)) + "'");
    }
    return block;
  }

  std::unique_ptr<Statement> New(Kind kind) const {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = in_.Current().line;
    return statement;
  }

  void EndTag() { in_.Expect(Token::Kind::kBlockEnd, "'%}'"); }

  void CloseTag(std::string_view name) {
    if (!in_.TakeName(name)) in_.FailHere("expected '" + std::string(name) + "'");
    EndTag();
  }

  void Tag(Block& block) {
    const std::string name = in_.ExpectName();
    if (name == "if") {
      block.push_back(If());
    } else if (name == "for") {
      block.push_back(For());
    } else if (name == "set") {
      block.push_back(Set());
    } else if (name == "macro") {
      block.push_back(Macro());
    } else if (name == "break" || name == "continue") {
      block.push_back(New(name == "break" ? Kind::kBreak : Kind::kContinue));
      EndTag();
    } else if (name == "generation") {
      // Marks what the assistant says, for training masks; prints its content.
      block.push_back(Scope("endgeneration"));
    } else if (name == "with") {
      block.push_back(With());
    } else if (name == "filter") {
      auto statement = New(Kind::kFilter);
      statement->expression = in_.FilterBlock();
      Body(*statement, "endfilter");
      block.push_back(std::move(statement));
    } else if (name == "call") {
      block.push_back(Call());
    } else {
      in_.FailHere(
          "statement '" + name +
          "' is not supported (known: if, for, set, macro, call, filter, with, raw, break, "
          "continue, generation)");
    }
  }

  void Body(Statement& statement, std::string_view end) {
    EndTag();
    statement.body = Statements({end});
    CloseTag(end);
  }

  std::unique_ptr<Statement> Scope(std::string_view end) {
    auto statement = New(Kind::kScope);
    Body(*statement, end);
    return statement;
  }

  // {% with a = 1, b = 2 %}: the values are those outside.
  std::unique_ptr<Statement> With() {
    auto statement = New(Kind::kScope);
    while (in_.Current().kind != Token::Kind::kBlockEnd) {
      if (!statement->targets.empty()) in_.ExpectOperator(",");
      statement->targets.push_back(in_.ExpectName());
      in_.ExpectOperator("=");
      statement->defaults.push_back(in_.Condition());
    }
    Body(*statement, "endwith");
    return statement;
  }

  std::unique_ptr<Statement> If() {
    auto statement = New(Kind::kIf);
    while (true) {
      ExpressionPtr condition = in_.Tuple();
      EndTag();
      Block body = Statements({"elif", "else", "endif"});
      statement->branches.emplace_back(std::move(condition), std::move(body));
      if (!in_.TakeName("elif")) break;
    }
    if (in_.TakeName("else")) {
      EndTag();
      statement->body = Statements({"endif"});
    }
    CloseTag("endif");
    return statement;
  }

  void Targets(Statement& statement) {
    const bool parenthesis = in_.TakeOperator("(");
    statement.targets.push_back(in_.ExpectName());
    while (in_.TakeOperator(",")) {
      statement.unpack = true;
      if (in_.Current().kind != Token::Kind::kName || in_.IsName("in")) break;
      statement.targets.push_back(in_.ExpectName());
    }
    if (parenthesis) in_.ExpectOperator(")");
  }

  std::unique_ptr<Statement> For() {
    auto statement = New(Kind::kFor);
    Targets(*statement);
    if (!in_.TakeName("in")) in_.FailHere("expected 'in'");
    statement->expression = in_.Or();
    if (in_.TakeOperator(",")) in_.FailHere("write a tuple in parentheses");
    if (in_.TakeName("if")) statement->condition = in_.Condition();
    statement->recursive = in_.TakeName("recursive");
    EndTag();
    statement->body = Statements({"else", "endfor"});
    if (in_.TakeName("else")) {
      EndTag();
      statement->otherwise = Statements({"endfor"});
    }
    CloseTag("endfor");
    return statement;
  }

  std::unique_ptr<Statement> Set() {
    auto statement = New(Kind::kSet);
    Targets(*statement);
    if (!statement->unpack && in_.TakeOperator(".")) {
      statement->text = std::move(statement->targets[0]);
      statement->targets.clear();
      statement->attribute = in_.ExpectName();
    }
    if (in_.TakeOperator("=")) {
      statement->expression = in_.Tuple();
      EndTag();
      return statement;
    }
    // {% set x | filter %} … {% endset %}: the filters' subject is the block's text.
    if (in_.IsOperator("|")) statement->expression = in_.Filters(nullptr);
    EndTag();
    statement->body = Statements({"endset"});
    statement->is_block = true;
    CloseTag("endset");
    return statement;
  }

  std::unique_ptr<Statement> Macro() {
    auto statement = New(Kind::kMacro);
    statement->text = in_.ExpectName();
    Signature(*statement);
    MacroBody(*statement, "endmacro");
    return statement;
  }

  std::unique_ptr<Statement> Call() {
    auto statement = New(Kind::kCall);
    statement->text = "caller";
    if (in_.IsOperator("(")) Signature(*statement);
    statement->expression = in_.Condition();
    if (statement->expression->kind != Expression::Kind::kCall) in_.FailHere("expected a call");
    MacroBody(*statement, "endcall");
    return statement;
  }

  // (a, b, c=1)
  void Signature(Statement& statement) {
    in_.ExpectOperator("(");
    while (!in_.IsOperator(")")) {
      statement.targets.push_back(in_.ExpectName());
      if (in_.TakeOperator("=")) {
        statement.defaults.push_back(in_.Condition());
      } else if (!statement.defaults.empty()) {
        in_.FailHere("parameter without default behind one with");
      }
      if (!in_.IsOperator(")")) in_.ExpectOperator(",");
    }
    in_.ExpectOperator(")");
  }

  void MacroBody(Statement& statement, std::string_view end) {
    const auto outside = in_.TakeMacroNames();
    Body(statement, end);
    const auto inside = in_.TakeMacroNames();
    statement.uses_caller = inside.caller;
    statement.uses_varargs = inside.varargs;
    statement.uses_kwargs = inside.kwargs;
    in_.AddMacroNames(outside);
    if (statement.kind == Kind::kCall) in_.AddMacroNames(inside);  // of the macro around
  }

  ExpressionParser in_;
  int nesting_ = 0;
};

}  // namespace

Block Parse(std::string_view source) { return Parser(source).Run(); }

}  // namespace rondo::jinja
