// Token shards: both files, for a vocabulary with ids of two bytes.
#include <vector>

#include "corpus/shard.h"
#include "fuzz/input.h"

using namespace rondo;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parts = fuzz::Parts(fuzz::Text(data, size), 2);
  fuzz::WriteInput("shard.tokens", parts[0]);
  fuzz::WriteInput("shard.documents", parts[1]);
  fuzz::Refusable([] {
    const Shard shard(fuzz::InputDirectory() + "/shard",
                      {.tokenizer = 1, .vocab_size = 1000, .key = 2});
    std::vector<int32_t> tokens(static_cast<size_t>(shard.tokens()));
    shard.Read(0, tokens);
  });
  return 0;
}
