// The options of every command: the library's structs, and what is asked of the command itself.
// options_visit.h lists their fields; the commands read nothing else.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/transcript_printer.h"
#include "eval/bench.h"
#include "eval/exit_curve.h"
#include "rondo/any_model.h"
#include "rondo/calibrate.h"
#include "rondo/engine.h"
#include "rondo/fold.h"
#include "rondo/generate.h"
#include "rondo/quantize.h"
#include "rondo/transcribe.h"

namespace rondo::cli {

struct CommonOptions {
  bool json = false;
  bool quiet = false;
  int threads = 0;
  std::string simd = "auto";
  std::string pre_tokenizer;
  std::vector<std::string> adapters;
};

// What stands at a path, as far as flags depend on it; what no model is counts as kLanguage.
enum class ModelKind { kLanguage, kSpeech, kWhisper };
ModelKind ModelKindOf(const std::string& path);

// How to share; plan_flags.cc makes a plan of it.
struct PlanFlags {
  std::string order = "cycle";  // one order, or attention=…,ffn=…,norms=…
  std::string loops = "2";      // one number, or attention=…,ffn=…,norms=…
  int keep_first = 1;
  int keep_last = 1;
  std::string plan_file;
  bool whole_plan = false;       // it is a plan in JSON, which says all by itself
  std::optional<InitKind> init;  // nullopt: average with residuals, stepwise without
  std::string rank = "64";       // one number, or q=32,ffn=128,…
  FoldOptions fold;              // residual, residual_start, norms, tie_biases, prefix, seed
};

struct InspectOptions {
  std::string model;
  PlanFlags plan;
  bool what_if = false;  // any plan flag given: show that plan instead of the model's own
};

struct FoldCommandOptions {
  std::string model;
  ModelKind kind = ModelKind::kLanguage;
  bool force = false;  // replace what rondo did not write
  std::string out;
  PlanFlags plan;
  std::string calibrate;  // text file; manifest for a speech model
  CalibrateOptions fit;   // max_tokens, allocate_ranks
  std::optional<int> calibrate_context;
  bool suggest = false;
  DType store = DType::kF32;
};

struct TextOptions {
  std::string text;
  std::optional<int> context;
  int stride = 0;
  int64_t max_tokens = 0;
};

struct TaskFlags {
  std::vector<std::string> tasks;  // empty: none
  std::string data = ".";
  int shots = 0;
  int64_t limit = 0;
  uint32_t seed = 1234;
  std::string loops = "last";  // last, all, or a number
  std::string resume;
};

struct SpeechFlags {
  std::string manifest;  // empty: no speech
  ModelKind kind = ModelKind::kSpeech;
  std::string audio;
  std::vector<std::string> ids;
  int64_t limit = 0;
  SearchOptions search;  // kind, beam, translate
  bool plain = false;
  std::optional<int> chunk;
  int left_chunks = -1;
  std::string hypotheses;
};

struct EvalOptions {
  std::string model;
  TextOptions text;
  TaskFlags tasks;
  SpeechFlags speech;
  EngineOptions engine;
};

struct CompareOptions {
  std::string model_a, model_b;
  TextOptions text;
  EngineOptions engine;
};

struct CalibrateExitOptions {
  std::string model;
  bool force = false;  // replace what rondo did not write
  TextOptions text;
  EngineOptions engine;
  ExitCurveOptions exit;
  std::string fit_gate;  // model to write, with a learned gate; empty: none
  std::string svg;
};

struct SampleFlags {
  GenerateOptions generate{.max_new_tokens = 128};
  std::optional<float> exit_threshold;
  EngineOptions engine{.weights = std::nullopt};
};

struct GenerateCommandOptions {
  std::string model;
  std::string prompt;
  std::string prompt_file;  // "-": standard input
  bool chat = false;
  std::string chat_template;  // file in place of the model's own
  SampleFlags sample;
};

struct ChatCommandOptions {
  std::string model;
  std::string system;
  std::string chat_template;  // file in place of the model's own
  // Where the model's generation_config.json says nothing.
  SampleFlags sample{
      .generate{.sampling = {.temperature = 0.7f, .top_p = 0.9f}, .max_new_tokens = 512}};
};

enum class ExportFormat { kHf, kGguf, kNative };

struct ExportCommandOptions {
  std::string model;
  bool force = false;  // replace what rondo did not write
  ExportFormat format = ExportFormat::kHf;
  double ffn_width = 1;
  std::string out;
  DType type = DType::kF32;
};

enum class GgufLayout { kAuto, kRondo, kLlamaCpp };

struct QuantizeCommandOptions {
  std::string model;
  ModelKind kind = ModelKind::kLanguage;
  bool force = false;  // replace what rondo did not write
  std::string out;
  QuantizeOptions types;
  GgufLayout layout = GgufLayout::kAuto;
  std::string calibrate;
  int64_t calibrate_tokens = 16384;
  std::optional<int> calibrate_context;
  std::string evaluate;
  int64_t evaluate_tokens = 8192;
  std::optional<int> evaluate_context;
  std::string svg;
};

struct CompressCommandOptions {
  std::string model;
  bool force = false;  // begin anew
  std::string out;
  std::string text;
  std::string target_size;   // "60MB"
  double target_params = 0;  // a share, or a number above 1; 0: not asked for
  std::string target_speed;  // "2x"
  double minutes = 0;
  std::vector<std::string> only;
  int64_t search_tokens = 1024;
  int64_t calibrate_tokens = 16384;
};

struct BenchCommandOptions {
  std::string model;
  BenchOptions bench;  // batch, context, repeat
  std::optional<int> prefill, decode;
  EngineOptions engine{.weights = std::nullopt};
  bool depth_batching = false;
  std::vector<double> exit_share;
  bool follow_text = false;
  int requests = 0;
  ExitOptions exit{.rule = ExitRule::kTrace, .skipped_kv = SkippedKv::kLastLoop};
  std::string text;
};

struct TranscribeCommandOptions {
  std::string model;
  ModelKind kind = ModelKind::kSpeech;
  std::vector<std::string> audio;
  TranscribeOptions transcribe{.type = std::nullopt};  // type, language, search
  bool stream = false;
  double partial = 2;
  int pcm_rate = 16000;
  TranscriptFormat format = TranscriptFormat::kText;
  double silence = -55;  // dB of full scale
  bool no_words = false;
  bool no_timestamps = false;
  int memory_mib = 256;
};

struct ReportCommandOptions {
  std::vector<std::string> runs;
  std::string out;
  std::string csv;
  std::string tensorboard;
};

struct DoctorOptions {};

int RunInspect(const InspectOptions& options, const CommonOptions& common);
int RunFold(const FoldCommandOptions& options, const CommonOptions& common);
// The part of RunFold for speech models.
int FoldSpeech(SpeechModel model, const FoldCommandOptions& options, const CommonOptions& common);
int RunEval(const EvalOptions& options, const CommonOptions& common);
int RunEvalTasks(const EvalOptions& options, const CommonOptions& common);
int RunEvalSpeech(const EvalOptions& options, const CommonOptions& common);
// The part of RunInspect for speech models.
int InspectSpeech(SpeechModel model, const InspectOptions& options, const CommonOptions& common);
int RunCalibrateExit(const CalibrateExitOptions& options, const CommonOptions& common);
int RunCompare(const CompareOptions& options, const CommonOptions& common);
int RunGenerate(const GenerateCommandOptions& options, const CommonOptions& common);
int RunChat(const ChatCommandOptions& options, const CommonOptions& common);
int RunQuantize(const QuantizeCommandOptions& options, const CommonOptions& common);
int RunCompress(const CompressCommandOptions& options, const CommonOptions& common);
int RunExport(const ExportCommandOptions& options, const CommonOptions& common);
int RunBench(const BenchCommandOptions& options, const CommonOptions& common);
int RunTranscribe(const TranscribeCommandOptions& options, const CommonOptions& common);
int RunReport(const ReportCommandOptions& options, const CommonOptions& common);
int RunDoctor(const DoctorOptions& options, const CommonOptions& common);
// Becomes rondo-train with these arguments; does not return.
int RunTrain(const std::vector<std::string>& arguments);

}  // namespace rondo::cli
