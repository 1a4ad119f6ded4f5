// What every command that runs a model needs: threads, the loaded model, its tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/options.h"
#include "rondo/engine.h"
#include "rondo/eval.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"
#include "rondo/tokenizer.h"

namespace rondo::cli {

// The language model of a command with its --adapter merged.
Model Adapted(Model model, const CommonOptions& common, ThreadPool& pool);
Model LoadAdapted(const std::string& path, const CommonOptions& common, ThreadPool& pool);

// Warns when a calibration will see fewer tokens than were asked for, or than `least`.
void WarnOfFewTokens(const std::string& text, size_t tokens, int64_t asked, int64_t least);

// Token ids of a text file, with the special tokens the tokenizer adds at its start.
std::vector<int32_t> EncodeFile(const Tokenizer& tokenizer, const std::string& file);

// What the user gave, else the usual number, or `room` where that is less, which standard error
// says.
int Fitting(const char* flag, const std::optional<int>& given, int usual, int room);
// The same of the model's positions. Throws where the user gave more.
int Positions(const char* flag, const std::optional<int>& given, int usual,
              const ModelConfig& config);

WindowOptions ToWindows(const TextOptions& text, const ModelConfig& config,
                        const CommonOptions& common);

}  // namespace rondo::cli
