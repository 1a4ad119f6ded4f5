// Syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/jinja_value.h"

namespace rondo::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Expression {
  enum class Kind {
    kLiteral,      // value
    kName,         // name
    kList,         // children
    kTuple,        // children
    kDict,         // children: key, value, key, value, …
    kNegative,     // children[0]
    kPositive,     // children[0]
    kNot,          // children[0]
    kAnd,          // children[0], children[1]
    kOr,           // children[0], children[1]
    kBinary,       // name is the operator: + - * / // % ** ~
    kCompare,      // children; names are the operators between them
    kConditional,  // children: test, then, else (may be missing)
    kAttribute,    // children[0] . name
    kSubscript,    // children[0] [ children[1] ]
    kSlice,        // children: object, start, stop, step; any but the first may be null
    kCall,         // children: callee, arguments…; named
    kFilter,       // children: subject (null: the block's text), arguments…; name, named
    kTest,         // children: subject, arguments…; name
  };

  Kind kind;
  int line = 0;
  int depth = 1;  // of the subtree
  std::string name = {};
  std::vector<std::string> names = {};
  Value value = {};
  std::vector<ExpressionPtr> children = {};
  std::vector<std::pair<std::string, ExpressionPtr>> named = {};
  ExpressionPtr unpacked = nullptr;        // f(*unpacked)
  ExpressionPtr unpacked_named = nullptr;  // f(**unpacked_named)
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

struct Statement {
  enum class Kind {
    kText,    // text
    kOutput,  // expression
    kIf,      // branches (condition, body); body is the else part
    kFor,     // targets in expression [if condition]: body, otherwise
    kSet,     // targets (or name.attribute) = expression, or the text of body
    kMacro,   // text(targets) with defaults: body
    kCall,    // expression, a call, whose caller(targets) is body
    kFilter,  // the text of body through expression
    kScope,   // body with variables of its own; targets get the values of defaults
    kBreak,
    kContinue,
  };

  Kind kind;
  int line = 0;
  std::string text = {};       // text; macro name; namespace of an attribute that is set
  std::string attribute = {};  // that attribute
  std::vector<std::string> targets = {};
  bool unpack = false;     // targets form a tuple
  bool is_block = false;   // kSet: the value is the text of body
  bool recursive = false;  // kFor: loop(items) runs the body for these
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;  // kMacro, kCall
  ExpressionPtr expression = nullptr;
  ExpressionPtr condition = nullptr;
  std::vector<ExpressionPtr> defaults = {};  // of the last macro parameters
  std::vector<std::pair<ExpressionPtr, Block>> branches = {};
  Block body = {};
  Block otherwise = {};
};

}  // namespace rondo::jinja
