// The options of a training run, as a TOML file says them.
//
//   Recipe recipe = ReadRecipe("recipe.toml", {"train.lr=3e-4", "stages.0.minutes=10"});
//   std::string text = RecipeToToml(recipe);      // everything resolved
//
// Errors are keys that no option has (the nearest is suggested), values out of range, and keys that
// do nothing in this recipe: each field says when it counts (recipe_visit.h). docs/training.md
// describes all.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "rondo/tensor.h"
#include "train/recipe/choices.h"
#include "train/recipe/speech_section.h"

namespace rondo {

// A model of random weights instead of Recipe::model.
struct InitSection {
  std::string family = "llama";
  std::string tokenizer;
  std::string plan;
  int layers = 12;
  int d_model = 768;
  int heads = 12;
  int kv_heads = 0;
  int head_dim = 0;
  int d_ff = 0;
  int vocab = 0;
  int max_positions = 1024;
  double rope_theta = 10000;
  bool tied_embeddings = true;
  double deviation = 0.02;
  uint64_t seed = 0;
};

struct DataSection {
  std::vector<std::string> files;
  DocumentUnit unit = DocumentUnit::kParagraph;
  std::string field = "text";
  std::string cache = "models/corpora";
  int length = 256;
  RowKind rows = RowKind::kPacked;
  bool documents_apart = false;
  double held_out = 0;
};

struct ValidSection {
  std::string text;
  int context = 1024;
  int64_t max_tokens = 8192;
  double every_minutes = 0;
  int64_t every_steps = 0;
  std::vector<std::string> prompts;
  int new_tokens = 32;
};

struct RunSection {
  std::string out;
  int threads = 0;
  std::string device = "auto";
  uint64_t seed = 0;
  int64_t log_steps = 1;
  double checkpoint_minutes = 10;
  int64_t checkpoint_steps = 0;
  int keep = 2;
  DType store = DType::kF32;
};

// One stage of training. [train] gives the defaults of all [[stages]].
struct StageOptions {
  std::string name;
  StageKind kind = StageKind::kDistill;

  // The first limit that is not 0 bounds the stage, and the schedule follows it.
  int64_t steps = 0;
  int64_t tokens = 0;
  double minutes = 0;

  int batch = 8;
  int accumulate = 1;
  std::vector<std::string> parameters;  // pattern, or pattern:factor on the learning rate
  std::vector<std::string> round;       // pattern:type
  double round_lr = 1;
  bool balance = true;
  double lr = 3e-4;
  LrSchedule schedule = LrSchedule::kCosine;
  double warmup = 0.02;
  double decay = 0.2;
  double final_lr = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1;
  double ema = 0;
  double spike = 0;

  double ce = 0.5;
  double kd = 0.5;
  KdKind divergence = KdKind::kForwardKl;
  double temperature = 1;
  double js_lambda = 0.5;
  double hidden = 0;
  std::vector<int> hidden_depths;
  ExitLoss exits = {};
  double exit_weight = 0.1;
  double exit_kd = 0;
  double gate = 0;
  double layer_dropout = 0;
  int mixture = 0;
  double consistency = 0;

  std::vector<double> widths;  // shares of the feed-forward's width

  FadeKind fade = FadeKind::kNone;
  FadeBy fade_by = {};
  double fade_until = 0.8;
  double fade_power = 1;
  double fade_window = 1;
  bool fade_backward = false;

  Recompute checkpoint = {};
  ComputeType compute = {};
};

// Layers that tie themselves while training.
struct TyingSection {
  TyingMode mode = TyingMode::kRl;
  std::string stage;
  TieUnits unit = TieUnits::kLayer;
  TieNorms norms = TieNorms::kTied;
  TieStart start = TieStart::kFrozen;
  Untie untie = Untie::kCopy;
  TieGradients gradients = TieGradients::kOwner;
  ResidualKind residual = ResidualKind::kNone;
  int rank = 16;
  ResidualStart residual_start = ResidualStart::kFit;

  int interval = 4;
  double until = 1;
  int reach = 0;
  double budget = 0;
  double budget_from = 0;
  double budget_by = 0.5;
  TieReward reward = TieReward::kPerplexity;
  double reward_clip = 10;
  double size_weight = 0;
  double undo = 0;

  int hidden = 128;
  double discount = 0.99;
  double epsilon = 1;
  double epsilon_decay = 0.95;
  double epsilon_floor = 0.01;
  double own_value = 0;
  double agent_lr = 1e-3;
  double agent_decay = 0.01;
  int replay = 0;
  int replay_batch = 32;
  int target_every = 0;

  TiePolicy policy = TiePolicy::kFirst;
  double policy_at = 0;
  int keep = 0;
  std::string plan;
  std::string decisions;
};

struct Recipe {
  std::string model;
  std::string rounded;
  std::string teacher;
  std::string teacher_cache;
  int teacher_top_k = 64;
  std::optional<InitSection> init;
  std::optional<TyingSection> tying;
  std::optional<SpeechSection> speech;  // a speech model instead of a language model
  DataSection data;
  ValidSection valid;
  RunSection run;
  std::vector<StageOptions> stages;
  std::string file;  // where it came from, for errors
};

// `settings`: "key=value" that override the file; a value that is no TOML is taken as a string.
// Throws rondo::Error naming file, key, value and what was expected.
Recipe ReadRecipe(const std::string& path, std::span<const std::string> settings);
Recipe ParseRecipe(const std::string& text, const std::string& file,
                   std::span<const std::string> settings);
// From what RecipeToToml wrote, also that of older versions, which wrote keys that do nothing too.
Recipe ParseResolved(const std::string& text, const std::string& file);
// Every key that counts.
std::string RecipeToToml(const Recipe& recipe);
// Every key with its default, its meaning and when it counts.
std::string RecipeHelp();
// Either of the two texts as one JSON object.
std::string TomlToJson(const std::string& toml);

}  // namespace rondo
