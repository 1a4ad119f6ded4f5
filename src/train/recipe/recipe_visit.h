// One list of every option's key, place and meaning: reading, writing and help all walk it.
#pragma once

#include "train/recipe/recipe.h"

namespace rondo {

template <typename Visitor>
void Visit(InitSection& o, Visitor& v) {
  v("family", o.family, "llama, qwen3, gpt2");
  v("tokenizer", o.tokenizer, "a model that has one, or a tokenizer.json");
  v("plan", o.plan, "sharing plan as JSON (docs/plans.md); empty: every layer its own tensors");
  v("layers", o.layers, "depths, shared or not");
  v("d_model", o.d_model, "width");
  v("heads", o.heads, "of queries");
  v("kv_heads", o.kv_heads, "0: as many as heads");
  v("head_dim", o.head_dim, "0: d_model / heads");
  v("d_ff", o.d_ff, "0: 8/3 of d_model with a gate, in steps of 32; 4 times d_model without");
  v("vocab", o.vocab, "0: the tokenizer's");
  v("max_positions", o.max_positions, "longest context");
  v("rope_theta", o.rope_theta, "of rotary positions");
  v("tied_embeddings", o.tied_embeddings, "the head is the embedding");
  v("deviation", o.deviation, "of matrices; o and down: divided by sqrt(2 layers)");
  v("seed", o.seed, "of the random weights");
}

template <typename Visitor>
void VisitTies(TyingSection& o, Visitor& v) {
  v("mode", o.mode, "rl (an agent decides), fixed (a policy), replay (of another run's decisions)");
  v("stage", o.stage, "name of the stage in which layers are tied; empty: the first");
  v("unit", o.unit, "what a decision is about: layer, half (attention, feed-forward), module");
  v("norms", o.norms, "tied (with their layer or half), own");
  v("start", o.start,
    "of layers: frozen (until the first decision), independent, tied (to the first)");
  v("untie", o.untie, "a layer that becomes independent gets: copy, alias, restore");
  v("gradients", o.gradients, "of shared tensors: owner (the independent layer's), sum (all)");
  v("residual", o.residual, "of tied layers: none, lora, lora-diag, dora");
  v("rank", o.rank, "of the residual");
  v("residual_start", o.residual_start, "fit (to the layer as it was), zero");
}

template <typename Visitor>
void VisitDecisions(TyingSection& o, Visitor& v) {
  v("interval", o.interval, "steps between a decision and its reward");
  v("until", o.until, "share of the stage after which nothing more is decided");
  v("reach", o.reach, "how many layers back a layer may take weights from; 0: any");
  v("budget", o.budget, "most non-embedding parameters stored, up to 1 a share; 0: any");
  v("budget_from", o.budget_from, "share of the stage from which the limit falls …");
  v("budget_by", o.budget_by, "… and by which it is the budget, linearly");
  v("reward", o.reward, "perplexity (its negative), bits (a token, negative), relative (percent)");
  v("reward_clip", o.reward_clip, "largest size of that; 0: any");
  v("size_weight", o.size_weight, "reward lost for storing as much as the untied model");
  v("undo", o.undo, "a decision that costs more reward is taken back once it is learned; 0: none");
}

template <typename Visitor>
void VisitAgent(TyingSection& o, Visitor& v) {
  v("hidden", o.hidden, "width of the agent's network");
  v("discount", o.discount, "of the value of the next state");
  v("epsilon", o.epsilon, "share of decisions by chance in the first episode");
  v("epsilon_decay", o.epsilon_decay, "factor after each episode");
  v("epsilon_floor", o.epsilon_floor, "least share");
  v("own_value", o.own_value, "added to the first value of a layer's keeping its own weights");
  v("agent_lr", o.agent_lr, "AdamW");
  v("agent_decay", o.agent_decay, "weight decay");
  v("replay", o.replay, "decisions remembered; 0: each update sees the last alone");
  v("replay_batch", o.replay_batch, "decisions of an update, with replay");
  v("target_every", o.target_every, "updates between copies into a target network; 0: none");
}

template <typename Visitor>
void Visit(TyingSection& o, Visitor& v) {
  VisitTies(o, v);
  VisitDecisions(o, v);
  VisitAgent(o, v);
  v("policy", o.policy, "with mode fixed: none, first, pairs, mirror, random, greedy, plan");
  v("policy_at", o.policy_at, "share of the stage behind which it is applied");
  v("keep", o.keep, "with greedy: independent layers that stay; 0: half of them");
  v("plan", o.plan, "with plan: a sharing plan as JSON, as `rondo fold --suggest` writes");
  v("decisions", o.decisions, "with mode replay: the folder of the run that decided");
}

template <typename Visitor>
void Visit(DataSection& o, Visitor& v) {
  v("files", o.files, "texts or JSONL, plain or packed (.xz, .zst, .gz, .bz2)");
  v("unit", o.unit, "what a document of a text is: paragraph, heading, line, file");
  v("field", o.field, "field of a JSONL record that holds the document");
  v("cache", o.cache, "folder of packed tokens");
  v("length", o.length, "tokens of a row");
  v("rows", o.rows, "packed, within-document, document-start");
  v("documents_apart", o.documents_apart, "positions see only their own document");
  v("held_out", o.held_out, "share of documents kept out of training");
}

template <typename Visitor>
void Visit(ValidSection& o, Visitor& v) {
  v("text", o.text, "file whose perplexity is measured; empty: none");
  v("context", o.context, "tokens of a window");
  v("max_tokens", o.max_tokens, "of the text, from its beginning; 0: all");
  v("every_minutes", o.every_minutes, "of training; 0: not by time");
  v("every_steps", o.every_steps, "0: not by steps");
  v("prompts", o.prompts, "begun texts that the model continues (greedy) at every measurement");
  v("new_tokens", o.new_tokens, "of each continuation");
}

template <typename Visitor>
void Visit(RunSection& o, Visitor& v) {
  v("out", o.out, "folder of the run");
  v("threads", o.threads, "0: one per CPU");
  v("device", o.device, "auto (a GPU when there is one), cpu, cuda, cuda:1, …");
  v("seed", o.seed, "of the order of rows and of what a step draws at random");
  v("log_steps", o.log_steps, "steps between progress lines");
  v("checkpoint_minutes", o.checkpoint_minutes, "of training between checkpoints; 0: not by time");
  v("checkpoint_steps", o.checkpoint_steps, "0: not by steps");
  v("keep", o.keep, "checkpoints that are kept");
  v("store", o.store, "type of the finished model: f32, bf16, f16");
}

template <typename Visitor>
void VisitLimits(StageOptions& o, Visitor& v) {
  v("kind", o.kind, "distill (end to end) or align (every depth on the teacher's own inputs)");
  v("steps", o.steps, "optimiser steps; 0: not bounded by them");
  v("tokens", o.tokens, "trained tokens; 0: not bounded by them");
  v("minutes", o.minutes, "of training, measured; 0: not bounded by them");
  v("batch", o.batch, "rows of a forward pass");
  v("accumulate", o.accumulate, "forward passes of a step");
}

template <typename Visitor>
void VisitOptimizer(StageOptions& o, Visitor& v) {
  v("parameters", o.parameters, "patterns of what is trained, pattern:factor scales the rate");
  v("balance", o.balance, "begin with both factors of a low-rank residual equally long");
  v("lr", o.lr, "learning rate");
  v("schedule", o.schedule, "constant, cosine, trapezoid");
  v("warmup", o.warmup, "share of the stage");
  v("decay", o.decay, "share of the stage, for trapezoid");
  v("final_lr", o.final_lr, "share of lr at the end");
  v("beta1", o.beta1, "AdamW");
  v("beta2", o.beta2, "AdamW");
  v("eps", o.eps, "AdamW");
  v("weight_decay", o.weight_decay, "of matrices");
  v("clip", o.clip, "largest norm of the gradient; 0: any");
  v("ema", o.ema, "decay of an average of the parameters, which is then the result; 0: none");
  v("spike", o.spike,
    "steps whose loss is above so many times the running mean are skipped; 0: none");
}

template <typename Visitor>
void VisitLosses(StageOptions& o, Visitor& v) {
  v("ce", o.ce, "weight of cross-entropy");
  v("kd", o.kd, "weight of the divergence from the teacher");
  v("divergence", o.divergence, "forward-kl, reverse-kl, jensen-shannon, total-variation");
  v("temperature", o.temperature, "of the divergence");
  v("js_lambda", o.js_lambda, "share of the teacher in the mixture of jensen-shannon");
  v("hidden", o.hidden, "weight of matching the teacher's hidden states");
  v("hidden_depths", o.hidden_depths, "behind which depths");
  v("exits", o.exits, "losses behind earlier loops: none, weighted, aggressive");
  v("exit_weight", o.exit_weight, "of each, for aggressive");
  v("exit_kd", o.exit_kd, "share of them that is KL from the detached last output");
  v("gate", o.gate, "weight of the learned exit gate's loss, which moves the gate alone; 0: none");
  v("layer_dropout", o.layer_dropout, "rate at which rows skip the last depth, earlier ones less");
  v("mixture", o.mixture,
    "copies of low-rank residuals, one drawn a step, merged in the end; 0: none");
  v("consistency", o.consistency, "weight of symmetric KL between two draws of the mixture");
}

template <typename Visitor>
void Visit(StageOptions& o, Visitor& v) {
  VisitLimits(o, v);
  VisitOptimizer(o, v);
  VisitLosses(o, v);
  v("widths", o.widths,
    "shares of the feed-forward's width, of which every step trains one; empty: the whole");
  v("fade", o.fade, "fade out what the fold lacks of the teacher: none, linear, cosine");
  v("fade_by", o.fade_by,
    "what goes: scale (all of it shrinks) or rank (smallest directions first)");
  v("fade_until", o.fade_until, "share of the stage at which it is gone");
  v("fade_power", o.fade_power, "exponent of what remains");
  v("fade_window", o.fade_window,
    "share of the fade that each group of tied depths takes; 1: together");
  v("fade_backward", o.fade_backward, "last groups first");
  v("checkpoint", o.checkpoint, "activations kept: none (all of them), loop, depth");
  v("compute", o.compute, "operands of products: f32, bf16");
}

}  // namespace rondo
