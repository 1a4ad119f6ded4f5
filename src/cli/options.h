// The options of every command, as plain structs with defaults. flags.cc binds them to flags; the
// commands read nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/bench.h"

namespace rondo::cli {

struct CommonOptions {
  bool json = false;          // print one JSON object instead of text
  bool quiet = false;         // no progress on standard error
  int threads = 0;            // 0: one per CPU
  std::string simd = "auto";  // instruction set of the kernels
};

// How to share; text forms are parsed by plan_flags.cc.
struct PlanFlags {
  std::string order = "cycle";         // one order, or attention=…,ffn=…,norms=…
  std::string loops = "2";             // one number, or attention=…,ffn=…,norms=…
  int keep_first = 1;                  // middle-* orders: leading layers of their own
  int keep_last = 1;                   // and trailing ones
  std::string plan_file;               // JSON plan instead of the above
  std::string init;                    // empty: average with residuals, stepwise without
  std::string residual = "lora";       // none, lora, lora-diag, dora, muldiag, kronecker
  std::string rank = "64";             // one number, or q=32,ffn=128,…
  std::string residual_start = "fit";  // fit, zero
  std::string norms = "own";           // own, absorbed, tied
  bool tie_biases = false;             // tie biases along with the weights
  int prefix = 0;                      // prefix vectors of every depth
  uint64_t seed = 0;                   // of --init random, --residual-start zero and --prefix
};

struct InspectOptions {
  std::string model;
  PlanFlags plan;
  bool what_if = false;  // any plan flag given: show that plan instead of the model's own
};

struct FoldCommandOptions {
  std::string model;
  bool force = false;  // replace what rondo did not write
  std::string out;
  PlanFlags plan;
  std::string calibrate;  // text file; manifest for a speech model
  int64_t calibrate_tokens = 16384;
  int calibrate_context = 512;
  bool allocate_ranks = false;
  bool suggest = false;
  std::string store = "f32";  // f32, bf16 or f16
};

struct TextOptions {
  std::string text;  // file
  int context = 1024;
  int stride = 0;
  int64_t max_tokens = 0;
  std::string type = "f32";  // of packed weights; auto: as stored
  std::string kv = "auto";   // of keys and values
};

struct TaskFlags {
  std::vector<std::string> tasks;  // empty: --text is evaluated
  std::string data = ".";
  int shots = 0;
  int64_t limit = 0;
  uint32_t seed = 1234;
  std::string loops = "last";  // last, all, or a number
  std::string resume;
};

struct SpeechFlags {
  std::string manifest;          // empty: no speech
  std::string audio;             // directory or .tar; empty: beside the manifest
  std::vector<std::string> ids;  // patterns; empty: all
  int64_t limit = 0;
  std::string search = "auto";
  int beam = 1;
  bool translate = false;
  bool plain = false;  // compare without case and punctuation, whatever the model's units are
  int chunk = -1;      // below 0: the model's
  int left_chunks = -1;
  std::string hypotheses;  // file to write
};

struct EvalOptions {
  std::string model;
  TextOptions text;  // of which tasks and speech use type, and tasks kv
  TaskFlags tasks;
  SpeechFlags speech;
};

struct CompareOptions {
  std::string model_a, model_b;
  TextOptions text;
};

struct CalibrateExitOptions {
  std::string model;
  bool force = false;  // replace what rondo did not write
  TextOptions text;
  std::string rule = "confidence";
  int min_loops = 1;
  std::vector<float> thresholds;  // empty: every tenth of the tokens
  std::string fit_gate;           // model to write, with a learned gate; empty: none
  std::string svg;                // picture to write; empty: none
};

struct SampleFlags {
  double temperature = 0;  // 0: greedy
  int top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  uint64_t seed = 0;
  int max_tokens = 128;
  int context = 0;  // positions of prompt and answer; 0: the model's, or 4096 in a chat
  std::vector<std::string> stop;
  std::string type = "auto";  // of packed weights; auto: as stored
  std::string kv = "auto";    // of keys and values
  std::string exit = "never";
  double exit_threshold = -1;  // below 0: not given
  int min_loops = 1;
  int max_loops = 0;
  std::string skipped_kv = "deferred";
  int draft = 0;
  int draft_loops = 1;
};

struct GenerateCommandOptions {
  std::string model;
  std::string prompt;
  std::string prompt_file;
  bool chat = false;  // put the prompt through the model's chat template
  SampleFlags sample;
};

struct ChatCommandOptions {
  std::string model;
  std::string system;
  SampleFlags sample;
};

struct ExportCommandOptions {
  std::string model;
  bool force = false;  // replace what rondo did not write
  std::string format = "hf";
  double ffn_width = 1;  // share of the feed-forward's width
  std::string out;
  std::string type = "f32";
};

struct QuantizeCommandOptions {
  std::string model;
  bool force = false;  // replace what rondo did not write
  std::string out;
  std::string type = "q4_0";           // linears
  std::string residual_type = "q8_0";  // factors of residuals
  std::string embed_type = "q8_0";
  std::string head_type = "q8_0";
  std::string layout = "auto";  // rondo, llama.cpp, or llama.cpp for models that share nothing
  std::string calibrate;        // text file
  int64_t calibrate_tokens = 16384;
  int calibrate_context = 512;
  std::string evaluate;  // text file for the report of error growth
  int64_t evaluate_tokens = 8192;
  int evaluate_context = 1024;
  std::string svg;  // picture of it to write; empty: none
};

struct BenchCommandOptions {
  std::string model;
  BenchOptions bench;
  std::string type = "auto";  // of packed weights; auto: as stored
  std::string kv = "auto";
  bool depth_batching = false;  // measure that instead
  std::vector<double> share;    // of tokens that leave after each loop; empty: equal
  std::string exit = "trace";
  double exit_threshold = 0;
  std::string text;  // file whose pieces are the prompts; empty: random tokens
  std::string skipped_kv = "last-loop";
};

struct TranscribeCommandOptions {
  std::string model;
  std::vector<std::string> audio;  // files, members "archive.tar:name", or "-" for standard input
  bool stream = false;             // report text that may still change
  double partial = 2;              // … each time so many seconds of audio have come
  int pcm_rate = 16000;            // of bare samples from standard input
  std::string format = "text";     // or srt, vtt: subtitles
  double silence = -55;            // dB of full scale; sound that is nowhere as loud has no words
  std::string type = "auto";       // of the matrices in memory; auto: as stored, f16 as f32
  std::string language;            // Whisper; empty: detected
  bool translate = false;
  bool no_words = false;
  bool no_timestamps = false;
  std::string search = "auto";
  int beam = 1;
  int memory_mib = 256;  // the arena that all work takes its memory from
};

struct ReportCommandOptions {
  std::vector<std::string> runs;
  std::string out;  // HTML page to write; empty: none
};

int RunInspect(const InspectOptions& options, const CommonOptions& common);
int RunFold(const FoldCommandOptions& options, const CommonOptions& common);
int RunFoldSpeech(const FoldCommandOptions& options, const CommonOptions& common);
int RunEval(const EvalOptions& options, const CommonOptions& common);
int RunEvalTasks(const EvalOptions& options, const CommonOptions& common);
int RunEvalSpeech(const EvalOptions& options, const CommonOptions& common);
// Of speech models, for RunInspect.
int RunInspectSpeech(const InspectOptions& options, const CommonOptions& common);
int RunCalibrateExit(const CalibrateExitOptions& options, const CommonOptions& common);
int RunCompare(const CompareOptions& options, const CommonOptions& common);
int RunGenerate(const GenerateCommandOptions& options, const CommonOptions& common);
int RunChat(const ChatCommandOptions& options, const CommonOptions& common);
int RunQuantize(const QuantizeCommandOptions& options, const CommonOptions& common);
int RunExport(const ExportCommandOptions& options, const CommonOptions& common);
int RunBench(const BenchCommandOptions& options, const CommonOptions& common);
int RunTranscribe(const TranscribeCommandOptions& options, const CommonOptions& common);
int RunReport(const ReportCommandOptions& options, const CommonOptions& common);
// Becomes rondo-train with these arguments; does not return.
int RunTrain(const std::vector<std::string>& arguments);
int RunDoctor(const CommonOptions& common);

}  // namespace rondo::cli
