// `rondo fold --suggest`, and what it shares with calibrated folding.
#pragma once

#include <cstdint>
#include <vector>

#include "cli/options.h"
#include "rondo/calibrate.h"

namespace rondo {
class ThreadPool;
}

namespace rondo::cli {

// Token ids of the --calibrate text, by the model's own tokenizer.
std::vector<int32_t> CalibrationTokens(const Model& model, const FoldCommandOptions& options);

CalibrateOptions ToCalibrateOptions(const FoldCommandOptions& options, const ModelConfig& config);

// Measures the model and writes plans (JSON), the curve (JSON) and heat maps (SVG) to options.out.
int RunSuggest(const Model& model, const FoldOptions& fold, const FoldCommandOptions& options,
               const CommonOptions& common, ThreadPool& pool);

}  // namespace rondo::cli
