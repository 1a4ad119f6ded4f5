// Many texts written at once by one model: continuous depth-wise batching.
//
//   Scheduler scheduler(engine, *tokenizer, {.max_sequences = 16});
//   scheduler.Submit({.prompt = tokenizer->Encode("Once upon"),
//                     .options = {.max_new_tokens = 64},
//                     .on_done = [](const Generation& g) { std::cout << g.text << '\n'; }});
//   while (scheduler.Step()) {
//   }
//
// Each step is one pass through the looped blocks of the model, with the rows of all sequences,
// each at its own loop: a block's weights are read once for tokens at different depths, a token
// that leaves early makes room at once, and prompts pass in pieces among the tokens being written
// (Bae et al., "Relaxed Recursive Transformers", ICLR 2025, section 3.4, which simulates this). A
// sequence's output is, bit for bit, what it is alone, whatever else is running.
//
// Submit and Cancel may be called from any thread; Step from one at a time, which also runs the
// callbacks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "rondo/engine.h"
#include "rondo/generate.h"
#include "rondo/tokenizer.h"

namespace rondo {

struct SchedulerOptions {
  int max_sequences = 16;    // running at once; others wait, first come, first served
  int prefill_rows = 256;    // prompt positions that enter in one step, all sequences together
  int64_t kv_positions = 0;  // of all sequences and kept prefixes together; 0: 2048 a sequence
  // Rows at different loops share a pass. Otherwise all rows go through all loops in step, and
  // sequences join or go on only in between: continuous sequence batching.
  bool depth_batching = true;
  // Keys and values of finished texts are kept while there is room, and reused by prompts that
  // begin with the same tokens.
  bool reuse_prefixes = true;
};

struct Request {
  std::vector<int32_t> prompt = {};
  // Tokens that are written whatever the model would draw, to measure what it makes of a text in
  // the way that it writes: with exits, and with the keys and values that exits leave behind.
  // Generation::losses says what each cost. Empty: tokens are drawn.
  std::vector<int32_t> given = {};
  GenerateOptions options = {};
  // Larger goes first among those waiting; every 16 steps of waiting count as one more.
  int priority = 0;
  TextCallback on_text = {};
  // Always called once, unless destroyed before.
  std::function<void(const Generation&)> on_done = {};
};

struct SchedulerStats {
  int running = 0, waiting = 0;
  int64_t finished = 0, cancelled = 0;
  int64_t steps = 0;
  int64_t block_rows = 0;  // rows that went through the looped blocks, once for every loop
  int64_t head_rows = 0;   // rows that went through the head
  int64_t prompt_tokens = 0, reused_tokens = 0, new_tokens = 0;
  int64_t kv_positions = 0, kv_positions_free = 0;
};

class Scheduler {
 public:
  // Engine and tokenizer must outlive it. Throws when an option makes no sense or the cache does
  // not fit in memory.
  Scheduler(const Engine& engine, const Tokenizer& tokenizer, const SchedulerOptions& options);
  // Requests that are not finished end without a call of on_done.
  ~Scheduler();

  // Returns the request's number. Throws when it could never run: an empty or too long prompt, an
  // option out of range, more positions than the cache has.
  uint64_t Submit(Request request);
  // Ends a request, waiting or running, with kCancelled at the next step. Unknown numbers are
  // ignored: the request may just have finished.
  void Cancel(uint64_t id);
  // One pass. False when nothing was left to do.
  bool Step();
  SchedulerStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace rondo
