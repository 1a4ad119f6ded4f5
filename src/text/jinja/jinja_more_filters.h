// Filters that order, count, group and lay out.
#pragma once

#include "text/jinja/jinja_library.h"

namespace rondo::jinja::filters {

Value DictSort(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Sort(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Unique(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Min(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Max(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Sum(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Round(Interpreter& in, const Value& subject, const Arguments& arguments);
Value GroupBy(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Batch(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Slice(Interpreter& in, const Value& subject, const Arguments& arguments);
Value WordCount(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Format(Interpreter& in, const Value& subject, const Arguments& arguments);
Value CenterText(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Truncate(Interpreter& in, const Value& subject, const Arguments& arguments);
Value Attribute(Interpreter& in, const Value& subject, const Arguments& arguments);

}  // namespace rondo::jinja::filters
