#include "cli/flags.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "cli/options.h"
#include "kernels/simd_targets.h"

#ifndef RONDO_VERSION
#error "RONDO_VERSION is set by the build"
#endif

namespace rondo::cli {
namespace {

void AddCommon(CLI::App* app, CommonOptions* common) {
  app->add_flag("--json", common->json, "print one JSON object");
  app->add_flag("--quiet,-q", common->quiet, "no progress bars");
  app->add_option("--threads,-t", common->threads, "threads; 0: one per CPU")
      ->check(CLI::Range(0, 1024));
  app->add_option("--simd", common->simd,
                  "instruction set of the kernels: auto, portable, or one that rondo doctor lists")
      ->capture_default_str();
}

void AddPlan(CLI::App* app, PlanFlags* plan) {
  app->add_option("--order", plan->order,
                  "identity, cycle, sequence, middle-cycle or middle-sequence; "
                  "or attention=ORDER,ffn=ORDER,norms=ORDER")
      ->capture_default_str();
  app->add_option("--loops", plan->loops, "times each block runs; or attention=N,ffn=N,norms=N")
      ->capture_default_str();
  app->add_option("--keep-first", plan->keep_first, "middle-*: leading layers of their own")
      ->capture_default_str();
  app->add_option("--keep-last", plan->keep_last, "middle-*: trailing layers of their own")
      ->capture_default_str();
  app->add_option("--plan", plan->plan_file,
                  "file with a sharing plan or tie maps (see docs/plans.md)")
      ->excludes("--order")
      ->excludes("--loops");
  app->add_option("--init", plan->init,
                  "shared tensors: stepwise, average, lower, upper or random "
                  "(default: average with residuals, stepwise without)");
  app->add_option("--residual", plan->residual, "none, lora, lora-diag, dora, muldiag or kronecker")
      ->capture_default_str();
  app->add_option("--rank", plan->rank, "residual rank; or q=32,ffn=128,… by module or group")
      ->capture_default_str();
  app->add_option("--residual-start", plan->residual_start,
                  "fit: what sharing takes from each layer; zero: nothing, for training from there")
      ->capture_default_str();
  app->add_option("--norms", plan->norms, "own, absorbed or tied")->capture_default_str();
  app->add_flag("--tie-biases", plan->tie_biases, "tie biases along with the weights");
  app->add_option("--prefix", plan->prefix, "trained keys and values of every depth; 0: none")
      ->capture_default_str();
  app->add_option("--seed", plan->seed, "seed of --init random, --residual-start zero and --prefix")
      ->capture_default_str();
}

// Returns the option that names the text.
CLI::Option* AddText(CLI::App* app, TextOptions* text) {
  CLI::Option* file = app->add_option("--text", text->text, "UTF-8 text file");
  app->add_option("--context", text->context, "tokens of a window")->capture_default_str();
  app->add_option("--stride", text->stride, "tokens a window advances; 0: the context");
  app->add_option("--max-tokens", text->max_tokens, "use the first so many tokens; 0: all");
  app->add_option("--type", text->type,
                  "weights in f32, bf16, q8_0, q4_0, …; auto: as they are stored")
      ->capture_default_str();
  app->add_option("--kv", text->kv, "keys and values in f32, bf16 or int8; auto: by --type")
      ->capture_default_str();
  return file;
}

// After AddText. Returns the option that names the tasks.
CLI::Option* AddTasks(CLI::App* app, TaskFlags* flags) {
  CLI::Option* tasks =
      app->add_option("--tasks", flags->tasks,
                      "comma-separated: lambada, hellaswag, piqa, winogrande, arc_easy, "
                      "arc_challenge, openbookqa; arc_easy:train for another split than the usual")
          ->delimiter(',');
  for (const char* flag : {"--text", "--context", "--stride", "--max-tokens"}) {
    tasks->excludes(app->get_option(flag));
  }
  app->add_option("--data", flags->data, "folder with the tasks' records (see docs/eval.md)")
      ->needs(tasks);
  app->add_option("--shots", flags->shots, "worked examples before each question")
      ->needs(tasks)
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app->add_option("--limit", flags->limit, "first so many records of each task; 0: all")
      ->needs(tasks)
      ->check(CLI::NonNegativeNumber);
  app->add_option("--seed", flags->seed, "seed of the draw of worked examples")
      ->needs(tasks)
      ->capture_default_str();
  app->add_option("--loops", flags->loops,
                  "score after the last loop, after all of them, or after loop N alone")
      ->needs(tasks)
      ->capture_default_str();
  app->add_option("--resume", flags->resume,
                  "file that keeps finished examples, so that an interrupted run goes on")
      ->needs(tasks);
  return tasks;
}

// After AddText and AddTasks. Returns the option that names the manifest.
CLI::Option* AddSpeech(CLI::App* app, SpeechFlags* flags) {
  CLI::Option* manifest =
      app->add_option("--speech", flags->manifest,
                      "utterances and texts (.tsv, .jsonl): word and character errors");
  for (const char* flag : {"--text", "--tasks"}) manifest->excludes(app->get_option(flag));
  app->add_option("--audio", flags->audio, "directory or .tar of the audio")->needs(manifest);
  app->add_option("--ids", flags->ids, "comma-separated patterns of the utterances to take")
      ->delimiter(',')
      ->needs(manifest);
  app->add_option("--utterances", flags->limit, "so many, spread evenly; 0: all")
      ->needs(manifest)
      ->check(CLI::NonNegativeNumber);
  app->add_option("--search", flags->search, "auto, ctc, transducer, attention or joint")
      ->needs(manifest)
      ->capture_default_str();
  app->add_option("--beam", flags->beam, "texts under way at once")
      ->needs(manifest)
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_flag("--translate", flags->translate, "compare with the translations")->needs(manifest);
  app->add_flag("--plain", flags->plain, "compare in lower case without punctuation")
      ->needs(manifest);
  app->add_option("--chunk", flags->chunk,
                  "positions of a chunk of attention; 0: the utterance; default: the model's")
      ->needs(manifest);
  app->add_option("--left-chunks", flags->left_chunks, "--chunk: chunks seen before it; -1: all")
      ->needs(manifest);
  app->add_option("--hypotheses", flags->hypotheses, "write id, reference, hypothesis (.tsv)")
      ->needs(manifest);
  return manifest;
}

void AddSampling(CLI::App* app, SampleFlags* sample) {
  app->add_option("--temperature", sample->temperature, "0: greedy")->capture_default_str();
  app->add_option("--top-k", sample->top_k, "keep the k most likely tokens; 0: all");
  app->add_option("--top-p", sample->top_p, "keep the smallest set of this probability");
  app->add_option("--min-p", sample->min_p, "drop tokens below this share of the most likely one");
  app->add_option("--repetition-penalty", sample->repetition_penalty, "1: none");
  app->add_option("--seed", sample->seed, "seed of the sampler")->capture_default_str();
  app->add_option("--max-tokens,-n", sample->max_tokens, "new tokens at most")
      ->capture_default_str();
  app->add_option("--context", sample->context, "positions of the cache; 0: as needed");
  app->add_option("--stop", sample->stop, "stop before this text; may be repeated")
      ->allow_extra_args(false);
  app->add_option("--type", sample->type,
                  "weights in f32, bf16, q8_0, q4_0, …; auto: as they are stored")
      ->capture_default_str();
  app->add_option("--kv", sample->kv, "keys and values in f32, bf16 or int8; auto: by --type")
      ->capture_default_str();
  app->add_option(
         "--exit", sample->exit,
         "when tokens leave the loops early: never, confidence, entropy, hidden-change or gate")
      ->capture_default_str();
  app->add_option("--exit-threshold", sample->exit_threshold,
                  "of --exit; alone it means --exit confidence");
  app->add_option("--min-loops", sample->min_loops, "loops before the first look at --exit")
      ->capture_default_str();
  app->add_option("--max-loops", sample->max_loops, "loops of every token; 0: all");
  app->add_option("--skipped-kv", sample->skipped_kv,
                  "keys and values of loops left out: deferred, copy-through or last-loop")
      ->capture_default_str();
  app->add_option("--draft", sample->draft,
                  "tokens drafted by the first loops and verified by all; 0: none");
  app->add_option("--draft-loops", sample->draft_loops, "loops that draft")->capture_default_str();
}

CLI::Option* AddModel(CLI::App* app, std::string* model) {
  return app->add_option("model", *model, "Hugging Face directory, rondo directory or GGUF file")
      ->required();
}

// Everything a run may need; one of them is used.
struct AllOptions {
  CommonOptions common;
  InspectOptions inspect;
  FoldCommandOptions fold;
  EvalOptions eval;
  CompareOptions compare;
  CalibrateExitOptions calibrate_exit;
  GenerateCommandOptions generate;
  ChatCommandOptions chat;
  QuantizeCommandOptions quantize;
  ExportCommandOptions export_model;
  BenchCommandOptions bench;
  TranscribeCommandOptions transcribe;
  ReportCommandOptions report;
};

void AddForce(CLI::App* command, bool* force) {
  command->add_flag("--force", *force,
                    "replace --out even where it holds files that rondo did not write; says which");
}

void AddInspect(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand("inspect", "layers, ties, parameters, bytes");
  AddModel(command, &all.inspect.model);
  AddPlan(command, &all.inspect.plan);
  AddCommon(command, &all.common);
  command->footer("With any plan option, shows that plan applied to the model's configuration.");
  command->callback([command, &all, run] {
    for (const char* flag :
         {"--order", "--loops", "--plan", "--residual", "--rank", "--norms", "--prefix"}) {
      all.inspect.what_if |= command->count(flag) > 0;
    }
    *run = [&all] { return RunInspect(all.inspect, all.common); };
  });
}

void AddFold(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand("fold", "fold a model into a relaxed recursive one");
  FoldCommandOptions& fold = all.fold;
  AddModel(command, &fold.model);
  command->add_option("--out,-o", fold.out, "directory to write")->required();
  AddForce(command, &fold.force);
  AddPlan(command, &fold.plan);
  CLI::Option* calibrate =
      command->add_option("--calibrate", fold.calibrate,
                          "text file: fit shared tensors and residuals to its activations");
  command->add_option("--calibrate-tokens", fold.calibrate_tokens, "tokens of it to use")
      ->capture_default_str();
  command->add_option("--calibrate-context", fold.calibrate_context, "tokens of one sequence")
      ->capture_default_str();
  CLI::Option* allocate =
      command
          ->add_flag("--allocate-ranks", fold.allocate_ranks,
                     "as many residual parameters, with ranks by measured sensitivity")
          ->needs(calibrate);
  command
      ->add_flag("--suggest", fold.suggest,
                 "measure layers on the --calibrate text and write plans to --out instead")
      ->excludes(allocate);
  command->add_option("--store", fold.store, "type of stored matrices: f32, bf16 or f16")
      ->capture_default_str();
  AddCommon(command, &all.common);
  command->callback([&all, run] { *run = [&all] { return RunFold(all.fold, all.common); }; });
}

void AddMeasures(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* eval =
      app.add_subcommand("eval", "perplexity on text, scores on tasks, errors on speech");
  AddModel(eval, &all.eval.model);
  CLI::Option* text = AddText(eval, &all.eval.text);
  CLI::Option* tasks = AddTasks(eval, &all.eval.tasks);
  CLI::Option* speech = AddSpeech(eval, &all.eval.speech);
  AddCommon(eval, &all.common);
  eval->callback([&all, run, text, tasks, speech] {
    if (text->empty() && tasks->empty() && speech->empty()) {
      throw CLI::RequiredError("--text, --tasks or --speech");
    }
    *run = [&all] { return RunEval(all.eval, all.common); };
  });

  CLI::App* compare = app.add_subcommand("compare", "how far two models' outputs are apart");
  compare->add_option("model_a", all.compare.model_a, "reference model")->required();
  compare->add_option("model_b", all.compare.model_b, "other model")->required();
  AddText(compare, &all.compare.text)->required();
  AddCommon(compare, &all.common);
  compare->callback([&all, run] { *run = [&all] { return RunCompare(all.compare, all.common); }; });
}

void AddCalibrateExit(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand(
      "calibrate-exit", "what leaving the loops early saves and costs on a text, by threshold");
  CalibrateExitOptions& options = all.calibrate_exit;
  AddModel(command, &options.model);
  AddText(command, &options.text)->required();
  command->add_option("--exit", options.rule, "confidence, entropy, hidden-change or gate")
      ->capture_default_str();
  command->add_option("--min-loops", options.min_loops, "loops before the first look")
      ->capture_default_str();
  command
      ->add_option("--thresholds", options.thresholds,
                   "comma-separated; default: every tenth of the tokens leaves first")
      ->delimiter(',');
  command->add_option("--svg", options.svg, "picture of the curve to write");
  AddForce(command, &options.force);
  command->add_option("--fit-gate", options.fit_gate,
                      "write the model with an exit gate learned from the first four fifths of the "
                      "text, to a directory or a .gguf file; the curve is the gate's on the last "
                      "fifth");
  AddCommon(command, &all.common);
  command->callback(
      [&all, run] { *run = [&all] { return RunCalibrateExit(all.calibrate_exit, all.common); }; });
}

void AddWriters(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* generate = app.add_subcommand("generate", "continue a prompt");
  AddModel(generate, &all.generate.model);
  auto* prompt = generate->add_option("--prompt,-p", all.generate.prompt, "text to continue");
  generate->add_option("--prompt-file", all.generate.prompt_file, "file with the text to continue")
      ->excludes(prompt);
  generate->add_flag("--chat", all.generate.chat, "the prompt is a user's message in a chat");
  AddSampling(generate, &all.generate.sample);
  AddCommon(generate, &all.common);
  generate->callback(
      [&all, run] { *run = [&all] { return RunGenerate(all.generate, all.common); }; });

  CLI::App* chat = app.add_subcommand("chat", "talk with a model, a line at a time");
  AddModel(chat, &all.chat.model);
  chat->add_option("--system", all.chat.system, "system message");
  all.chat.sample.max_tokens = 512;
  AddSampling(chat, &all.chat.sample);
  AddCommon(chat, &all.common);
  chat->callback([&all, run] { *run = [&all] { return RunChat(all.chat, all.common); }; });
}

void AddQuantize(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand("quantize", "a model in blocks of 4 to 8 bits, as GGUF");
  QuantizeCommandOptions& quantize = all.quantize;
  AddModel(command, &quantize.model);
  command
      ->add_option("--type", quantize.type,
                   "linears: q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k or q6_k")
      ->required();
  command->add_option("--out,-o", quantize.out, "GGUF file to write; of a speech model a directory")
      ->required();
  AddForce(command, &quantize.force);
  command->add_option("--residual-type", quantize.residual_type, "factors of residuals, any type")
      ->capture_default_str();
  command->add_option("--embed-type", quantize.embed_type, "embedding, any type")
      ->capture_default_str();
  command->add_option("--head-type", quantize.head_type, "head where it is not the embedding")
      ->capture_default_str();
  command
      ->add_option("--layout", quantize.layout,
                   "rondo, llama.cpp, or auto: llama.cpp for models that share nothing")
      ->capture_default_str();
  command->add_option("--calibrate", quantize.calibrate,
                      "text file: round with error feedback on its activations at every loop");
  command->add_option("--calibrate-tokens", quantize.calibrate_tokens, "tokens of it to use")
      ->capture_default_str();
  command->add_option("--calibrate-context", quantize.calibrate_context, "tokens of one sequence")
      ->capture_default_str();
  command->add_option("--evaluate", quantize.evaluate,
                      "text file: report how the error grows from depth to depth on it");
  command
      ->add_option("--evaluate-tokens", quantize.evaluate_tokens,
                   "use the first so many tokens; 0: all")
      ->capture_default_str();
  command->add_option("--evaluate-context", quantize.evaluate_context, "tokens of a window")
      ->capture_default_str();
  command->add_option("--svg", quantize.svg, "picture of the error by depth and loop to write")
      ->needs("--evaluate");
  AddCommon(command, &all.common);
  command->callback(
      [&all, run] { *run = [&all] { return RunQuantize(all.quantize, all.common); }; });
}

void AddExport(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand(
      "export", "unrolled and merged, for transformers or llama.cpp; or narrower");
  AddModel(command, &all.export_model.model);
  command
      ->add_option("--format", all.export_model.format,
                   "hf, gguf or native (rondo's own, folded as it is)")
      ->capture_default_str();
  command->add_option("--out,-o", all.export_model.out, "directory (hf, native) or file (gguf)")
      ->required();
  command
      ->add_option(
          "--ffn-width", all.export_model.ffn_width,
          "keep this share of every feed-forward, its first channels (see docs/training.md)")
      ->capture_default_str();
  command->add_option("--type", all.export_model.type, "type of matrices: f32, bf16 or f16")
      ->capture_default_str();
  AddForce(command, &all.export_model.force);
  AddCommon(command, &all.common);
  command->callback(
      [&all, run] { *run = [&all] { return RunExport(all.export_model, all.common); }; });
}

void AddBench(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand("bench", "speed of a model and what its memory allows");
  BenchOptions& bench = all.bench.bench;
  AddModel(command, &all.bench.model);
  command->add_option("--prefill", bench.prefill, "tokens of the prompt; 0: none")
      ->capture_default_str();
  command->add_option("--decode", bench.decode, "tokens each sequence writes; 0: none")
      ->capture_default_str();
  command->add_option("--batch", bench.batch, "sequences that write together")
      ->capture_default_str();
  command->add_option("--context", bench.context, "positions each of them holds before")
      ->capture_default_str();
  command->add_option("--repeat", bench.repeat, "times everything is measured")
      ->capture_default_str();
  command
      ->add_option("--type", all.bench.type,
                   "weights in f32, bf16, q8_0, q4_0, …; auto: as they are stored")
      ->capture_default_str();
  command->add_option("--kv", all.bench.kv, "keys and values in f32, bf16 or int8; auto: by --type")
      ->capture_default_str();
  command->add_flag("--depth-batching", all.bench.depth_batching,
                    "instead: depth-wise batching with exits against sequence batching, --batch "
                    "sequences at once, exits by --exit-share or the model's own by --exit");
  command
      ->add_option("--exit-share", all.bench.share,
                   "comma-separated: of tokens that leave after loop 1, 2, …; default: equal")
      ->delimiter(',');
  command
      ->add_option("--exit", all.bench.exit,
                   "trace, or confidence, entropy, hidden-change or gate with --text")
      ->capture_default_str();
  command->add_option("--exit-threshold", all.bench.exit_threshold, "of --exit");
  command->add_option("--text", all.bench.text, "text whose pieces are the prompts");
  command->add_option("--skipped-kv", all.bench.skipped_kv, "deferred, copy-through or last-loop")
      ->capture_default_str();
  AddCommon(command, &all.common);
  command->callback([&all, run] { *run = [&all] { return RunBench(all.bench, all.common); }; });
}

void AddTranscribe(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  TranscribeCommandOptions& o = all.transcribe;
  CLI::App* command = app.add_subcommand("transcribe", "speech to text, with times of words");
  AddModel(command, &o.model);
  command
      ->add_option(
          "audio", o.audio,
          "sound files, members as archive.tar:name, or - for standard input: a sound file, or "
          "16-bit mono samples")
      ->required();
  command->add_flag("--stream", o.stream, "report text that may still change");
  command
      ->add_option("--partial", o.partial, "--stream: each time so many seconds of audio have come")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->add_option("--pcm-rate", o.pcm_rate, "sampling rate of bare samples in Hz")
      ->check(CLI::Range(1000, 768000))
      ->capture_default_str();
  command->add_option("--format", o.format, "text, or subtitles of one sound file: srt, vtt")
      ->check(CLI::IsMember({"text", "srt", "vtt"}))
      ->capture_default_str();
  command
      ->add_option("--silence", o.silence,
                   "sound that is nowhere as loud has no words, in dB of full scale; -200: off")
      ->check(CLI::Range(-200.0, 0.0))
      ->capture_default_str();
  command
      ->add_option("--type", o.type, "weights in memory: f32, bf16, q8_0, q4_0, …; auto: as stored")
      ->capture_default_str();
  command->add_option("--language", o.language,
                      "Whisper: code of the language spoken, as en; default: detected");
  command->add_flag("--translate", o.translate, "into the model's other language");
  command->add_flag("--no-words", o.no_words, "no times of words");
  command->add_flag("--no-timestamps", o.no_timestamps, "Whisper: one segment for each window");
  command->add_option("--search", o.search, "others: auto, ctc, transducer, attention or joint")
      ->capture_default_str();
  command->add_option("--beam", o.beam, "others: texts kept by the search; 1: greedy")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--memory", o.memory_mib,
                   "MiB of the one region that all work beside the weights takes its memory from")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  AddCommon(command, &all.common);
  command->callback(
      [&all, run] { *run = [&all] { return RunTranscribe(all.transcribe, all.common); }; });
}

void AddReport(CLI::App& app, AllOptions& all, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand("report", "training runs side by side");
  command->add_option("runs", all.report.runs, "run folders or metrics.jsonl files")->required();
  command->add_option("--out,-o", all.report.out, "HTML page with curves and samples to write");
  AddCommon(command, &all.common);
  command->callback([&all, run] { *run = [&all] { return RunReport(all.report, all.common); }; });
}

void AddTrain(CLI::App& app, std::function<int()>* run) {
  CLI::App* command = app.add_subcommand("train", "train a model as a recipe says");
  command->prefix_command();  // all flags are rondo-train's, --help too
  command->set_help_flag();
  command->callback([command, run] {
    *run = [arguments = command->remaining()] { return RunTrain(arguments); };
  });
}

}  // namespace

int ParseAndRun(int argc, char** argv) {
  CLI::App app("rondo: fold a transformer into layers that return");
  app.set_version_flag("--version", RONDO_VERSION);
  app.require_subcommand(1);
  AllOptions all;
  std::function<int()> run;
  AddInspect(app, all, &run);
  AddFold(app, all, &run);
  AddMeasures(app, all, &run);
  AddCalibrateExit(app, all, &run);
  AddWriters(app, all, &run);
  AddQuantize(app, all, &run);
  AddExport(app, all, &run);
  AddBench(app, all, &run);
  AddTranscribe(app, all, &run);
  AddReport(app, all, &run);
  AddTrain(app, &run);
  CLI::App* doctor = app.add_subcommand("doctor", "what this machine has and what is missing");
  AddCommon(doctor, &all.common);
  doctor->callback([&] { run = [&all] { return RunDoctor(all.common); }; });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  SetKernelTarget(all.common.simd);
  return run();
}

}  // namespace rondo::cli
