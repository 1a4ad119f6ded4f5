#include "base/file.h"
#include "base/machine.h"
#include "cli/output.h"
#include "cli/session.h"

namespace rondo::cli {

int RunEval(const EvalOptions& options, const CommonOptions& common) {
  if (!options.tasks.tasks.empty()) return RunEvalTasks(options, common);
  if (!options.speech.manifest.empty()) return RunEvalSpeech(options, common);
  ThreadPool pool(common.threads);
  const Model model = LoadAdapted(options.model, common, pool);
  const auto tokenizer = LoadTokenizer(model.path);
  const auto tokens = EncodeFile(*tokenizer, options.text.text);
  const Engine engine(model, options.engine, pool);
  const WindowOptions windows = ToWindows(options.text, model.config, common);
  const PerplexityResult result = Perplexity(engine, tokens, windows);
  Output out;
  out.Add("perplexity", result.perplexity);
  out.Add("nll", result.nll);
  out.Add("tokens", result.tokens);
  out.Add("windows", result.windows);
  out.Add("context", windows.context);
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

int RunCompare(const CompareOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const Model a = LoadModel(options.model_a);
  const Model b = LoadModel(options.model_b);
  const auto tokens = EncodeFile(*LoadTokenizer(a.path), options.text.text);
  const Engine engine_a(a, options.engine, pool);
  const Engine engine_b(b, options.engine, pool);
  const Model& shorter = b.config.max_positions < a.config.max_positions ? b : a;
  const Divergence d =
      Compare(engine_a, engine_b, tokens, ToWindows(options.text, shorter.config, common));
  Output out;
  out.Add("max_abs_logit_diff", d.max_abs_logit_diff);
  out.Add("mean_abs_logit_diff", d.mean_abs_logit_diff);
  out.Add("max_abs_logit", d.max_abs_logit);
  out.Add("kl", d.kl);
  out.Add("top1_agreement", d.top1_agreement);
  out.Add("positions", d.positions);
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
