// Continues a text and prints every piece as soon as it is certain.
//
//   example_generate MODEL PROMPT [NEW_TOKENS]
#include "rondo/generate.h"

#include <exception>
#include <iostream>
#include <string>
#include <string_view>

#include "rondo/engine.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"

namespace {

void Run(const std::string& path, const std::string& prompt, int new_tokens) {
  rondo::ThreadPool pool;
  const rondo::Model model = rondo::LoadModel(path);
  const auto tokenizer = rondo::LoadTokenizer(path);
  const rondo::Engine engine(model, {}, pool);

  rondo::GenerateOptions options;
  options.max_new_tokens = new_tokens;
  options.sampling = {.temperature = 0.7f, .top_p = 0.9f, .seed = 1};

  std::cout << prompt;
  const auto print = [](std::string_view text) {
    std::cout << text << std::flush;
    return true;  // false would end the text here
  };
  const rondo::Generation result =
      rondo::Generate(engine, *tokenizer, tokenizer->Encode(prompt), options, print);
  std::cout << '\n';
  std::cerr << result.tokens.size() << " tokens, ended by: " << Name(result.reason) << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 4) {
    std::cerr << "usage: example_generate MODEL PROMPT [NEW_TOKENS]\n";
    return 2;
  }
  try {
    Run(argv[1], argv[2], argc == 4 ? std::stoi(argv[3]) : 64);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
