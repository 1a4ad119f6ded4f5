#include <cstdio>

#include "base/strings.h"
#include "base/with_file.h"
#include "cli/output.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/export.h"
#include "rondo/ffn_width.h"
#include "rondo/fold.h"

namespace rondo::cli {

int RunExport(const ExportCommandOptions& options, const CommonOptions& common) {
  const bool native = options.format == "native";
  if (!native && options.format != "hf" && options.format != "gguf") {
    throw Error({.function = "RunExport",
                 .problem = "unknown format '" + options.format + "'",
                 .expected = "hf, gguf or native",
                 .field = "--format"});
  }
  ThreadPool pool(common.threads);
  const DType type = ParseStoredType("--type", options.type);
  Model model = LoadModel(options.model);
  if (!native) model = Unroll(model, pool);
  model = WithFile(
      {}, [&] { return CutFfn(model, options.ffn_width); }, "--ffn-width");
  if (native) {
    SaveModel(model, options.out, type);
  } else if (options.format == "hf") {
    ExportHf(model, options.out, type);
  } else {
    ExportGguf(model, options.out, UniformTypes(model, type), pool);
  }
  Output out;
  out.Add("written", options.out);
  out.Add("format", options.format);
  out.Add("family", model.config.family);
  out.Add("layers", model.config.layers);
  out.Add("d_ff", model.config.d_ff);
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
