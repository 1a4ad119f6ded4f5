// The flags of every command: name, meaning, range, and when each counts.
#pragma once

#include <algorithm>
#include <array>

#include "cli/shared_visit.h"
#include "quant/type_rules.h"
#include "speech/speech_names.h"

namespace rondo {

template <>
inline constexpr auto kChoices<cli::ExportFormat> = Choices("hf", "gguf", "native");
template <>
inline constexpr auto kChoices<cli::GgufLayout> = Choices("auto", "rondo", "llama.cpp");
template <>
inline constexpr auto kChoices<cli::TranscriptFormat> = Choices("text", "srt", "vtt");

namespace cli {

inline constexpr std::array<std::string_view, 4> kLearnedExits = {"confidence", "entropy",
                                                                  "hidden-change", "gate"};
inline constexpr std::array<std::string_view, 5> kUsedExits = {"never", "confidence", "entropy",
                                                               "hidden-change", "gate"};
inline constexpr std::array<std::string_view, 5> kMeasuredExits = {"trace", "confidence", "entropy",
                                                                   "hidden-change", "gate"};

template <typename Visitor>
void VisitOut(std::string& out, const char* help, bool required, Visitor& v) {
  v({.name = "out", .help = help, .letter = 'o', .required = required}, out);
}

// Beside an output that may be a directory of somebody's.
template <typename Visitor>
void VisitForce(bool& force, Visitor& v, const Condition& written = {}) {
  v({.name = "force",
     .help = "replace --out even where it holds files that rondo did not write; says which",
     .when = written},
    force);
}

template <typename Visitor>
void Visit(InspectOptions& o, Visitor& v) {
  VisitModel(o.model, v);
  Visit(o.plan, {.inspect = true}, v);
}

// Text that a fold or a quantisation is fitted to.
template <typename Visitor>
void VisitCalibration(int64_t& tokens, std::optional<int>& context, Visitor& v,
                      const Condition& windows = {}) {
  v({.name = "calibrate_tokens",
     .help = "how many tokens of the text are used, spread over it",
     .range = AtLeast(0)},
    tokens);
  v({.name = "calibrate_context",
     .help = "tokens of one sequence; auto: 512, or the model's positions where those are fewer",
     .range = AtLeast(1),
     .when = windows},
    context);
}

template <typename Visitor>
void Visit(FoldCommandOptions& o, Visitor& v) {
  const Condition calibrated = {!o.calibrate.empty(), "with --calibrate"};
  const Condition language = {o.kind == ModelKind::kLanguage, "for language models"};
  VisitModel(o.model, v);
  VisitOut(o.out, "directory to write", true, v);
  VisitForce(o.force, v);
  Visit(o.plan, {.calibrated = !o.calibrate.empty(), .suggest = o.suggest}, v);
  v({.name = "calibrate",
     .help = "text file (of a speech model a manifest): fit shared tensors and residuals to what "
             "the model makes of it"},
    o.calibrate);
  Only fit(v, calibrated);
  VisitCalibration(o.fit.max_tokens, o.calibrate_context, fit, language);
  fit({.name = "allocate_ranks",
       .help = "spread as many residual parameters by how much each layer needs them",
       .when = Both(language, {!o.suggest, "without --suggest"})},
      o.fit.allocate_ranks);
  fit({.name = "suggest",
       .help = "measure the layers on the text and write plans to --out instead",
       .when = language},
      o.suggest);
  v({.name = "store",
     .help = "type of the matrices in the model written",
     .when = {!o.suggest, "without --suggest, which writes plans"},
     .among = kStoredTypes},
    o.store);
}

template <typename Visitor>
void Visit(TextOptions& o, Visitor& v, bool required, const Condition& text = {}) {
  v({.name = "text", .help = "UTF-8 text file to measure on", .when = text, .required = required},
    o.text);
  Only given(v, {!o.text.empty(), "with --text"});
  given({.name = "context",
         .help = "tokens of a window; auto: 1024, or the model's positions where those are fewer"},
        o.context);
  given({.name = "stride", .help = "tokens that a window advances; 0: the context"}, o.stride);
  given({.name = "max_tokens",
         .help = "how many tokens of the text are used, from its beginning; 0: all",
         .range = AtLeast(0)},
        o.max_tokens);
}

template <typename Visitor>
void Visit(TaskFlags& o, Visitor& visitor, const Condition& alone) {
  visitor({.name = "tasks",
           .help = "tasks to score, separated by commas: lambada, hellaswag, piqa, winogrande, "
                   "arc_easy, arc_challenge, openbookqa; arc_easy:train for another split",
           .when = alone},
          o.tasks);
  Only v(visitor, {!o.tasks.empty(), "with --tasks"});
  v({.name = "data", .help = "folder with the tasks' records (docs/eval.md)"}, o.data);
  v({.name = "shots", .help = "worked examples before each question", .range = AtLeast(0)},
    o.shots);
  v({.name = "limit", .help = "how many records of each task; 0: all", .range = AtLeast(0)},
    o.limit);
  v({.name = "seed", .help = "seed of the draw of worked examples"}, o.seed);
  v({.name = "loops",
     .help = "score after the last loop, after all of them, or after loop N alone"},
    o.loops);
  v({.name = "resume",
     .help = "file that keeps finished examples, so that an interrupted run goes on"},
    o.resume);
}

template <typename Visitor>
void VisitSearch(SearchOptions& o, Visitor& v, ModelKind kind) {
  Only other(v, {kind != ModelKind::kWhisper, "for other models than Whisper"});
  other({.name = "search", .help = "how the text is found"}, o.kind);
  other({.name = "beam", .help = "texts kept by the search; 1: greedy", .range = Between(1, 1000)},
        o.beam);
  v({.name = "translate", .help = "write the model's other language"}, o.translate);
}

template <typename Visitor>
void Visit(SpeechFlags& o, Visitor& visitor, const Condition& alone) {
  visitor({.name = "speech",
           .help = "manifest of utterances and texts (.tsv, .jsonl): word and character errors",
           .when = alone},
          o.manifest);
  Only v(visitor, {!o.manifest.empty(), "with --speech"});
  v({.name = "audio", .help = "directory or .tar of the audio; empty: beside the manifest"},
    o.audio);
  v({.name = "ids", .help = "patterns of the utterances to take, separated by commas"}, o.ids);
  v({.name = "utterances",
     .help = "how many utterances, spread evenly; 0: all",
     .range = AtLeast(0)},
    o.limit);
  VisitSearch(o.search, v, o.kind);
  v({.name = "plain", .help = "compare in lower case without punctuation"}, o.plain);
  Only other(v, {o.kind != ModelKind::kWhisper, "for other models than Whisper"});
  other({.name = "chunk",
         .help = "positions of a chunk of attention; 0: the utterance; auto: the model's",
         .range = AtLeast(0)},
        o.chunk);
  other({.name = "left_chunks",
         .help = "chunks seen before a chunk; -1: all",
         .range = AtLeast(-1),
         .when = {o.chunk.value_or(0) > 0, "with --chunk above 0"}},
        o.left_chunks);
  v({.name = "hypotheses", .help = "file to write: id, reference, hypothesis (.tsv)"},
    o.hypotheses);
}

template <typename Visitor>
void Visit(EvalOptions& o, Visitor& v) {
  const bool text = !o.text.text.empty(), tasks = !o.tasks.tasks.empty();
  const bool speech = !o.speech.manifest.empty();
  VisitModel(o.model, v);
  Visit(o.text, v, false, {!tasks && !speech, "without --tasks and --speech"});
  Visit(o.tasks, v, {!text && !speech, "without --text and --speech"});
  Visit(o.speech, v, {!text && !tasks, "without --text and --tasks"});
  Visit(o.engine, v, {!speech, "without --speech"});
}

template <typename Visitor>
void Visit(CompareOptions& o, Visitor& v) {
  v({.name = "model_a", .help = "reference model", .positional = true, .required = true},
    o.model_a);
  v({.name = "model_b", .help = "other model", .positional = true, .required = true}, o.model_b);
  Visit(o.text, v, true);
  Visit(o.engine, v);
}

template <typename Visitor>
void Visit(CalibrateExitOptions& o, Visitor& v) {
  VisitModel(o.model, v);
  Visit(o.text, v, true);
  Visit(o.engine, v);
  v({.name = "exit",
     .help = "when a token leaves the loops early",
     .when = {o.fit_gate.empty() || o.exit.rule == ExitRule::kGate,
              "without --fit-gate, whose curve is the gate's"},
     .among = kLearnedExits},
    o.exit.rule);
  v({.name = "min_loops", .help = "loops before the first look", .range = AtLeast(1)},
    o.exit.min_loops);
  v({.name = "thresholds",
     .help = "thresholds, separated by commas; default: every tenth of the tokens leaves first"},
    o.exit.thresholds);
  v({.name = "svg", .help = "picture of the curve to write"}, o.svg);
  v({.name = "fit_gate",
     .help = "write the model with an exit gate learned from the first four fifths of the text, to "
             "a directory or a .gguf file; the curve is the gate's on the last fifth"},
    o.fit_gate);
  VisitForce(o.force, v, {!o.fit_gate.empty() || !o.svg.empty(), "with --fit-gate or --svg"});
}

template <typename Visitor>
void Visit(SamplingOptions& o, Visitor& v) {
  const Condition drawn = {o.temperature != 0, "with --temperature above 0"};
  v({.name = "temperature", .help = "how freely tokens are drawn; 0: always the most likely"},
    o.temperature);
  v({.name = "top_k", .help = "keep the k most likely tokens; 0: all", .when = drawn}, o.top_k);
  v({.name = "top_p",
     .help = "keep the most likely tokens that have this probability together; 1: all",
     .when = drawn},
    o.top_p);
  v({.name = "min_p",
     .help = "drop tokens below this share of the most likely one's probability; 0: none",
     .when = drawn},
    o.min_p);
  v({.name = "repetition_penalty",
     .help = "make tokens seen before less likely by this factor; 1: no less"},
    o.repetition_penalty);
  // A seed asks for the same text again, which is what greedy decoding gives, too.
  v({.name = "seed", .help = "seed of the sampler: the same seed gives the same text"}, o.seed);
}

template <typename Visitor>
void VisitExit(SampleFlags& o, Visitor& v) {
  ExitOptions& exit = o.generate.exit;
  const bool leaves = exit.rule != ExitRule::kNever || o.exit_threshold.has_value();
  v({.name = "exit", .help = "when tokens leave the loops early", .among = kUsedExits}, exit.rule);
  v({.name = "exit_threshold",
     .help = "threshold of --exit; alone it means --exit confidence",
     .range = AtLeast(0)},
    o.exit_threshold);
  v({.name = "min_loops",
     .help = "loops before the first look at --exit",
     .range = AtLeast(1),
     .when = {leaves, "with --exit"}},
    exit.min_loops);
  v({.name = "max_loops", .help = "loops of every token; 0: all", .range = AtLeast(0)},
    exit.max_loops);
  v({.name = "skipped_kv",
     .help = "keys and values of loops left out: computed when needed, from the exit's hidden "
             "state, or the last loop's",
     .when = {leaves || exit.max_loops > 0, "with --exit or --max-loops"}},
    exit.skipped_kv);
  SpeculationOptions& draft = o.generate.speculation;
  v({.name = "draft",
     .help = "tokens drafted by the first loops and verified by all, which is faster; 0: none",
     .range = AtLeast(0)},
    draft.drafts);
  v({.name = "draft_loops",
     .help = "loops that draft",
     .range = AtLeast(1),
     .when = {draft.drafts > 0, "with --draft"}},
    draft.draft_loops);
}

template <typename Visitor>
void Visit(SampleFlags& o, Visitor& v) {
  Visit(o.generate.sampling, v);
  v({.name = "max_tokens", .help = "new tokens at most", .letter = 'n'}, o.generate.max_new_tokens);
  v({.name = "context", .help = "positions of the cache; 0: as needed", .range = AtLeast(0)},
    o.generate.max_positions);
  v({.name = "stop",
     .help = "stop before this text; may be repeated",
     .whole = true,
     .single = true},
    o.generate.stop);
  Visit(o.engine, v);
  VisitExit(o, v);
}

template <typename Visitor>
void VisitChatTemplate(std::string& file, Visitor& v, const Condition& chat = {}) {
  v({.name = "chat_template",
     .help = "file with a chat template in Jinja, in place of the model's own",
     .when = chat},
    file);
}

template <typename Visitor>
void Visit(GenerateCommandOptions& o, Visitor& v) {
  VisitModel(o.model, v);
  v({.name = "prompt", .help = "text to continue", .letter = 'p'}, o.prompt);
  v({.name = "prompt_file",
     .help = "file with the text to continue; -: standard input, which is also read without this "
             "flag where it is no terminal",
     .when = {o.prompt.empty(), "without --prompt"}},
    o.prompt_file);
  v({.name = "chat", .help = "the prompt is a user's message in a chat"}, o.chat);
  VisitChatTemplate(o.chat_template, v, {o.chat, "with --chat"});
  Visit(o.sample, v);
}

template <typename Visitor>
void Visit(ChatCommandOptions& o, Visitor& v) {
  VisitModel(o.model, v);
  v({.name = "system", .help = "system message"}, o.system);
  VisitChatTemplate(o.chat_template, v);
  Visit(o.sample, v);
}

template <typename Visitor>
void Visit(QuantizeOptions& o, Visitor& v) {
  v({.name = "type", .help = "type of the linears", .among = kQuantizedTypes, .required = true},
    o.type);
  // Rules about parts that a model may lack.
  v({.name = "residual_type", .help = "type of the factors of residuals"}, o.residual);
  v({.name = "embed_type", .help = "type of the embedding"}, o.embedding);
  v({.name = "head_type", .help = "type of the head where it is not the embedding"}, o.head);
}

template <typename Visitor>
void Visit(std::vector<TensorTypeRule>& o, Visitor& v) {
  v({.name = "tensor_type",
     .help = "PATTERN=TYPE: type of the matrices whose names match, before the flags above; of "
             "several patterns that match, the last counts"},
    o);
}

template <typename Visitor>
void Visit(QuantizeCommandOptions& o, Visitor& visitor) {
  VisitModel(o.model, visitor);
  Visit(o.types, visitor);
  VisitOut(o.out, "GGUF file to write; of a speech model a directory", true, visitor);
  VisitForce(o.force, visitor);
  Only v(visitor, {o.kind == ModelKind::kLanguage,
                   "for language models: speech models are rounded to nearest, and measured by "
                   "rondo eval --speech"});
  Visit(o.types.tensors, v);
  v({.name = "layout",
     .help = "layout of the file; auto: llama.cpp's for models that share nothing, in types that "
             "it reads"},
    o.layout);
  v({.name = "calibrate",
     .help = "text file: round so that the outputs on it change least, at every loop"},
    o.calibrate);
  Only fit(v, {!o.calibrate.empty(), "with --calibrate"});
  VisitCalibration(o.calibrate_tokens, o.calibrate_context, fit);
  v({.name = "evaluate", .help = "text file: report how the error grows from depth to depth on it"},
    o.evaluate);
  Only measured(v, {!o.evaluate.empty(), "with --evaluate"});
  measured({.name = "evaluate_tokens",
            .help = "how many tokens of the text are used, from its beginning; 0: all",
            .range = AtLeast(0)},
           o.evaluate_tokens);
  measured({.name = "evaluate_context",
            .help = "tokens of a window; auto: 1024, or the model's positions where those are "
                    "fewer"},
           o.evaluate_context);
  measured({.name = "svg", .help = "picture of the error by depth and loop to write"}, o.svg);
}

template <typename Visitor>
void Visit(ExportCommandOptions& o, Visitor& v) {
  VisitModel(o.model, v);
  v({.name = "format",
     .help = "hf or gguf: unrolled and merged, for transformers or llama.cpp; native: rondo's own, "
             "folded as it is"},
    o.format);
  VisitOut(o.out, "directory (hf, native) or file (gguf) to write", true, v);
  VisitForce(o.force, v);
  v({.name = "ffn_width",
     .help = "keep this share of every feed-forward, its first channels (docs/training.md)"},
    o.ffn_width);
  v({.name = "type", .help = "type of the matrices written", .among = kStoredTypes}, o.type);
}

template <typename Visitor>
void VisitDepthBatching(BenchCommandOptions& o, Visitor& visitor) {
  Only v(visitor, {o.depth_batching, "with --depth-batching"});
  const Condition trace = {o.exit.rule == ExitRule::kTrace, "with --exit trace"};
  const Condition rule = {o.exit.rule != ExitRule::kTrace, "with another --exit than trace"};
  v({.name = "exit_share",
     .help = "shares of the tokens that leave after loop 1, 2, …, separated by commas; default: "
             "equal",
     .when = trace},
    o.exit_share);
  v({.name = "exit",
     .help = "exits that are drawn (trace), or the model's own, on --text",
     .among = kMeasuredExits},
    o.exit.rule);
  v({.name = "exit_threshold", .help = "threshold of --exit", .when = rule}, o.exit.threshold);
  v({.name = "text", .help = "text whose pieces are the prompts"}, o.text);
  v({.name = "skipped_kv", .help = "keys and values of loops left out"}, o.exit.skipped_kv);
}

template <typename Visitor>
void Visit(BenchCommandOptions& o, Visitor& v) {
  VisitModel(o.model, v);
  v({.name = "prefill",
     .help = "tokens of the prompt; 0: none; auto: 512, or the model's positions where those are "
             "fewer"},
    o.prefill);
  v({.name = "decode",
     .help = "tokens that each sequence writes; 0: none; auto: 128, or what the model has room "
             "for"},
    o.decode);
  v({.name = "batch", .help = "sequences that write together"}, o.bench.batch);
  v({.name = "context",
     .help = "positions that each of them holds before",
     .when = {!o.depth_batching, "without --depth-batching"}},
    o.bench.context);
  v({.name = "repeat", .help = "how often everything is measured"}, o.bench.repeat);
  Visit(o.engine, v);
  v({.name = "depth_batching",
     .help = "measure depth-wise batching with exits against sequence batching instead, --batch "
             "sequences at once"},
    o.depth_batching);
  VisitDepthBatching(o, v);
}

template <typename Visitor>
void Visit(TranscribeCommandOptions& o, Visitor& v) {
  const bool pipe = std::ranges::find(o.audio, "-") != o.audio.end();
  VisitModel(o.model, v);
  v({.name = "audio",
     .help = "sound files, members as archive.tar:name, or - for standard input: a sound file, or "
             "16-bit mono samples",
     .positional = true,
     .required = true,
     .whole = true},
    o.audio);
  v({.name = "stream", .help = "report text that may still change"}, o.stream);
  v({.name = "partial",
     .help = "seconds of audio between such reports",
     .range = Between(0.1, 3600),
     .when = {o.stream, "with --stream"}},
    o.partial);
  v({.name = "pcm_rate",
     .help = "sampling rate of bare samples in Hz",
     .range = Between(1000, 768000),
     .when = {pipe, "with - among the audio"}},
    o.pcm_rate);
  v({.name = "format",
     .help = "how the text is written: with times, or as subtitles",
     .when = {o.audio.size() <= 1 || o.format == TranscriptFormat::kText, "with one sound file"}},
    o.format);
  v({.name = "silence",
     .help = "sound that is nowhere as loud has no words, in dB of full scale; -200: off",
     .range = Between(-200, 0)},
    o.silence);
  v({.name = "type",
     .help = "type of the weights in memory; auto: as they are stored",
     .among = kPackedTypes},
    o.transcribe.type);
  Only whisper(v, {o.kind != ModelKind::kSpeech, "for Whisper"});
  whisper({.name = "language",
           .help = "code of the language spoken, as en; empty: found from the first window"},
          o.transcribe.language);
  v({.name = "no_words", .help = "no times of words"}, o.no_words);
  whisper({.name = "no_timestamps", .help = "one segment for each window"}, o.no_timestamps);
  VisitSearch(o.transcribe.search, v, o.kind);
  v({.name = "memory",
     .help = "MiB that reading and computing may take beside the weights; more is an error",
     .range = Between(1, 1 << 20)},
    o.memory_mib);
}

template <typename Visitor>
void Visit(ReportCommandOptions& o, Visitor& v) {
  v({.name = "runs",
     .help = "run folders or metrics.jsonl files",
     .positional = true,
     .required = true,
     .whole = true},
    o.runs);
  VisitOut(o.out, "HTML page with curves and samples to write", false, v);
  v({.name = "csv", .help = "table of all lines of the runs' logs to write, as CSV"}, o.csv);
  v({.name = "tensorboard", .help = "directory to write event files to, a folder for each run"},
    o.tensorboard);
}

template <typename Visitor>
void Visit(DoctorOptions&, Visitor&) {}

}  // namespace cli
}  // namespace rondo
