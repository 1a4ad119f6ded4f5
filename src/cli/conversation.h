// A conversation with a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/options.h"
#include "rondo/engine.h"
#include "rondo/generate.h"
#include "rondo/scheduler.h"
#include "rondo/tokenizer.h"

namespace rondo::cli {

// What was said. Its keys and values stay with the scheduler from turn to turn.
class Conversation {
 public:
  // All must outlive it. Throws where the model has no chat template.
  Conversation(const Engine& engine, const Tokenizer& tokenizer, const ChatCommandOptions& options);

  // Forgets all but the system message.
  void Reset();
  // Prints the model's answer. SIGINT ends the answer, which stays as far as it came. Where the
  // context is full, the oldest turns are forgotten, which standard error says. Throws, and keeps
  // what was said before, where the text alone is too long.
  void Say(const std::string& text);

 private:
  int Context(const Engine& engine) const;
  bool ForgetOldestTurn();
  std::vector<int32_t> PromptThatFits();
  Generation Answer(std::vector<int32_t> prompt);

  const Tokenizer& tokenizer_;
  const ChatCommandOptions& options_;
  GenerateOptions generate_;
  Scheduler scheduler_;
  std::vector<ChatMessage> messages_;
};

}  // namespace rondo::cli
