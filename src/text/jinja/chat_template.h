// Renders a conversation by a model's chat template (a Jinja template), in the environment that
// Hugging Face's apply_chat_template gives it.
#pragma once

#include <span>
#include <string>

#include "rondo/tokenizer.h"

namespace rondo {

struct ChatTemplate {
  std::string source;
  std::string file = {};       // for messages
  std::string bos_token = {};  // "" is an undefined variable
  std::string eos_token = {};
  std::string unk_token = {};
  std::string pad_token = {};
};

// Throws if the template is faulty, calls raise_exception, or exceeds the limits on recursion,
// steps and output.
std::string RenderChatTemplate(const ChatTemplate& chat_template,
                               std::span<const ChatMessage> messages, bool add_generation_prompt);

}  // namespace rondo
