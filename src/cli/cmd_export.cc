#include <cstdio>

#include "base/strings.h"
#include "base/with_file.h"
#include "cli/output.h"
#include "cli/outputs.h"
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
  const OutputRules rules = {.inputs = {options.model}, .force = options.force};
  const SaveOptions save = {.force = options.force};
  const SharingPlan plan = native ? model.plan : IdentityPlan(model.config);
  const uint64_t bytes = StoredBytes(model.config, plan, type);
  if (options.format == "gguf") {
    PrepareGguf(options.out, rules, bytes);
  } else {
    PrepareDirectory(options.out, rules, bytes);
  }
  if (!native) model = Unroll(model, pool);
  model = WithFile(
      {}, [&] { return CutFfn(model, options.ffn_width); }, "--ffn-width");
  if (native) {
    SaveModel(model, options.out, type, save);
  } else if (options.format == "hf") {
    ExportHf(model, options.out, type, save);
  } else {
    ExportGguf(model, options.out, UniformTypes(model, type), pool, common.quiet, save);
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
