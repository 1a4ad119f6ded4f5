// Command lines: what is refused, what is suggested, and which exit code says so.
#include "cli/command_line.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "base/strings.h"
#include "cli/commands.h"

namespace rondo::cli {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::string kStories = RONDO_TEST_DATA "/models/stories260K/stories260K.bin";

struct Outcome {
  int code;
  std::string out, err;
};

// Files that flags name: "{model}", "{speech}", "{whisper}", "{plan}", "{ties}".
class CommandLines : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "rondo_command_lines/";
    std::filesystem::create_directories(dir_ + "whisper");
    std::ofstream(dir_ + "whisper/config.json") << R"({"model_type": "whisper", "d_model": 16,
      "vocab_size": 60000, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16,
      "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16})";
    std::ofstream(dir_ + "plan.json") << "{}";
    std::ofstream(dir_ + "ties.txt") << "all: 0 1 0 1 0\n";
    std::ofstream(dir_ + "text.txt") << "Once upon a time there was a little girl.\n";
  }

  Outcome Run(const std::string& line) const {
    std::vector<std::string> words = Split("rondo " + line, ' ');
    if (line.empty()) words.resize(1);
    const std::pair<const char*, std::string> files[] = {
        {"{model}", kStories},
        {"{speech}", RONDO_TEST_DATA "/speech/residual-transformer"},
        {"{whisper}", dir_ + "whisper"},
        {"{plan}", dir_ + "plan.json"},
        {"{ties}", dir_ + "ties.txt"},
        {"{text}", dir_ + "text.txt"},
        {"{out}", dir_ + "out"}};
    std::vector<const char*> argv;
    for (std::string& word : words) {
      for (const auto& [name, path] : files) {
        if (word == name) word = path;
      }
      argv.push_back(word.c_str());
    }
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code =
        Guarded("rondo", [&] { return ParseAndRun(static_cast<int>(argv.size()), argv.data()); });
    return {code, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
  }

  std::string dir_;
};

struct Idle {
  const char *line, *flag, *only;
};

