// Writes raw logits, for comparison with other programs.
//
//   rondo_logits MODEL f32|bf16 STEPWISE < ids > logits
//
// Reads token ids as text from standard input and writes [tokens, vocab] f32 to standard output.
// The first tokens are read in one prefill, the last STEPWISE one at a time, each by a decode step.
#include <cstdio>
#include <exception>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include "rondo/engine.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace {

void Run(const std::string& path, const std::string& type, size_t stepwise) {
  std::vector<int32_t> tokens;
  for (int32_t id; std::cin >> id;) tokens.push_back(id);
  if (stepwise >= tokens.size()) {
    throw rondo::Error({.function = "rondo_logits", .problem = "no tokens left for the prefill"});
  }
  rondo::ThreadPool pool;
  const rondo::Engine engine(rondo::LoadModel(path), {.weights = rondo::DTypeFromName(type)}, pool);
  rondo::KvCache cache = engine.NewCache(static_cast<int>(tokens.size()));
  const std::span<const int32_t> all(tokens);
  const size_t first = all.size() - stepwise;
  const auto write = [](const std::vector<float>& logits) {
    std::fwrite(logits.data(), sizeof(float), logits.size(), stdout);
  };
  write(engine.Prefill(cache, all.first(first), /*all_logits=*/true));
  rondo::KvCache* caches[] = {&cache};
  for (size_t i = first; i < all.size(); ++i) write(engine.Decode(caches, all.subspan(i, 1)));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 4) throw rondo::Error({.problem = "three arguments wanted"});
    Run(argv[1], argv[2], std::stoul(argv[3]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rondo_logits: %s\n", error.what());
    return 1;
  }
}
