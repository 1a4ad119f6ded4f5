// What every command that runs a model needs: threads, the loaded model, its tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cli/options.h"
#include "rondo/engine.h"
#include "rondo/eval.h"
#include "rondo/model.h"
#include "rondo/tokenizer.h"

namespace rondo::cli {

// f32 or bf16 (f16 too where `allow_f16`); throws naming the flag.
DType ParseType(const char* flag, const std::string& name, bool allow_f16);

// Token ids of a text file, with the special tokens the tokenizer adds at its start.
std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file);

WindowOptions ToWindows(const TextOptions& text, const CommonOptions& common);

}  // namespace rondo::cli
