// What every command that runs a model needs: threads, the loaded model, its tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"
#include "rondo/engine.h"
#include "rondo/eval.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"

namespace rondo::cli {

// The model of a command with its --adapter merged.
Model LoadAdapted(const std::string& path, const CommonOptions& common, ThreadPool& pool);
// Throws if --adapter was given; for speech models, which take none.
void RefuseAdapters(const CommonOptions& common);

// Warns when a calibration will see fewer tokens than were asked for, or than `least`.
void WarnOfFewTokens(const std::string& text, size_t tokens, int64_t asked, int64_t least);

// A type to store matrices in: f32, bf16 or f16. Throws naming the flag.
DType ParseStoredType(const char* flag, const std::string& name);

// Token ids of a text file, with the special tokens the tokenizer adds at its start.
std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file);

// How --type and --kv pack a model; "auto" leaves a choice open. Throws naming the flag.
EngineOptions ToEngineOptions(const std::string& type, const std::string& kv);

WindowOptions ToWindows(const TextOptions& text, const CommonOptions& common);

}  // namespace rondo::cli
