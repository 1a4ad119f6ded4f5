#include <cstdio>

#include "base/strings.h"
#include "base/with_file.h"
#include "cli/options_visit.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/session.h"
#include "rondo/export.h"
#include "rondo/ffn_width.h"
#include "rondo/fold.h"

namespace rondo::cli {

int RunExport(const ExportCommandOptions& options, const CommonOptions& common) {
  const bool native = options.format == ExportFormat::kNative;
  ThreadPool pool(common.threads);
  Model model = LoadModel(options.model);
  const OutputRules rules = {.inputs = {options.model}, .force = options.force};
  const SaveOptions save = {.force = options.force};
  const SharingPlan plan = native ? model.plan : IdentityPlan(model.config);
  const uint64_t bytes = StoredBytes(model.config, plan, options.type);
  if (options.format == ExportFormat::kGguf) {
    PrepareGguf(options.out, rules, bytes);
  } else {
    PrepareDirectory(options.out, rules, bytes);
  }
  if (!native) model = Unroll(model, pool);
  model = WithFile(
      {}, [&] { return CutFfn(model, options.ffn_width); }, "--ffn-width");
  if (native) {
    SaveModel(model, options.out, options.type, save);
  } else if (options.format == ExportFormat::kHf) {
    ExportHf(model, options.out, options.type, save);
  } else {
    ExportGguf(model, options.out, UniformTypes(model, options.type), pool, common.quiet, save);
  }
  Output out;
  out.Add("written", options.out);
  out.Add("format", ToText(options.format));
  out.Add("family", model.config.family);
  out.Add("layers", model.config.layers);
  out.Add("d_ff", model.config.d_ff);
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
