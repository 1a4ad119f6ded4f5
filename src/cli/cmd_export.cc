#include <cstdio>

#include "base/strings.h"
#include "cli/output.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/export.h"
#include "rondo/fold.h"

namespace rondo::cli {

int RunExport(const ExportCommandOptions& options, const CommonOptions& common) {
  if (options.format != "hf" && options.format != "gguf") {
    throw Error({.function = "RunExport",
                 .problem = "unknown format '" + options.format + "'",
                 .expected = "hf or gguf",
                 .field = "--format"});
  }
  ThreadPool pool(common.threads);
  const DType type = ParseStoredType("--type", options.type);
  const Model model = Unroll(LoadModel(options.model), pool);
  if (options.format == "hf") {
    ExportHf(model, options.out, type);
  } else {
    ExportGguf(model, options.out, UniformTypes(model, type), pool);
  }
  Output out;
  out.Add("written", options.out);
  out.Add("format", options.format);
  out.Add("family", model.config.family);
  out.Add("layers", model.config.layers);
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
