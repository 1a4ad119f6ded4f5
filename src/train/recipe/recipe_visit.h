// One list of every option's key, meaning, range, and when it counts. Reading, writing, checks and
// help all walk it.
#pragma once

#include <algorithm>
#include <string>

#include "base/options.h"
#include "tensor/dtype_names.h"
#include "train/recipe/recipe.h"

namespace rondo {

// What of the whole recipe decides which keys of a section count.
struct RecipeKind {
  bool speech = false;
  bool heard = false;    // there are utterances to measure on
  bool model = false;    // goes on with one
  bool rounded = false;  // begins as a file rounds it
  bool teacher = false;  // there is one
  bool cache = false;    // of the teacher's tokens
};

// Whether [tying] is about this stage.
inline bool IsTied(const Recipe& recipe, size_t stage) {
  if (!recipe.tying) return false;
  const std::string& name = recipe.tying->stage;
  return name.empty() ? stage == 0 : recipe.stages[stage].name == name;
}

inline RecipeKind KindOf(const Recipe& recipe) {
  const auto measured = [](const SpeechSection& o) {
    return !o.valid.empty() || !o.held_out.empty();
  };
  return {.speech = recipe.speech.has_value(),
          .heard = recipe.speech && measured(*recipe.speech),
          .model = !recipe.model.empty(),
          .rounded = !recipe.rounded.empty(),
          .teacher = !recipe.teacher.empty(),
          .cache = !recipe.teacher_cache.empty()};
}

inline Condition ForLanguage(const RecipeKind& kind) {
  return {!kind.speech, "for language models"};
}

template <typename Visitor>
void VisitRoot(Recipe& o, const RecipeKind& kind, Visitor& v) {
  v({.name = "model", .help = "the model to train: a directory, usually folded"}, o.model);
  v({.name = "rounded",
     .help = "GGUF file of the same model, rounded: its matrices train rounded to its types, from "
             "its scales and codes; empty: none",
     .when = Both(ForLanguage(kind), {kind.model || !kind.rounded, "with model"})},
    o.rounded);
  v({.name = "teacher", .help = "the model to learn from; empty: none"}, o.teacher);
  const Condition cached = {kind.teacher || !kind.cache, "with a teacher"};
  v({.name = "teacher_cache",
     .help = "folder that keeps the teacher's most probable tokens, for rows that come again; "
             "empty: the teacher always runs",
     .when = Both(ForLanguage(kind), cached)},
    o.teacher_cache);
  v({.name = "teacher_top_k",
     .help = "how many tokens of a position it keeps",
     .range = AtLeast(1),
     .when = Both(ForLanguage(kind), {kind.cache, "with teacher_cache"})},
    o.teacher_top_k);
}

inline constexpr std::array<std::string_view, 3> kInitFamilies = {"llama", "qwen3", "gpt2"};

template <typename Visitor>
void Visit(InitSection& o, const RecipeKind& kind, Visitor& visitor) {
  Only v(visitor, ForLanguage(kind));
  v({.name = "family", .help = "the architecture", .among = kInitFamilies}, o.family);
  v({.name = "tokenizer", .help = "a model that has one, or a tokenizer.json"}, o.tokenizer);
  v({.name = "plan",
     .help = "sharing plan as JSON (docs/plans.md); empty: every layer has its own tensors"},
    o.plan);
  v({.name = "layers", .help = "depths, shared or not"}, o.layers);
  v({.name = "d_model", .help = "width of the hidden states"}, o.d_model);
  v({.name = "heads", .help = "heads of attention"}, o.heads);
  v({.name = "kv_heads", .help = "heads of keys and values; 0: as many as heads"}, o.kv_heads);
  v({.name = "head_dim", .help = "width of a head; 0: d_model / heads"}, o.head_dim);
  v({.name = "d_ff",
     .help = "width of the feed-forward; 0: 8/3 of d_model with a gate, in steps of 32, or 4 times "
             "d_model without"},
    o.d_ff);
  v({.name = "vocab", .help = "size of the vocabulary; 0: the tokenizer's"}, o.vocab);
  v({.name = "max_positions", .help = "longest context"}, o.max_positions);
  v({.name = "rope_theta",
     .help = "base of the rotary positions",
     .when = {o.family != "gpt2", "with family llama or qwen3"}},
    o.rope_theta);
  v({.name = "tied_embeddings", .help = "the head is the embedding"}, o.tied_embeddings);
  v({.name = "deviation",
     .help = "standard deviation of the random matrices; that of o and down is divided by "
             "sqrt(2 layers)",
     .range = ShareAboveZero()},
    o.deviation);
  v({.name = "seed", .help = "seed of the random weights"}, o.seed);
}

inline bool IsJsonl(const std::string& file) {
  return file.find(".jsonl") != file.npos || file.find(".ndjson") != file.npos;
}

template <typename Visitor>
void Visit(DataSection& o, const RecipeKind& kind, Visitor& visitor) {
  Only v(visitor, ForLanguage(kind));
  const bool records = std::ranges::any_of(o.files, IsJsonl);
  const bool texts = !std::ranges::all_of(o.files, IsJsonl);
  v({.name = "files", .help = "texts or JSONL to train on, plain, .xz or .zst"}, o.files);
  v({.name = "unit",
     .help = "what one document of a text is",
     .when = {texts || o.files.empty(), "with files of text"}},
    o.unit);
  v({.name = "field",
     .help = "field of a JSONL record that holds the document",
     .when = {records || o.files.empty(), "with files of JSONL"}},
    o.field);
  v({.name = "cache", .help = "folder that keeps the files as tokens"}, o.cache);
  v({.name = "length", .help = "tokens of a row", .range = AtLeast(1)}, o.length);
  v({.name = "rows", .help = "how rows are cut from documents"}, o.rows);
  v({.name = "documents_apart",
     .help = "positions see only their own document",
     .when = {o.rows != RowKind::kWithinDocument, "with rows that hold several documents"}},
    o.documents_apart);
  v({.name = "held_out",
     .help = "share of documents kept out of training",
     .range = ShareBelowOne()},
    o.held_out);
}

template <typename Visitor>
void Visit(ValidSection& o, const RecipeKind& kind, Visitor& v) {
  const Condition language = ForLanguage(kind);
  const Condition text = Both(language, {!o.text.empty(), "with valid.text"});
  v({.name = "text", .help = "file whose perplexity is measured; empty: none", .when = language},
    o.text);
  v({.name = "context", .help = "tokens of a window", .range = AtLeast(2), .when = text},
    o.context);
  v({.name = "max_tokens",
     .help = "how many tokens of the text are used, from its beginning; 0: all",
     .range = AtLeast(0),
     .when = text},
    o.max_tokens);
  const Condition measured = kind.speech
                                 ? Condition{kind.heard, "with speech.valid or speech.held_out"}
                                 : Condition{!o.text.empty(), "with valid.text"};
  v({.name = "every_minutes",
     .help = "minutes of training between measurements; 0: not by time",
     .range = AtLeast(0),
     .when = measured},
    o.every_minutes);
  v({.name = "every_steps",
     .help = "steps between measurements; 0: not by steps",
     .range = AtLeast(0),
     .when = measured},
    o.every_steps);
  v({.name = "prompts",
     .help = "begun texts that the model continues (greedy) at every measurement",
     .when = text},
    o.prompts);
  v({.name = "new_tokens",
     .help = "tokens of each continuation",
     .range = AtLeast(0),
     .when = Both(language, {!o.prompts.empty(), "with valid.prompts"})},
    o.new_tokens);
}

template <typename Visitor>
void Visit(RunSection& o, const RecipeKind& kind, Visitor& v) {
  v({.name = "out", .help = "folder of the run"}, o.out);
  v({.name = "threads", .help = "threads; 0: one for each CPU", .range = AtLeast(0)}, o.threads);
  v({.name = "device",
     .help = "where the run computes: auto (a GPU when there is one), cpu, cuda, cuda:1, …",
     .when = {!kind.speech || o.device == "auto" || o.device == "cpu",
              "auto or cpu with [speech], which trains on the CPU"}},
    o.device);
  v({.name = "seed", .help = "seed of the order of rows and of what a step draws at random"},
    o.seed);
  v({.name = "log_steps", .help = "steps between progress lines", .range = AtLeast(0)},
    o.log_steps);
  v({.name = "checkpoint_minutes",
     .help = "minutes of training between checkpoints; 0: not by time",
     .range = AtLeast(0)},
    o.checkpoint_minutes);
  v({.name = "checkpoint_steps",
     .help = "steps between checkpoints; 0: not by steps",
     .range = AtLeast(0)},
    o.checkpoint_steps);
  v({.name = "keep", .help = "checkpoints that are kept", .range = AtLeast(1)}, o.keep);
  v({.name = "store", .help = "type of the finished model's matrices", .among = kStoredTypes},
    o.store);
}

}  // namespace rondo
