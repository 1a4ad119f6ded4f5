// What templates can use: operators, attributes and methods, filters, tests.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/jinja_value.h"

namespace rondo::jinja {

class Interpreter;

// + - * / // % ** ~ of Python.
Value BinaryOperation(Interpreter& in, const std::string& name, const Value& a, const Value& b);
bool ContainsValue(const Value& container, const Value& item);  // item in container
// An unknown attribute or item is an undefined value; of an undefined value it is an error.
Value GetAttribute(const Value& object, const std::string& name);
Value GetItem(const Value& object, const Value& key);
Value GetSlice(Interpreter& in, const Value& object, const Value& start, const Value& stop,
               const Value& step);

// A method bound to its object, or an undefined value.
Value GetMethod(const Value& object, const std::string& name);

// "a.b.0" of an item, as filters name it.
Value AtPath(const Value& item, const Value& path);

bool IsFilter(std::string_view name);
Value ApplyFilter(Interpreter& in, const std::string& name, const Value& subject,
                  const Arguments& arguments);

bool IsTest(std::string_view name);
bool ApplyTest(const std::string& name, const Value& subject, const Arguments& arguments);

// Argument by place or name; `fallback` if it was not given.
Value ArgumentOr(const Arguments& arguments, size_t place, std::string_view name, Value fallback);
// Throws unless the arguments have at most `places` positional ones and only these names.
void CheckArguments(const std::string& function, const Arguments& arguments, size_t places,
                    std::initializer_list<std::string_view> names = {});

// Python's str.strip and its kin; without `characters`, white space.
std::string StripText(const std::string& text, const Value& characters, bool left, bool right);
std::string ReplaceText(const std::string& text, const std::string& from, const std::string& to,
                        int64_t count);
std::string Upper(const std::string& text);
std::string Lower(const std::string& text);
std::string Capitalize(const std::string& text);
std::string Title(const std::string& text);
std::string SwapCase(const std::string& text);
std::string Repeated(const std::string& text, size_t times);
// Python's str.center: an odd space goes where Python puts it.
std::string Center(const std::string& text, size_t width, const std::string& fill);
// Python's "text % values" and text.format(…).
Value FormatPercent(Interpreter& in, const std::string& format, const Value& values);
Value FormatBraces(Interpreter& in, const std::string& format, const Arguments& arguments);
std::vector<std::string_view> Characters(std::string_view text);

}  // namespace rondo::jinja
