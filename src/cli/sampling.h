// What `rondo generate` and `rondo chat` have in common.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cli/options.h"
#include "rondo/generate.h"
#include "rondo/tokenizer.h"

namespace rondo::cli {

// Throws UsageError where an exit lacks its threshold.
GenerateOptions ToGenerateOptions(const SampleFlags& flags);

// To standard output, at once.
bool PrintPiece(std::string_view text);

// The model's tokenizer, with the chat template of a file if there is one.
std::shared_ptr<const Tokenizer> LoadChatTokenizer(const std::string& model,
                                                   const std::string& template_file);

// The prompt of a conversation. Errors name the template's file; where there is no template, they
// say what to do.
std::string ChatPrompt(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                       const std::string& template_file);

}  // namespace rondo::cli
