#include "cli/commands.h"

#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <string>

#include "base/byte_source.h"
#include "cli/chat_defaults.h"
#include "cli/command_line.h"
#include "cli/options_visit.h"
#include "cli/plan_flags.h"
#include "kernels/simd_targets.h"
#include "rondo/speech_model.h"
#include "rondo/tokenizer.h"

namespace rondo::cli {
namespace {

// Whether any flag that counts was given.
class AnyGiven {
 public:
  explicit AnyGiven(const Flags& flags) : flags_(flags) {}
  template <typename T>
  void operator()(const Field& field, T&) {
    any = any || flags_.Given(field.name);
  }
  bool any = false;

 private:
  const Flags& flags_;
};

// What flags depend on beside each other: the files they name.
template <typename Options>
void Settle(Options&, const Flags&) {}

void Settle(PlanFlags& plan) { plan.whole_plan = IsWholePlan(plan.plan_file); }

void Settle(InspectOptions& o, const Flags& flags) {
  Settle(o.plan);
  AnyGiven given(flags);
  Visit(o.plan, {.inspect = true}, given);
  o.what_if = given.any;
}

void Settle(FoldCommandOptions& o, const Flags&) {
  Settle(o.plan);
  o.kind = ModelKindOf(o.model);
}

void Settle(QuantizeCommandOptions& o, const Flags&) {
  o.kind = ModelKindOf(o.model);
  if (IsStandardInput(o.calibrate) && IsStandardInput(o.evaluate)) {
    throw UsageError({.function = "RunQuantize",
                      .problem = "standard input again, which --calibrate reads already",
                      .expected = "a file for one of them",
                      .field = "--evaluate"});
  }
}

void Settle(GenerateCommandOptions& o, const Flags& flags) {
  const bool piped = isatty(STDIN_FILENO) == 0 && fcntl(STDIN_FILENO, F_GETFD) != -1;
  if (piped && !flags.Given("prompt") && !flags.Given("prompt_file")) o.prompt_file = "-";
}

// What nobody asked for is as the model's authors advise.
void Settle(ChatCommandOptions& o, const Flags& flags) {
  SamplingOptions& sampling = o.sample.generate.sampling;
  const SamplingOptions asked = sampling;
  ReadGenerationConfig(o.model, &sampling);
  if (flags.Given("temperature")) sampling.temperature = asked.temperature;
  if (flags.Given("top_k")) sampling.top_k = asked.top_k;
  if (flags.Given("top_p")) sampling.top_p = asked.top_p;
  if (flags.Given("min_p")) sampling.min_p = asked.min_p;
  if (flags.Given("repetition_penalty")) sampling.repetition_penalty = asked.repetition_penalty;
  // People who ask again want another answer; programs that do want the same.
  if (isatty(STDIN_FILENO) == 1 && !flags.Given("seed")) sampling.seed = std::random_device()();
}

void Settle(TranscribeCommandOptions& o, const Flags&) { o.kind = ModelKindOf(o.model); }

void Settle(EvalOptions& o, const Flags&) {
  if (!o.speech.manifest.empty()) {
    o.speech.kind = ModelKindOf(o.model);
  } else if (o.text.text.empty() && o.tasks.tasks.empty()) {
    throw UsageError({.function = "RunEval",
                      .problem = "nothing to evaluate on",
                      .expected = "--text, --tasks or --speech"});
  }
}

// Whether a command takes --adapter, and when it counts.
template <typename Options>
inline constexpr bool kAdapts = false;
template <>
inline constexpr bool kAdapts<FoldCommandOptions> = true;
template <>
inline constexpr bool kAdapts<EvalOptions> = true;
template <>
inline constexpr bool kAdapts<CalibrateExitOptions> = true;
template <>
inline constexpr bool kAdapts<GenerateCommandOptions> = true;
template <>
inline constexpr bool kAdapts<ChatCommandOptions> = true;
template <>
inline constexpr bool kAdapts<QuantizeCommandOptions> = true;
template <>
inline constexpr bool kAdapts<ExportCommandOptions> = true;
template <>
inline constexpr bool kAdapts<BenchCommandOptions> = true;

template <typename Options>
bool RunsLanguageModel(const Options& o) {
  if constexpr (requires { o.kind; }) {
    return o.kind == ModelKind::kLanguage;
  } else if constexpr (requires { o.speech.manifest; }) {
    return o.speech.manifest.empty();
  } else {
    return true;
  }
}

template <typename Options, typename Visitor>
void VisitCommon(const Options& options, CommonOptions& common, Visitor& v, const Condition& json) {
  Visit(common, v, json);
  if constexpr (kAdapts<Options>) {
    VisitAdapters(common, v, {RunsLanguageModel(options), "for language models"});
  }
}

template <typename Options>
void Add(Program& program, const std::shared_ptr<CommonOptions>& common, const char* name,
         const char* help, int (*run)(const Options&, const CommonOptions&)) {
  const Condition json = {!std::is_same_v<Options, ChatCommandOptions>, "where there is a report"};
  const auto options = std::make_shared<Options>();
  const auto flags = std::make_shared<Flags*>();
  *flags = &program.Add(name, help, [=] {
    Settle(*options, **flags);
    IdleFlags idle(**flags);
    Visit(*options, idle);
    VisitCommon(*options, *common, idle, json);
    SetKernelTarget(common->simd);
    SetPreTokenizer(common->pre_tokenizer);
    return run(*options, *common);
  });
  Visit(*options, **flags);
  VisitCommon(*options, *common, **flags, json);
}

}  // namespace

ModelKind ModelKindOf(const std::string& path) {
  // The command itself says what is wrong with a language model.
  if (!IsSpeechModel(path)) return ModelKind::kLanguage;
  const SpeechModel model = LoadSpeechModel(path, LoadParts::kConfig);
  return model.config.whisper ? ModelKind::kWhisper : ModelKind::kSpeech;
}

int ParseAndRun(int argc, const char* const* argv) {
  Program program("rondo", "rondo: fold a transformer into layers that return");
  const auto common = std::make_shared<CommonOptions>();
  const auto add = [&](const char* name, const char* help, auto run) {
    Add(program, common, name, help, run);
  };
  add("inspect", "show layers, ties, parameters and bytes of a model, or of a plan for it",
      RunInspect);
  add("fold", "make a smaller model whose layers share their matrices", RunFold);
  program.AddForeign("train", "train a model as a recipe says", RunTrain);
  add("eval", "measure perplexity on text, scores on tasks, errors on speech", RunEval);
  add("compare", "measure how far two models' outputs are apart", RunCompare);
  add("calibrate-exit", "measure what leaving the loops early saves and costs, by threshold",
      RunCalibrateExit);
  add("generate", "continue a prompt", RunGenerate);
  add("chat", "talk with a model, a line at a time", RunChat);
  add("quantize", "write a model in blocks of 2 to 8 bits, as GGUF", RunQuantize);
  add("compress", "choose, by measurement, the best model under a budget", RunCompress);
  add("export", "write a model for transformers or llama.cpp, or a narrower one", RunExport);
  add("bench", "measure a model's speed beside what the machine's memory allows", RunBench);
  add("transcribe", "write down speech, with times of words", RunTranscribe);
  add("report", "show training runs side by side", RunReport);
  add("doctor", "show what this machine has and what is missing", RunDoctor);
  return program.Run(argc, argv);
}

}  // namespace rondo::cli
