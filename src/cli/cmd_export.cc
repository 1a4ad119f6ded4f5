#include <cstdio>

#include "base/strings.h"
#include "base/with_file.h"
#include "cli/options_visit.h"
#include "cli/output.h"
#include "cli/session.h"
#include "rondo/export.h"
#include "rondo/ffn_width.h"
#include "rondo/fold.h"

namespace rondo::cli {

int RunExport(const ExportCommandOptions& options, const CommonOptions& common) {
  const bool native = options.format == ExportFormat::kNative;
  ThreadPool pool(common.threads);
  Model model = LoadModel(options.model);
  if (!native) model = Unroll(model, pool);
  model = WithFile(
      {}, [&] { return CutFfn(model, options.ffn_width); }, "--ffn-width");
  if (native) {
    SaveModel(model, options.out, options.type);
  } else if (options.format == ExportFormat::kHf) {
    ExportHf(model, options.out, options.type);
  } else {
    ExportGguf(model, options.out, UniformTypes(model, options.type), pool);
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
