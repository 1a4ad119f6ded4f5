#include <cstdio>
#include <string>

#include "cli/command_line.h"
#include "cli/conversation.h"
#include "cli/line_reader.h"
#include "cli/options.h"
#include "cli/sampling.h"
#include "cli/session.h"
#include "rondo/error.h"

namespace rondo::cli {
namespace {

constexpr const char* kHelp =
    "/help    lists these commands\n"
    "/reset   forgets what was said\n"
    "/exit    leaves, and so does Ctrl-D\n"
    "Ctrl-C ends an answer. A line that begins with a space may begin with a slash behind it.\n";

// Does what a line with a slash says. False: leave.
bool Obey(const std::string& line, Conversation& conversation) {
  if (line == "/exit") return false;
  if (line == "/help") {
    std::fputs(kHelp, stderr);
  } else if (line == "/reset") {
    conversation.Reset();
  } else {
    const std::string word = line.substr(0, line.find(' '));
    std::fprintf(stderr, "rondo: unknown command '%s'; /help lists what there is\n", word.c_str());
  }
  return true;
}

}  // namespace

int RunChat(const ChatCommandOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const Model model = LoadAdapted(options.model, common, pool);
  const auto tokenizer = LoadChatTokenizer(model.path, options.chat_template);
  const Engine engine(model, options.sample.engine, pool);
  Conversation conversation(engine, *tokenizer, options);
  LineReader lines("> ");
  if (lines.terminal()) std::fputs("/help lists commands\n", stderr);
  while (const auto line = lines.Next()) {
    if (line->empty()) continue;
    if (line->starts_with('/')) {
      if (!Obey(*line, conversation)) return 0;
      continue;
    }
    try {
      conversation.Say(*line);
    } catch (const Error& error) {
      if (!lines.terminal()) throw;
      std::fprintf(stderr, "rondo: %s\n", UserText(error).c_str());
    }
  }
  return 0;
}

}  // namespace rondo::cli
