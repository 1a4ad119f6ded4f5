// What `rondo quantize` reports about the file it wrote: errors of tensors, and how they grow from
// depth to depth and from loop to loop.
#pragma once

#include "cli/options.h"
#include "cli/output.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo::cli {

// Relative error ‖Ŵ − W‖ / ‖W‖ of every matrix, and of shared matrix and residual merged
// ("merged.<depth>.<module>") where a depth has a residual, whose factors alone say nothing; in the
// text form a table of means by module.
void AddTensorErrors(const Model& model, const Model& written, const CommonOptions& common,
                     Output* out);

// Both models side by side on the --evaluate text.
void AddErrorGrowth(const Model& model, const Model& written, const QuantizeCommandOptions& options,
                    const CommonOptions& common, ThreadPool& pool, Output* out);

}  // namespace rondo::cli