TEST_F(CommandLines, AFlagThatDoesNothingIsAnError) {
  const Idle cases[] = {
      // A value that matters only beside another flag.
      {"fold {model} --out {out} --calibrate-tokens 8", "--calibrate-tokens", "--calibrate"},
      {"fold {model} --out {out} --calibrate-context 8", "--calibrate-context", "--calibrate"},
      {"fold {model} --out {out} --allocate-ranks", "--allocate-ranks", "--calibrate"},
      {"fold {model} --out {out} --suggest", "--suggest", "--calibrate"},
      {"fold {model} --out {out} --keep-first 2", "--keep-first", "middle-cycle"},
      {"fold {model} --out {out} --order cycle --keep-last 2", "--keep-last", "middle-sequence"},
      {"fold {model} --out {out} --residual none --rank 8", "--rank", "with a residual"},
      {"fold {model} --out {out} --residual muldiag --rank 8", "--rank", "has a rank"},
      {"fold {model} --out {out} --residual none --residual-start zero", "--residual-start",
       "with a residual"},
      {"fold {model} --out {out} --calibrate {text} --init lower", "--init", "without --calibrate"},
      {"quantize {model} --type q4_0 --out {out} --calibrate-tokens 8", "--calibrate-tokens",
       "--calibrate"},
      {"quantize {model} --type q4_0 --out {out} --calibrate-context 8", "--calibrate-context",
       "--calibrate"},
      {"quantize {model} --type q4_0 --out {out} --evaluate-tokens 8", "--evaluate-tokens",
       "--evaluate"},
      {"quantize {model} --type q4_0 --out {out} --evaluate-context 8", "--evaluate-context",
       "--evaluate"},
      {"quantize {model} --type q4_0 --out {out} --svg x.svg", "--svg", "--evaluate"},
      {"bench {model} --exit entropy", "--exit", "--depth-batching"},
      {"bench {model} --text {text}", "--text", "--depth-batching"},
      {"bench {model} --skipped-kv deferred", "--skipped-kv", "--depth-batching"},
      {"bench {model} --exit-share 0.5,0.5", "--exit-share", "--depth-batching"},
      {"bench {model} --exit-threshold 0.5", "--exit-threshold", "--depth-batching"},
      {"bench {model} --depth-batching --exit-threshold 0.5", "--exit-threshold", "--exit"},
      {"bench {model} --depth-batching --exit entropy --exit-share 1", "--exit-share", "trace"},
      {"bench {model} --depth-batching --context 8", "--context", "without --depth-batching"},
      {"generate {model} --min-loops 2", "--min-loops", "--exit"},
      {"generate {model} --skipped-kv last-loop", "--skipped-kv", "--exit"},
      {"generate {model} --draft-loops 2", "--draft-loops", "--draft"},
      {"generate {model} --top-k 5", "--top-k", "--temperature"},
      {"generate {model} --top-p 0.5", "--top-p", "--temperature"},
      {"chat {model} --temperature 0 --min-p 0.5", "--min-p", "--temperature"},
      {"generate {model} --chat-template {text}", "--chat-template", "--chat"},
      {"generate {model} --prompt a --prompt-file {text}", "--prompt-file", "without --prompt"},
      {"chat {model} --json", "--json", "where there is a report"},
      {"transcribe {speech} a.wav --partial 3", "--partial", "--stream"},
      {"transcribe {speech} a.wav --pcm-rate 8000", "--pcm-rate", "- among the audio"},
      {"calibrate-exit {model} --text {text} --fit-gate {out} --exit entropy", "--exit",
       "without --fit-gate"},
      // Another way to say what is measured or made.
      {"eval {model} --tasks piqa --text {text}", "--text", "without --tasks"},
      {"eval {model} --tasks piqa --context 8", "--context", "--text"},
      {"eval {model} --tasks piqa --stride 8", "--stride", "--text"},
      {"eval {model} --text {text} --shots 2", "--shots", "--tasks"},
      {"eval {model} --text {text} --limit 2", "--limit", "--tasks"},
      {"eval {model} --text {text} --resume x", "--resume", "--tasks"},
      {"eval {model} --text {text} --beam 2", "--beam", "--speech"},
      {"eval {model} --text {text} --hypotheses x", "--hypotheses", "--speech"},
      {"eval {speech} --speech x.tsv --context 8", "--context", "--text"},
      {"eval {speech} --speech x.tsv --stride 8", "--stride", "--text"},
      {"eval {speech} --speech x.tsv --max-tokens 8", "--max-tokens", "--text"},
      {"eval {speech} --speech x.tsv --kv f32", "--kv", "without --speech"},
      {"eval {speech} --speech x.tsv --left-chunks 2", "--left-chunks", "--chunk"},
      {"fold {model} --out {out} --plan {ties} --order cycle", "--order", "without --plan"},
      {"fold {model} --out {out} --plan {ties} --loops 2", "--loops", "without --plan"},
      {"fold {model} --out {out} --plan {plan} --rank 8", "--rank", "JSON plan"},
      {"fold {model} --out {out} --plan {plan} --residual dora", "--residual", "JSON plan"},
      {"fold {model} --out {out} --plan {plan} --norms tied", "--norms", "JSON plan"},
      {"fold {model} --out {out} --plan {plan} --tie-biases", "--tie-biases", "JSON plan"},
      {"fold {model} --out {out} --plan {plan} --prefix 2", "--prefix", "JSON plan"},
      {"inspect {model} --plan {plan} --rank 8", "--rank", "JSON plan"},
      {"inspect {model} --init lower", "--init", "rondo fold"},
      {"inspect {model} --residual-start zero", "--residual-start", "rondo fold"},
      {"inspect {model} --seed 1", "--seed", "rondo fold"},
      {"fold {model} --out {out} --suggest --calibrate {text} --order cycle", "--order",
       "without --suggest"},
      {"fold {model} --out {out} --suggest --calibrate {text} --plan {ties}", "--plan",
       "without --suggest"},
      {"fold {model} --out {out} --suggest --calibrate {text} --store bf16", "--store",
       "without --suggest"},
      {"fold {model} --out {out} --suggest --calibrate {text} --allocate-ranks", "--allocate-ranks",
       "without --suggest"},
      // Another kind of model.
      {"fold {speech} --out {out} --calibrate x.tsv --calibrate-context 8", "--calibrate-context",
       "language models"},
      {"fold {speech} --out {out} --calibrate x.tsv --suggest", "--suggest", "language models"},
      {"fold {speech} --out {out} --calibrate x.tsv --allocate-ranks", "--allocate-ranks",
       "language models"},
      {"quantize {speech} --type q4_0 --out {out} --layout rondo", "--layout", "language models"},
      {"quantize {speech} --type q4_0 --out {out} --calibrate x.tsv", "--calibrate",
       "language models"},
      {"quantize {speech} --type q4_0 --out {out} --evaluate x.tsv", "--evaluate",
       "language models"},
      {"transcribe {speech} a.wav --language en", "--language", "Whisper"},
      {"transcribe {speech} a.wav --no-timestamps", "--no-timestamps", "Whisper"},
      {"transcribe {whisper} a.wav --search ctc", "--search", "other models than Whisper"},
      {"transcribe {whisper} a.wav --beam 4", "--beam", "other models than Whisper"},
      {"eval {whisper} --speech x.tsv --search ctc", "--search", "other models than Whisper"},
      {"eval {whisper} --speech x.tsv --chunk 4", "--chunk", "other models than Whisper"},
  };
  for (const Idle& idle : cases) {
    const Outcome outcome = Run(idle.line);
    EXPECT_EQ(outcome.code, 2) << idle.line;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr(std::string(idle.flag) + ": given"),
                                   HasSubstr("does nothing here"), HasSubstr(idle.only)))
        << idle.line;
  }
}

