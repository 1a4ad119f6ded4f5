#include "base/file.h"
#include "base/machine.h"
#include "cli/output.h"
#include "cli/session.h"

namespace rondo::cli {

int RunEval(const EvalOptions& options, const CommonOptions& common) {
  if (!options.tasks.tasks.empty()) return RunEvalTasks(options, common);
  if (!options.speech.manifest.empty()) {
    RefuseAdapters(common);
    return RunEvalSpeech(options, common);
  }
  ThreadPool pool(common.threads);
  const EngineOptions engine_options = ToEngineOptions(options.text.type, options.text.kv);
  const Model model = LoadAdapted(options.model, common, pool);
  const auto tokenizer = LoadTokenizer(model.path);
  const auto tokens = EncodeFile(*tokenizer, options.text.text);
  const Engine engine(model, engine_options, pool);
  const PerplexityResult result = Perplexity(engine, tokens, ToWindows(options.text, common));
  Output out;
  out.Add("perplexity", result.perplexity);
  out.Add("nll", result.nll);
  out.Add("tokens", result.tokens);
  out.Add("windows", result.windows);
  out.Add("context", options.text.context);
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

int RunCompare(const CompareOptions& options, const CommonOptions& common) {
  ThreadPool pool(common.threads);
  const EngineOptions engine_options = ToEngineOptions(options.text.type, options.text.kv);
  const Model a = LoadModel(options.model_a);
  const Model b = LoadModel(options.model_b);
  const auto tokens = EncodeFile(*LoadTokenizer(a.path), options.text.text);
  const Engine engine_a(a, engine_options, pool);
  const Engine engine_b(b, engine_options, pool);
  const Divergence d = Compare(engine_a, engine_b, tokens, ToWindows(options.text, common));
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
