#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/machine.h"
#include "base/stopwatch.h"
#include "base/strings.h"
#include "base/warn.h"
#include "cli/compress_files.h"
#include "cli/options_visit.h"
#include "cli/output.h"
#include "cli/session.h"
#include "eval/bench.h"
#include "report/plan_picture.h"
#include "rondo/compress.h"
#include "rondo/error.h"
#include "rondo/eval.h"

namespace rondo::cli {
namespace {

namespace fs = std::filesystem;

// "60MB" is 60,000,000 bytes, "57MiB" 57 · 2^20; "2x" twice.
double ParseAmount(const char* flag, const std::string& text,
                   std::initializer_list<std::pair<std::string_view, double>> units) {
  size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  std::string names;
  for (const auto& [unit, factor] : units) {
    if (used > 0 && value > 0 && std::isfinite(value) && text.substr(used) == unit) {
      return value * factor;
    }
    names += (names.empty() ? "" : ", ") + ("'" + std::string(unit) + "'");
  }
  throw UsageError({.function = "RunCompress",
                    .problem = "'" + text + "'",
                    .expected = "a number above 0 and a unit of " + names,
                    .field = flag});
}

struct Goal {
  Budget budget;
  std::string words;
  double factor = 1;  // of decoding speed
};

Goal GoalOf(const CompressCommandOptions& options, const Model& model) {
  const int given = (options.target_size.empty() ? 0 : 1) + (options.target_params > 0 ? 1 : 0) +
                    (options.target_speed.empty() ? 0 : 1);
  if (given != 1) {
    throw UsageError({.function = "RunCompress",
                      .problem = std::to_string(given) + " targets",
                      .expected = "one of --target-size, --target-params and --target-speed",
                      .field = "--target-size"});
  }
  Goal goal;
  if (!options.target_size.empty()) {
    goal.budget = {BudgetKind::kBytes, ParseAmount("--target-size", options.target_size,
                                                   {{"MB", 1e6},
                                                    {"MiB", 1048576},
                                                    {"GB", 1e9},
                                                    {"GiB", 1073741824},
                                                    {"KB", 1e3},
                                                    {"KiB", 1024},
                                                    {"M", 1e6},
                                                    {"G", 1e9},
                                                    {"", 1}})};
    goal.words = "a file of at most " + options.target_size;
  } else if (options.target_params > 0) {
    const double all = BudgetOf(model, BudgetKind::kParameters);
    const double amount = options.target_params;
    goal.budget = {BudgetKind::kParameters, amount <= 1 ? amount * all : amount};
    goal.words = "at most " + WithThousands(static_cast<int64_t>(goal.budget.amount)) +
                 " non-embedding parameters";
  } else {
    goal.factor = ParseAmount("--target-speed", options.target_speed, {{"x", 1}});
    goal.budget = {BudgetKind::kTokenBytes, BudgetOf(model, BudgetKind::kTokenBytes) / goal.factor};
    goal.words = "decoding " + options.target_speed + " as fast";
  }
  return goal;
}

std::string SettingsJson(const CompressCommandOptions& options) {
  nlohmann::ordered_json json;
  json["model"] = options.model;
  json["text"] = options.text;
  json["target_size"] = options.target_size;
  json["target_params"] = options.target_params;
  json["target_speed"] = options.target_speed;
  json["only"] = options.only;
  json["minutes"] = options.minutes;
  json["search_tokens"] = options.search_tokens;
  json["calibrate_tokens"] = options.calibrate_tokens;
  return json.dump(2);
}

class Compression {
 public:
  Compression(const CompressCommandOptions& options, const CommonOptions& common)
      : options_(options),
        common_(common),
        pool_(common.threads),
        model_(LoadModel(options.model)),
        tokenizer_(LoadTokenizer(options.model)),
        goal_(GoalOf(options, model_)),
        work_(options.out + "/work") {
    OpenCompression(options.out, SettingsJson(options), options.force);
    text_ = SplitText(options.text, work_);
    held_out_ = EncodeFile(*tokenizer_, text_.held_out);
    overhead_ = MetadataBytes();
  }

