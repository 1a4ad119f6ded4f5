#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/machine.h"
#include "base/options.h"
#include "base/stopwatch.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/outputs.h"
#include "cli/quantize_report.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/quantize.h"
#include "rondo/speech_model.h"
#include "tensor/dtype_names.h"

namespace rondo::cli {
namespace {

[[noreturn]] void Fail(const char* flag, std::string problem, std::string expected) {
  throw UsageError({.function = "RunQuantize",
                    .problem = std::move(problem),
                    .expected = std::move(expected),
                    .file = {},
                    .field = flag});
}

OutputRules Rules(const QuantizeCommandOptions& options) {
  return {.inputs = {options.model, options.calibrate, options.evaluate}, .force = options.force};
}

uint64_t StoredBytes(const Weights& weights, const TensorTypes& types) {
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : weights) {
    const auto found = types.find(name);
    bytes += StorageBytes(found == types.end() ? DType::kF32 : found->second, tensor.shape());
  }
  return bytes;
}

// Before hours of work: what is written must be found again by its name.
void CheckTarget(const QuantizeCommandOptions& options, uint64_t bytes) {
  if (!options.out.ends_with(".gguf")) {
    Fail("--out", "'" + options.out + "'", "a name that ends in .gguf");
  }
  PrepareGguf(options.out, Rules(options), bytes);
  if (!options.svg.empty()) PrepareFile(options.svg, Rules(options), 0);
}

// Whether the file will have rondo's own layout; llama.cpp knows no shared layers.
bool WritesNative(GgufLayout layout, const SharingPlan& plan, const TensorTypes& types) {
  const bool shares = plan.SharesAnything() || plan.HasResiduals();
  const bool own = NeedsNativeGguf(types);
  if (layout == GgufLayout::kAuto) return shares || own;
  if (layout == GgufLayout::kRondo) return true;
  if (shares) {
    Fail("--layout", "a model with shared layers, residuals or prefix vectors",
         "rondo; or what `rondo export` unrolled, which is as large as before the fold");
  }
  if (own) {
    Fail("--layout", "q2_0, q2_1, q3_0 or q3_1, which llama.cpp does not know",
         "rondo; or types of 4 bits and more");
  }
  return false;
}

void Write(const Model& model, const TensorTypes& types, bool native, const std::string& out,
           ThreadPool& pool, bool quiet, const SaveOptions& save) {
  if (native) {
    SaveNativeGguf(model, out, types, pool, quiet, save);
  } else {
    ExportGguf(model, out, types, pool, quiet, save);
  }
}

// "q4_k as q5_0: 120 tensors", one for each pair of types.
std::string FallbackText(const std::vector<TypeFallback>& fallbacks) {
  std::map<std::string, int> counts;
  for (const TypeFallback& fallback : fallbacks) {
    ++counts[std::string(Info(fallback.wanted).name) + " as " +
             std::string(Info(fallback.used).name)];
  }
  std::vector<std::string> parts;
  for (const auto& [pair, count] : counts) {
    parts.push_back(pair + ": " + std::to_string(count) + " tensors");
  }
  return Join(parts, ", ");
}

// "q3_1: 120 tensors, q4_0: 30 tensors": the types of the matrices.
std::string TypesText(const TensorTypes& types) {
  std::map<std::string, int> counts;
  for (const auto& [name, type] : types) {
    if (type != DType::kF32) ++counts[ToText(type)];
  }
  std::vector<std::string> parts;
  for (const auto& [type, count] : counts) {
    parts.push_back(type + ": " + std::to_string(count) + " tensors");
  }
  return Join(parts, ", ");
}

// Types of all tensors by their names on disk.
TypeChoice ChooseSpeechTypes(const SpeechModel& model, const QuantizeOptions& options) {
  TypeChoice all;
  const auto add = [&](const std::string& prefix, const Model& part) {
    const TypeChoice choice = ChooseTypes(part, options);
    for (const auto& [name, type] : choice.types) all.types[prefix + name] = type;
    for (const TypeFallback& f : choice.fallbacks) {
      all.fallbacks.push_back({prefix + f.tensor, f.wanted, f.used});
    }
  };
  add("encoder.", model.encoder);
  if (model.decoder) add("decoder.", *model.decoder);
  for (const TensorSpec& spec : ExpectedHeadTensors(model.config, model.encoder.config.d_model)) {
    if (spec.shape.size() == 2) all.Add(spec.name, spec.shape, options.head);
  }
  return all;
}

// A directory with model.gguf, rounded to nearest.
int QuantizeSpeech(const QuantizeCommandOptions& options, const CommonOptions& common) {
  const Stopwatch watch;
  const SpeechModel model = LoadSpeechModel(options.model);
  const TypeChoice choice = ChooseSpeechTypes(model, options.types);
  PrepareDirectory(options.out, Rules(options), StoredBytes(JoinWeights(model), choice.types));
  SaveSpeechModel(model, options.out, choice.types, {.force = options.force});
  const SpeechModel written = LoadSpeechModel(options.out);
  Output out;
  out.Add("written", options.out);
  out.Add("type", ToText(options.types.type));
  out.Add("fallbacks", FallbackText(choice.fallbacks));
  out.Add("bytes_weights_before", static_cast<int64_t>(JoinWeights(model).bytes()));
  out.Add("bytes_weights", static_cast<int64_t>(JoinWeights(written).bytes()));
  out.Add("seconds", watch.Seconds());
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace

int RunQuantize(const QuantizeCommandOptions& options, const CommonOptions& common) {
  if (options.kind != ModelKind::kLanguage) return QuantizeSpeech(options, common);
  const Stopwatch watch;
  ThreadPool pool(common.threads);
  const Model model = LoadAdapted(options.model, common, pool);
  const TypeChoice choice = ChooseTypes(model, options.types);
  const bool native = WritesNative(options.layout, model.plan, choice.types);
  CheckTarget(options, StoredBytes(model.weights, choice.types));
  const SaveOptions save = {.force = options.force};
  if (options.calibrate.empty()) {
    Write(model, choice.types, native, options.out, pool, common.quiet, save);
  } else {
    const auto tokens = EncodeFile(*LoadTokenizer(model.path), options.calibrate);
    WarnOfFewTokens(options.calibrate, tokens.size(), options.calibrate_tokens, 0);
    const Model fitted =
        QuantizeCalibrated(model, choice.types, tokens,
                           {.context = Positions("--calibrate-context", options.calibrate_context,
                                                 QuantizeCalibration().context, model.config),
                            .max_tokens = options.calibrate_tokens},
                           pool, common.quiet);
    Write(fitted, choice.types, native, options.out, pool, common.quiet, save);
  }
  const double seconds = watch.Seconds();

  const Model written = LoadModel(options.out);
  Output out;
  out.Add("written", options.out);
  out.Add("architecture", native ? std::string("rondo") : "llama.cpp, " + model.config.family);
  out.Add("type", ToText(options.types.type));
  out.Add("types", TypesText(choice.types));
  out.Add("calibrated", !options.calibrate.empty());
  out.Add("fallbacks", FallbackText(choice.fallbacks));
  out.Add("bytes", static_cast<int64_t>(std::filesystem::file_size(options.out)));
  out.Add("bytes_weights_before", static_cast<int64_t>(model.weights.bytes()));
  out.Add("bytes_weights", static_cast<int64_t>(written.weights.bytes()));
  out.Add("seconds", seconds);
  out.Add("peak_memory_bytes", PeakMemoryBytes());  // the report below takes memory of its own
  AddTensorErrors(model, written, common, &out);
  if (!options.evaluate.empty()) AddErrorGrowth(model, written, options, common, pool, &out);
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