TEST_F(CommandLines, WhatNobodyGaveIsNoError) {
  for (const char* line :
       {"inspect nowhere", "fold nowhere --out {out}", "eval nowhere --text {text}",
        "eval nowhere --tasks piqa", "eval nowhere --speech x.tsv",
        "compare nowhere b --text {text}", "calibrate-exit nowhere --text {text}",
        "generate nowhere", "chat nowhere", "quantize nowhere --type q4_0 --out x.gguf",
        "export nowhere --out {out}", "bench nowhere", "bench nowhere --depth-batching",
        "transcribe nowhere a.wav", "report nowhere"}) {
    const Outcome outcome = Run(line);
    EXPECT_EQ(outcome.code, 1) << line << outcome.err;
    EXPECT_THAT(outcome.err, Not(HasSubstr("does nothing"))) << line;
  }
}

struct Misuse {
  const char* line;
  std::vector<std::string> says;
};

TEST_F(CommandLines, MisuseIsExplained) {
  const Misuse cases[] = {
      {"inspct {model}", {"unknown command 'inspct'", "did you mean 'inspect'?"}},
      {"fold {model} --ordr sequence --rnk 8 --out {out}",
       {"unknown flag '--ordr'; did you mean '--order'?\n  unknown flag '--rnk'", "'--rank'"}},
      {"fold {model} --ordr sequence", {"unknown flag '--ordr'", "See 'rondo fold --help'."}},
      {"--verson", {"unknown flag '--verson'"}},
      {"fold {model}", {"rondo fold: --out is required"}},
      {"fold", {"model is required"}},
      {"inspect {model} more", {"argument 'more' too many"}},
      {"eval {model}", {"nothing to evaluate on", "--text, --tasks or --speech"}},
      {"fold {model} --out {out} --residual lroa",
       {"--residual: unknown name 'lroa' (expected one of none, lora", "did you mean 'lora'?"}},
      {"fold {model} --out {out} --prefix two", {"--prefix: value 'two'", "an integer"}},
      {"fold {model} --out {out} --rank -3", {"--rank: -3", "0 or more"}},
      {"fold {model} --out {out} --store q4_0", {"--store: value 'q4_0'", "f32, bf16, f16"}},
      {"doctor --threads 9999", {"--threads: value 9999", "0 to 1024"}},
      {"quantize {model} --out x.gguf --type Q4_K_M",
       {"--type: unknown name 'Q4_K_M'", "mixture", "take q4_k"}},
      {"quantize {model} --out x.gguf --type q3_k", {"'q3_k'", "q4_0 and q4_k"}},
      {"quantize {model} --out x.gguf --type f16", {"--type: value 'f16'", "one of q8_0"}},
      {"generate {model} --exit entropy", {"--exit entropy", "no --exit-threshold"}},
      {"quantize {model} --out {out}.gguf --type q3_0 --layout llama.cpp",
       {"--layout", "llama.cpp does not know"}},
      {"quantize {model} --out {out}.gguf --type q4_0 --tensor-type up", {"--tensor-type", "'up'"}},
      {"export {model} --out {out}.gguf --format gguf --type q3_0", {"--type", "bf16"}},
      {"quantize {model} --type q4_0 --out x.gguf --calibrate - --evaluate -",
       {"--evaluate: standard input again", "a file for one of them"}},
      {"help nonsense", {"unknown command 'nonsense'"}},
  };
  for (const Misuse& misuse : cases) {
    const Outcome outcome = Run(misuse.line);
    EXPECT_EQ(outcome.code, 2) << misuse.line;
    EXPECT_THAT(outcome.err, AllOf(StartsWith("rondo"), Not(HasSubstr("(expected did you mean")),
                                   Not(testing::ContainsRegex(" \\[[A-Z][A-Za-z:]*\\]"))))
        << misuse.line;
    for (const std::string& part : misuse.says) {
      EXPECT_THAT(outcome.err, HasSubstr(part)) << misuse.line;
    }
  }
}