  int Run() {
    AddRow("original", model_,
           fs::exists(options_.model) && !IsDirectory(options_.model)
               ? static_cast<int64_t>(fs::file_size(options_.model))
               : static_cast<int64_t>(model_.weights.bytes()));
    constexpr int kAttempts = 3;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      Choose();
      if (Reached()) break;
    }
    const std::string rounded = options_.out + "/model.gguf";
    if (options_.minutes > 0) Train();
    AddRival();
    AddRow("chosen", result_.rounded, static_cast<int64_t>(fs::file_size(untrained_)));
    if (options_.minutes > 0) {
      const std::string trained = work_ + "/run/model/model.gguf";
      const std::string file = IsRegularFile(trained) ? trained : work_ + "/run/model.gguf";
      // Matrices that no rounding trained are stored as planned.
      SaveNativeGguf(LoadModel(file), rounded, result_.types, pool_, common_.quiet,
                     {.force = true});
      AddRow("chosen, trained", LoadModel(rounded), static_cast<int64_t>(fs::file_size(rounded)));
    } else {
      fs::copy_file(untrained_, rounded, fs::copy_options::overwrite_existing);
    }
    return Report();
  }

 private:
  // What a GGUF file of this model has beside its tensors: vocabulary, names, plan.
  double MetadataBytes() {
    if (goal_.budget.kind != BudgetKind::kBytes) return 0;
    const std::string file = work_ + "/as_it_came.gguf";
    SaveNativeGguf(model_, file, StartingTypes(model_), pool_, /*quiet=*/true, {.force = true});
    const double bytes =
        static_cast<double>(fs::file_size(file)) - BudgetOf(model_, BudgetKind::kBytes);
    fs::remove(file);
    constexpr double kLongerPlan = 4e3;  // what a plan of format 2 says more
    return bytes + kLongerPlan;
  }

  std::vector<int32_t> TrainTokens() const {
    // As much as the calibration can spread over; encoding all of a large corpus takes minutes.
    constexpr size_t kMostBytes = size_t{4} << 20;
    std::string text = ReadTextFile(text_.train);
    if (text.size() > kMostBytes) text.resize(text.rfind('\n', kMostBytes) + 1);
    return tokenizer_->Encode(text, {.add_special = true, .parse_special = false});
  }

  void Choose() {
    const std::string log = options_.out + "/search.jsonl";
    CompressOptions options{.target = goal_.budget, .only = options_.only};
    options.target.amount -= overhead_;
    options.search_tokens = options_.search_tokens;
    options.repair_tokens = options_.calibrate_tokens;
    options.will_train = options_.minutes > 0;
    options.quiet = common_.quiet;
    options.known = ReadSteps(log);
    options.chosen = [&](const CompressStep& step) { AppendStep(log, step); };
    if (!options.known.empty()) {
      Note("goes on behind " + std::to_string(options.known.size() - 1) + " steps of " + log);
    }
    result_ = Compress(model_, TrainTokens(), options, pool_);
    untrained_ = work_ + "/rounded.gguf";
    SaveNativeGguf(result_.rounded, untrained_, result_.types, pool_, common_.quiet,
                   {.force = true});
    SaveModel(result_.model, work_ + "/model", DType::kF32, {.force = true});
  }

  // Whether the target holds of the file as written, or of the speed as measured; otherwise the
  // budget becomes smaller by what it was missed by.
  bool Reached() {
    if (goal_.budget.kind == BudgetKind::kBytes) {
      const auto bytes = static_cast<double>(fs::file_size(untrained_));
      if (bytes <= goal_.budget.amount) return true;
      overhead_ += (bytes - goal_.budget.amount) * 1.01;
      return false;
    }
    if (goal_.budget.kind == BudgetKind::kParameters) return true;
    const double speed = DecodeSpeed(result_.rounded), before = rows_[0].decode_tok_per_s;
    if (speed >= goal_.factor * before) return true;
    Note("decodes at " + std::to_string(speed / before) + " times the original's speed; goes on");
    goal_.budget.amount *= std::max(0.7, speed / before / goal_.factor);
    return false;
  }

  void Train() {
    const std::string recipe = work_ + "/recipe.toml", out = work_ + "/run";
    const bool rounds = std::ranges::any_of(
        result_.types, [](const auto& entry) { return IsQuantized(entry.second); });
    TrainingPlace place{.model = work_ + "/model",
                        .rounded = rounds ? untrained_ : "",
                        .teacher = options_.model,
                        .text = text_,
                        .cache = work_ + "/corpora",
                        .out = out,
                        .minutes = options_.minutes,
                        .threads = common_.threads};
    WriteTextFile(recipe, RecipeText(place));
    RunTrainer(recipe, IsDirectory(out), common_.quiet);
  }

