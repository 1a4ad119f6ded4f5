#include "train/language/samples.h"

#include "rondo/generate.h"
#include "rondo/thread_pool.h"

namespace rondo {

std::vector<std::string> Samples(const Model& model, const Tokenizer& tokenizer,
                                 const std::vector<std::string>& prompts, int new_tokens,
                                 int threads) {
  if (prompts.empty()) return {};
  ThreadPool pool(threads);
  const Engine engine(model, {}, pool);
  std::vector<std::string> texts;
  for (const std::string& prompt : prompts) {
    const GenerateOptions options{.max_new_tokens = new_tokens};
    texts.push_back(prompt + Generate(engine, tokenizer, tokenizer.Encode(prompt), options).text);
  }
  return texts;
}

}  // namespace rondo