TEST_F(CommandLines, FailuresHaveAnotherCodeAndNoNamesOfFunctions) {
  const Outcome outcome = Run("inspect no-such-model");
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("no-such-model"), Not(HasSubstr("["))));
}

TEST_F(CommandLines, HelpListsCommandsAndFlags) {
  for (const char* line : {"", "help", "--help"}) {
    const Outcome all = Run(line);
    EXPECT_EQ(all.code, 0);
    EXPECT_THAT(all.out, AllOf(HasSubstr("Usage: rondo "), HasSubstr("quantize"),
                               HasSubstr("transcribe"), HasSubstr("train")))
        << line;
  }
  for (const char* line : {"help fold", "fold --help"}) {
    const Outcome fold = Run(line);
    EXPECT_EQ(fold.code, 0);
    EXPECT_THAT(fold.out, AllOf(HasSubstr("rondo fold"), HasSubstr("--calibrate-tokens"),
                                HasSubstr("none, lora, lora-diag, dora, muldiag, kronecker")))
        << line;
  }
}

TEST_F(CommandLines, DefaultsShrinkToTheModelsPositionsAndSaySo) {
  std::ofstream text(dir_ + "text.txt");
  for (int i = 0; i < 200; ++i) text << "Once upon a time there was a little girl. ";
  text.close();
  const Outcome outcome = Run("eval {model} --text {text} --max-tokens 600 --json --quiet");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"context\": 512"));
  EXPECT_THAT(outcome.err, HasSubstr("--context: 512, all that the model has room for"));
  const Outcome asked = Run("eval {model} --text {text} --context 1000");
  EXPECT_EQ(asked.code, 1);
  EXPECT_THAT(asked.err, AllOf(HasSubstr("--context"), HasSubstr("1000"), HasSubstr("512")));
}

TEST_F(CommandLines, NothingIsPrintedBeforeOptionsAreChecked) {
  for (const char* wrong : {"--temperature 1 --top-p -1", "--temperature -1", "--draft 2",
                            "--exit gate --exit-threshold 0.5", "--max-tokens -1"}) {
    const Outcome outcome = Run(std::string("generate {model} --prompt Once ") + wrong);
    EXPECT_EQ(outcome.code, 1) << wrong << outcome.err;
    EXPECT_EQ(outcome.out, "") << wrong;
  }
}

TEST_F(CommandLines, AChatWithoutATemplateSaysWhatToDo) {
  for (const char* line : {"chat {model}", "generate {model} --prompt x --chat"}) {
    const Outcome outcome = Run(line);
    EXPECT_EQ(outcome.code, 1) << line;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr("no chat template"), HasSubstr("--chat-template FILE"),
                                   HasSubstr("rondo generate")))
        << line;
  }
}

}  // namespace
}  // namespace rondo::cli
