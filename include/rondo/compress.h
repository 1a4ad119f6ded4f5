// The best model under a budget: what goes, returns, is shared, narrowed or rounded is chosen by
// measurement, each step behind all that were chosen before.
//
//   CompressOptions options;
//   options.target = {.kind = BudgetKind::kBytes, .amount = 60e6};
//   CompressResult result = Compress(model, tokens, options, pool);
//   SaveNativeGguf(result.rounded, "small.gguf", result.types, pool);
//
// Works on decoders of text that share nothing yet. Deterministic. Any number of threads may call
// it at once; those that share a pool take turns.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "rondo/export.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

enum class BudgetKind {
  kBytes,       // of all tensors as stored
  kParameters,  // all but embedding and head
  kTokenBytes,  // bytes read for one token, which decoding speed follows
};

struct Budget {
  BudgetKind kind = BudgetKind::kBytes;
  double amount = 0;  // the most that is good enough
};

// One step of the search, for tables and pictures.
struct CompressStep {
  std::string name = {};  // "drop 12", "bits ffn 3 q3_0"; empty: the model as it came
  double cost = 0;        // in the budget's unit, after the step
  double kl = 0;          // from the original on the search text, nats a token
  double nll = 0;         // of the search text, nats a token
};

struct CompressOptions {
  Budget target = {};
  // Operators to choose among, see CompressOperators(); empty: all.
  std::vector<std::string> only = {};
  int64_t search_tokens = 1024;  // text on which every candidate step is measured
  int search_context = 256;
  int64_t repair_tokens = 16384;  // text for the repair, and for rounding with error feedback
  int repair_context = 512;
  int64_t judge_tokens = 4096;  // text that decides whether repair and returns stay
  bool will_train = false;      // returning passes stay wherever gone depths allow them
  bool quiet = true;
  // Steps of a search that was interrupted, and a function that is told of every new one.
  std::vector<CompressStep> known = {};
  std::function<void(const CompressStep&)> chosen = {};
};

struct CompressResult {
  Model model = {};        // with its plan (format 2), not rounded
  Model rounded = {};      // the same with quantised tensors, rounded with error feedback
  TensorTypes types = {};  // of every tensor
  std::vector<CompressStep> steps = {};
  bool repaired = false;  // whether the closed-form repair lowered the loss and stayed
  int returns = 0;        // passes that came back
};

// Names of all operators: drop, return, tie, lowrank, narrow, embed, bits.
std::vector<std::string> CompressOperators();

// The budget of a whole model as it came: what a share or a factor is of. Quantised tensors count
// as they are stored; others as q8_0 for kBytes and as bf16 for kTokenBytes.
double BudgetOf(const Model& model, BudgetKind kind);

// The types with which a search for kBytes begins.
TensorTypes StartingTypes(const Model& model);

// `tokens` is the text that everything is measured and fitted on; keep another for judging the
// result. Throws for models that share already, for too little text, and where the operators cannot
// reach the target.
CompressResult Compress(const Model& model, std::span<const int32_t> tokens,
                        const CompressOptions& options, ThreadPool& pool);

// Tensor types after the largest uniform rounding that fits `bytes`: what a user would do without
// any search. All matrices have one type of the list q8_0 … q2_0, the embedding too. Throws where
// even the smallest does not fit.
TensorTypes UniformTypesWithin(const Model& model, double bytes);

}  // namespace rondo
