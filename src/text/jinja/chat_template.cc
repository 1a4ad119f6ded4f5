#include "text/jinja/chat_template.h"

#include <utility>
#include <vector>

#include "rondo/error.h"
#include "text/jinja/jinja_interpreter.h"
#include "text/jinja/jinja_parser.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

using jinja::None;
using jinja::Value;

Value Messages(std::span<const ChatMessage> messages) {
  std::vector<Value> items;
  for (const ChatMessage& message : messages) {
    items.push_back(
        Value::MakeDict({{Value("role"), Value(ReplaceInvalidUtf8(message.role))},
                         {Value("content"), Value(ReplaceInvalidUtf8(message.content))}}));
  }
  return Value::MakeList(std::move(items));
}

}  // namespace

std::string RenderChatTemplate(const ChatTemplate& chat_template,
                               std::span<const ChatMessage> messages, bool add_generation_prompt) {
  constexpr size_t kMaxSource = 1 << 20;
  std::vector<std::pair<std::string, Value>> variables = {
      {"messages", Messages(messages)},
      {"tools", Value(None{})},
      {"documents", Value(None{})},
      {"add_generation_prompt", Value(add_generation_prompt)}};
  const auto add = [&variables](const char* name, const std::string& token) {
    if (!token.empty()) variables.emplace_back(name, Value(token));
  };
  add("bos_token", chat_template.bos_token);
  add("eos_token", chat_template.eos_token);
  add("unk_token", chat_template.unk_token);
  add("pad_token", chat_template.pad_token);
  try {
    if (chat_template.source.size() > kMaxSource) jinja::Fail("the chat template is too long");
    const jinja::Block block = jinja::Parse(ReplaceInvalidUtf8(chat_template.source));
    return jinja::Interpreter(std::move(variables)).Render(block);
  } catch (const Error& error) {
    throw Error({.function = error.info().function,
                 .problem = error.info().problem,
                 .expected = error.info().expected,
                 .file = chat_template.file,
                 .field = "chat_template"});
  }
}

}  // namespace rondo
