#include <cstdio>

#include "base/strings.h"
#include "base/warn.h"
#include "base/with_file.h"
#include "cli/options_visit.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/session.h"
#include "rondo/export.h"
#include "rondo/ffn_width.h"
#include "rondo/fold.h"

namespace rondo::cli {
namespace {

// Other programs know no shared layers: each use becomes a layer of its own.
void WarnOfUnrolling(const Model& model, DType type) {
  if (!model.plan.SharesAnything()) return;
  const auto parameters = CountParameters(model.config, IdentityPlan(model.config)).Total();
  const auto bytes = static_cast<uint64_t>(parameters * Info(type).block_bytes);
  Warn("export unrolls the shared layers, so that what they save is lost: about " +
       HumanBytes(bytes) + " will be written; `rondo quantize` keeps them shared");
}

}  // namespace

int RunExport(const ExportCommandOptions& options, const CommonOptions& common) {
  const bool native = options.format == ExportFormat::kNative;
  ThreadPool pool(common.threads);
  Model model = LoadAdapted(options.model, common, pool);
  const OutputRules rules = {.inputs = {options.model}, .force = options.force};
  const SaveOptions save = {.force = options.force};
  const SharingPlan plan = native ? model.plan : IdentityPlan(model.config);
  const uint64_t bytes = BytesToWrite(model.config, plan, options.type);
  if (options.format == ExportFormat::kGguf) {
    PrepareGguf(options.out, rules, bytes);
  } else {
    PrepareDirectory(options.out, rules, bytes);
  }
  if (!native) {
    WarnOfUnrolling(model, options.type);
    model = Unroll(model, pool);
  }
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