  double DecodeSpeed(const Model& model) {
    const Engine engine(model, {.weights = std::nullopt}, pool_);
    return Bench(engine, {.prefill = 0, .decode = 64, .repeat = 3}, pool_).decode.median;
  }

  void AddRow(const std::string& name, const Model& model, int64_t bytes) {
    const Engine engine(model, {.weights = DType::kF32}, pool_);
    constexpr int kContext = 512;
    const int context =
        std::min(kContext, model.config.max_positions > 0 ? model.config.max_positions : kContext);
    const double perplexity =
        Perplexity(engine, held_out_, {.context = context, .max_tokens = 8192}).perplexity;
    rows_.push_back({.name = name,
                     .bytes = bytes,
                     .parameters = CountParameters(model.config, model.plan).NonEmbedding(),
                     .perplexity = perplexity,
                     .decode_tok_per_s = DecodeSpeed(model)});
  }

  // What a user would do instead: the whole model in the largest type that fits.
  void AddRival() {
    if (goal_.budget.kind != BudgetKind::kBytes) return;
    TensorTypes types;
    try {
      types = UniformTypesWithin(model_, goal_.budget.amount - overhead_);
    } catch (const Error&) {
      Note("no uniform rounding of the whole model fits the budget");
      return;
    }
    const std::string file = work_ + "/uniform.gguf";
    if (!IsRegularFile(file)) {
      const Model rounded =
          QuantizeCalibrated(model_, types, TrainTokens(),
                             {.max_tokens = options_.calibrate_tokens}, pool_, common_.quiet);
      SaveNativeGguf(rounded, file, types, pool_, common_.quiet, {.force = true});
    }
    const Model rival = LoadModel(file);
    const DType type = rival.weights.Get(BlockTensor(0, Module::kDown)).dtype();
    AddRow("whole model rounded to " + std::string(Info(type).name), rival,
           static_cast<int64_t>(fs::file_size(file)));
  }

  int Report() {
    const std::string& out = options_.out;
    const char* axis = goal_.budget.kind == BudgetKind::kParameters ? "non-embedding parameters"
                       : goal_.budget.kind == BudgetKind::kBytes    ? "bytes of all tensors"
                                                                    : "bytes read for one token";
    WriteTextFile(out + "/plan.json", PlanToJson(result_.model.plan) + "\n");
    WriteTextFile(out + "/table.md", TableText(rows_));
    WriteTextFile(out + "/curve.svg", CurveSvg(result_.steps, axis));
    const std::string summary = SummaryText(result_, rows_, goal_.words);
    WriteTextFile(out + "/summary.txt", summary);
    Output report;
    report.Add("written", out + "/model.gguf");
    report.Add("bytes", rows_.back().bytes);
    report.Add("parameters_non_embedding", rows_.back().parameters);
    report.Add("perplexity_original", rows_.front().perplexity);
    report.Add("perplexity", rows_.back().perplexity);
    report.Add("decode_tok_per_s_original", rows_.front().decode_tok_per_s);
    report.Add("decode_tok_per_s", rows_.back().decode_tok_per_s);
    report.Add("steps", static_cast<int64_t>(result_.steps.size()) - 1);
    report.Add("returns", result_.returns);
    report.Add("repaired", result_.repaired);
    report.Add("seconds", watch_.Seconds());
    report.Add("peak_memory_bytes", PeakMemoryBytes());
    if (!common_.json) {
      std::printf("%s\n%s\n", summary.c_str(), TableText(rows_).c_str());
    }
    report.Print(common_.json);
    return 0;
  }

  void Note(const std::string& text) const {
    if (!common_.quiet) std::fprintf(stderr, "rondo: %s\n", text.c_str());
  }

  const CompressCommandOptions& options_;
  const CommonOptions& common_;
  ThreadPool pool_;
  Model model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Goal goal_;
  std::string work_;
  TextParts text_;
  std::vector<int32_t> held_out_;
  double overhead_ = 0;
  CompressResult result_;
  std::string untrained_;
  std::vector<CompressRow> rows_;
  Stopwatch watch_;
};

}  // namespace

int RunCompress(const CompressCommandOptions& options, const CommonOptions& common) {
  return Compression(options, common).Run();
}

}  // namespace rondo::cli
