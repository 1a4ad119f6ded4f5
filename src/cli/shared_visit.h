// The flags that are the same for several commands: how to run, and how to share.
#pragma once

#include "base/options.h"
#include "cli/options.h"
#include "engine/generate_names.h"
#include "fold/fold_names.h"
#include "kernels/kv_names.h"
#include "tensor/dtype_names.h"

namespace rondo::cli {

// `json`: when there is something to print so.
template <typename Visitor>
void Visit(CommonOptions& o, Visitor& v, const Condition& json = {}) {
  v({.name = "json", .help = "print one JSON object", .when = json}, o.json);
  v({.name = "quiet", .help = "no progress bars", .letter = 'q'}, o.quiet);
  v({.name = "threads",
     .help = "threads; 0: one for each CPU",
     .range = Between(0, 1024),
     .letter = 't'},
    o.threads);
  v({.name = "simd",
     .help = "instruction set of the kernels: auto, portable, or one that rondo doctor lists"},
    o.simd);
  v({.name = "pre_tokenizer",
     .help = "pre-tokenizer of a vocabulary whose file names none: llama-bpe, qwen2, gpt-2, …"},
    o.pre_tokenizer);
}

template <typename Visitor>
void VisitAdapters(CommonOptions& o, Visitor& v, const Condition& language) {
  v({.name = "adapter",
     .help = "LoRA adapter merged into the model: a PEFT directory or a GGUF file; may be repeated",
     .when = language,
     .whole = true,
     .single = true},
    o.adapters);
}

template <typename Visitor>
void VisitModel(std::string& model, Visitor& v, std::string_view name = "model") {
  v({.name = name,
     .help = "Hugging Face directory, rondo directory or GGUF file",
     .positional = true,
     .required = true},
    model);
}

// `kv`: when keys and values of that type exist.
template <typename Visitor>
void Visit(EngineOptions& o, Visitor& v, const Condition& kv = {}) {
  v({.name = "type",
     .help = "type of the weights in memory; auto: as they are stored",
     .among = kPackedTypes},
    o.weights);
  v({.name = "kv", .help = "type of keys and values; auto: what goes with --type", .when = kv},
    o.kv);
}

// What a plan is asked for.
struct PlanUse {
  bool inspect = false, calibrated = false, suggest = false;
};

template <typename Visitor>
void VisitOrders(PlanFlags& o, Visitor& v) {
  Only free(v, {o.plan_file.empty(), "without --plan"});
  const bool middle = o.order.find("middle-") != o.order.npos;
  Only kept(free, {middle, "with --order middle-cycle or middle-sequence"});
  free({.name = "order",
        .help = "which layers share: identity, cycle, sequence, middle-cycle or middle-sequence; "
                "or attention=ORDER,ffn=ORDER,norms=ORDER"},
       o.order);
  free({.name = "loops", .help = "how often each block runs; or attention=N,ffn=N,norms=N"},
       o.loops);
  kept({.name = "keep_first", .help = "leading layers that share nothing", .range = AtLeast(0)},
       o.keep_first);
  kept({.name = "keep_last", .help = "trailing layers that share nothing", .range = AtLeast(0)},
       o.keep_last);
}

template <typename Visitor>
void VisitResidual(PlanFlags& o, const Condition& shape, const PlanUse& use, Visitor& v) {
  const bool has_rank =
      o.fold.residual != ResidualKind::kNone && o.fold.residual != ResidualKind::kMulDiag;
  v({.name = "residual",
     .help = "what each layer adds to the matrix that it shares",
     .when = shape},
    o.fold.residual);
  v({.name = "rank",
     .help = "rank of the residuals; or q=32,ffn=128,… by module or group",
     .when = Both(shape, {has_rank || o.rank == "0", "with a residual that has a rank"})},
    o.rank);
  const bool fitted = o.whole_plan || o.fold.residual != ResidualKind::kNone;
  const Condition starts = {!use.inspect && !use.suggest, "where rondo fold writes a model"};
  v({.name = "residual_start",
     .help = "residuals at first: fit (what sharing takes from each layer) or zero (nothing, for "
             "training from there)",
     .when = Both(starts, {fitted, "with a residual"})},
    o.fold.residual_start);
}

template <typename Visitor>
void Visit(PlanFlags& o, const PlanUse& use, Visitor& v) {
  const Condition planned = {!use.suggest, "without --suggest, which looks for plans"};
  const Condition shape = {!o.whole_plan, "without a JSON plan in --plan, which says it already"};
  const Condition written = {!use.inspect && !use.suggest, "where rondo fold writes a model"};
  Only orders(v, planned);
  VisitOrders(o, orders);
  v({.name = "plan",
     .help =
         "file with a sharing plan or tie maps (docs/plans.md), or a folded model whose plan to "
         "take",
     .when = planned},
    o.plan_file);
  v({.name = "init",
     .help = "where shared tensors come from; auto: average with residuals, stepwise without",
     .when = Both(written, {!use.calibrated, "without --calibrate, which fits shared tensors"})},
    o.init);
  VisitResidual(o, shape, use, v);
  v({.name = "norms",
     .help = "norms: each layer's own, absorbed into the linears, or tied",
     .when = shape},
    o.fold.norms);
  v({.name = "tie_biases", .help = "tie biases along with the weights", .when = shape},
    o.fold.tie_biases);
  v({.name = "prefix",
     .help = "trained keys and values of every depth; 0: none",
     .range = AtLeast(0),
     .when = Both(planned, shape)},
    o.fold.prefix);
  // A seed asks for the same result again, which is what a fold that draws nothing gives, too.
  v({.name = "seed", .help = "seed of all that is drawn at random", .when = written}, o.fold.seed);
}

}  // namespace rondo::cli
