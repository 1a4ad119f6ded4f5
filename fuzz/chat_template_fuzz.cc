// Chat templates: parsed, and run on a conversation.
#include <vector>

#include "fuzz/input.h"
#include "text/jinja/chat_template.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ChatTemplate source = {.source = std::string(fuzz::Text(data, size)),
                               .file = "model",
                               .bos_token = "<s>",
                               .eos_token = "</s>"};
  const std::vector<ChatMessage> messages = {
      {"system", "Be brief."}, {"user", "H\xC3\xA9 "}, {"assistant", "Yo"}, {"user", "1"}};
  fuzz::Refusable([&] { RenderChatTemplate(source, messages, true); });
  return 0;
}
