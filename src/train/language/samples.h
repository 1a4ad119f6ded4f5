// What a model in training writes.
#pragma once

#include <string>
#include <vector>

#include "rondo/model.h"
#include "rondo/tokenizer.h"

namespace rondo {

// Greedy continuations of `prompts` by the engine, each with its prompt; up to `new_tokens` each.
std::vector<std::string> Samples(const Model& model, const Tokenizer& tokenizer,
                                 const std::vector<std::string>& prompts, int new_tokens,
                                 int threads);

}  // namespace rondo
