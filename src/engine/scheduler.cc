#include "rondo/scheduler.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "engine/exit_check.h"
#include "engine/loop_pass.h"
#include "engine/prefix_store.h"
#include "engine/sequence.h"
#include "kernels/kv_pages.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr int kStepsPerPriority = 16;

void Require(bool ok, const char* field, int64_t value) {
  if (ok) return;
  throw Error({.function = "Scheduler",
               .problem = "value " + std::to_string(value),
               .expected = "1 or more",
               .file = {},
               .field = field});
}

int64_t PoolPositions(const SchedulerOptions& options) {
  Require(options.max_sequences > 0, "max_sequences", options.max_sequences);
  Require(options.prefill_rows > 0, "prefill_rows", options.prefill_rows);
  Require(options.kv_positions >= 0, "kv_positions", options.kv_positions);
  return options.kv_positions > 0 ? options.kv_positions : int64_t{2048} * options.max_sequences;
}

// What happens to a flight behind a loop.
enum class Visit {
  kPass,    // none: rows go on, or are through all loops without a token to draw
  kNext,    // logits for the next token, behind the last loop or at an early exit
  kCheck,   // logits decide about an early exit
  kDraft,   // logits for a draft
  kVerify,  // logits for all drafts
};

}  // namespace

struct Scheduler::Impl {
  using SequencePtr = std::unique_ptr<Sequence>;
  struct Waiting {
    SequencePtr sequence;
    int64_t since;  // step
  };
  struct Stop {
    Sequence* sequence;
    Visit visit;
    Leaving leaving;
  };

  Impl(const Engine& model_engine, const Tokenizer& model_tokenizer,
       const SchedulerOptions& scheduler_options)
      : engine(model_engine),
        tokenizer(model_tokenizer),
        options(scheduler_options),
        pool(engine.NewPool(PoolPositions(options))),
        pass(engine) {}

  uint64_t Submit(Request request);
  bool Step();

  void CancelMarked();
  void Admit();
  bool MakeRoom(const Sequence& sequence, int64_t held);
  void FormEntering();
  void EnterPrompt(Sequence& sequence, int64_t& budget);
  void RunLoop();
  std::vector<Stop> FindStops();
  Visit VisitOf(Sequence& sequence, const Flight& flight) const;
  void TakeStops(const std::vector<Stop>& stops);
  void TakeStop(const Stop& stop, std::span<const float> logits);
  void Continue(Sequence& sequence);
  void LeaveEarly(Sequence& sequence, Flight& flight);
  void Retire();
  void Keep(Sequence& sequence);
  bool MayShare(const Sequence& sequence) const;

  const Engine& engine;
  const Tokenizer& tokenizer;
  SchedulerOptions options;
  KvPool pool;
  LoopPass pass;
  PrefixStore prefixes;
  std::vector<SequencePtr> running;
  std::vector<KvFill> fills;

  mutable std::mutex mutex;  // of what follows
  std::vector<Waiting> waiting;
  std::set<uint64_t> cancelled;
  uint64_t next_id = 1;
  SchedulerStats stats;
};

uint64_t Scheduler::Impl::Submit(Request request) {
  uint64_t id;
  {
    std::lock_guard lock(mutex);
    id = next_id++;
  }
  auto sequence = std::make_unique<Sequence>(id, std::move(request), engine, tokenizer);
  if (PagesFor(sequence->max_size()) * kPagePositions > pool.positions()) {
    throw Error({.function = "Scheduler::Submit",
                 .problem = std::to_string(sequence->max_size()) + " positions",
                 .expected = "at most the cache's " + std::to_string(pool.positions()),
                 .file = {},
                 .field = "prompt and max_new_tokens"});
  }
  std::lock_guard lock(mutex);
  waiting.push_back({std::move(sequence), stats.steps});
  return id;
}

bool Scheduler::Impl::Step() {
  CancelMarked();
  Admit();
  if (!running.empty()) {
    try {
      FormEntering();
      RunLoop();
      TakeStops(FindStops());
    } catch (const std::exception& error) {
      // The rows of this pass are lost: what they belong to cannot go on.
      fills.clear();
      for (const SequencePtr& sequence : running) {
        sequence->Finish(StopReason::kError, error.what());
      }
    }
  }
  Retire();
  std::lock_guard lock(mutex);
  ++stats.steps;
  stats.running = static_cast<int>(running.size());
  return !running.empty() || !waiting.empty();
}

void Scheduler::Impl::CancelMarked() {
  std::vector<SequencePtr> ended;
  std::set<uint64_t> ids;
  {
    std::lock_guard lock(mutex);
    ids.swap(cancelled);
    for (Waiting& entry : waiting) {
      if (ids.contains(entry.sequence->id())) ended.push_back(std::move(entry.sequence));
    }
    std::erase_if(waiting, [](const Waiting& entry) { return entry.sequence == nullptr; });
    stats.cancelled += static_cast<int64_t>(ended.size());
  }
  for (const SequencePtr& sequence : ended) sequence->Finish(StopReason::kCancelled);
  for (const SequencePtr& sequence : running) {
    if (ids.contains(sequence->id())) sequence->Finish(StopReason::kCancelled);
  }
  Retire();
}

// Whether the pages that all running sequences may still need leave enough for this one, after
// forgetting as many kept prefixes as it takes. A page more each: writing behind a shared beginning
// copies its last page.
bool Scheduler::Impl::MakeRoom(const Sequence& sequence, int64_t held) {
  int64_t needed = PagesFor(sequence.max_size()) - held;
  for (const SequencePtr& other : running) {
    needed += PagesFor(other->max_size()) - other->cache->pages();
    if (other->generation().reused_tokens > 0) ++needed;
  }
  if (held > 0) ++needed;
  const auto fits = [&] { return needed * kPagePositions <= pool.free_positions(); };
  while (!fits() && prefixes.Evict()) {
  }
  return fits();
}

void Scheduler::Impl::Admit() {
  while (static_cast<int>(running.size()) < options.max_sequences) {
    SequencePtr sequence;
    int64_t since = 0;
    {
      std::lock_guard lock(mutex);
      if (waiting.empty()) return;
      const auto urgency = [&](const Waiting& entry) {
        return int64_t{entry.sequence->request().priority} * kStepsPerPriority +
               (stats.steps - entry.since);
      };
      auto first = std::ranges::max_element(waiting, {}, urgency);
      sequence = std::move(first->sequence);
      since = first->since;
      waiting.erase(first);
    }
    if (sequence->options().max_new_tokens == 0) {
      sequence->Finish(StopReason::kLength);
      continue;
    }
    const auto prompt = std::span(sequence->tokens());
    std::optional<KvCache> prefix;
    if (MayShare(*sequence)) prefix = prefixes.Find(prompt, sequence->loops());
    bool room = MakeRoom(*sequence, prefix ? prefix->pages() : 0);
    if (!room && prefix) {  // its own beginning may be what takes the room
      prefix.reset();
      room = MakeRoom(*sequence, 0);
    }
    if (!room) {
      std::lock_guard lock(mutex);
      waiting.insert(waiting.begin(), {std::move(sequence), since});
      return;
    }
    const int reused = prefix ? prefix->length(0) : 0;
    const int capacity = static_cast<int>(std::min<int64_t>(pool.positions(), 1 << 30));
    sequence->Start(prefix ? std::move(*prefix) : pool.NewCache(capacity), reused);
    running.push_back(std::move(sequence));
  }
}

// The next rows of prompts, oldest first, and each drawn token.
void Scheduler::Impl::FormEntering() {
  int64_t budget = options.prefill_rows;
  if (!options.depth_batching) {
    const bool busy = std::ranges::any_of(
        running, [](const SequencePtr& sequence) { return !sequence->flights.empty(); });
    if (busy) return;
  }
  for (const SequencePtr& sequence : running) EnterPrompt(*sequence, budget);
  std::vector<Flight*> entering;
  std::vector<int32_t> entering_tokens;
  for (const SequencePtr& sequence : running) {
    for (Flight& flight : sequence->flights) {
      if (!flight.hidden.empty()) continue;
      entering.push_back(&flight);
      const auto tokens = sequence->tokens().begin();
      entering_tokens.insert(entering_tokens.end(), tokens + flight.first_position,
                             tokens + flight.end());
    }
  }
  if (!entering.empty()) pass.Enter(entering, entering_tokens);
}

void Scheduler::Impl::EnterPrompt(Sequence& sequence, int64_t& budget) {
  // A drawn or drafted token follows its forerunner at once; a piece of prompt takes what is left.
  const bool decoding = sequence.entered >= sequence.prompt_size();
  const int left = sequence.size() - sequence.entered;
  if (left == 0 || (!decoding && budget == 0)) return;
  const int count = decoding ? left : static_cast<int>(std::min<int64_t>(left, budget));
  if (!decoding) budget -= count;
  sequence.flights.push_back({.cache = &*sequence.cache,
                              .loop = 0,
                              .first_position = sequence.entered,
                              .count = count,
                              .hidden = {}});
  sequence.entered += count;
}

void Scheduler::Impl::RunLoop() {
  std::vector<Flight*> flights;
  int64_t rows = static_cast<int64_t>(fills.size());
  const auto d = static_cast<std::ptrdiff_t>(engine.config().d_model);
  for (const SequencePtr& sequence : running) {
    for (Flight& flight : sequence->flights) {
      flights.push_back(&flight);
      rows += flight.count;
    }
    if (sequence->options().exit.rule == ExitRule::kHiddenChange && !sequence->flights.empty()) {
      const std::vector<float>& hidden = sequence->flights.back().hidden;
      sequence->before_loop.assign(hidden.end() - d, hidden.end());
    }
  }
  if (flights.empty()) return;
  pass.Run(flights, fills);
  fills.clear();
  std::lock_guard lock(mutex);
  stats.block_rows += rows;
}

Visit Scheduler::Impl::VisitOf(Sequence& sequence, const Flight& flight) const {
  const bool newest = flight.end() == sequence.size();
  if (flight.loop == sequence.loops()) {
    if (!newest) return Visit::kPass;
    return sequence.drafts() > 0 ? Visit::kVerify : Visit::kNext;
  }
  // Prompts always run all loops.
  if (!newest || flight.first_position < sequence.prompt_size()) return Visit::kPass;
  const SpeculationOptions& speculation = sequence.options().speculation;
  if (speculation.drafts > 0) {
    if (flight.loop != speculation.draft_loops) return Visit::kPass;
    const bool room = sequence.size() < sequence.max_size();
    const bool more = static_cast<int>(sequence.drafts()) < speculation.drafts && room;
    return more ? Visit::kDraft : Visit::kPass;  // with the last draft, verification begins
  }
  const ExitOptions& exit = sequence.options().exit;
  if (exit.rule == ExitRule::kNever || flight.loop < exit.min_loops) return Visit::kPass;
  if (ReadsLogits(exit.rule)) return Visit::kCheck;
  const auto after = std::span(flight.hidden).last(static_cast<size_t>(engine.config().d_model));
  const bool exits = ShouldExit(exit, sequence.generation().tokens.size(),
                                {.engine = engine,
                                 .loops_run = flight.loop,
                                 .logits = {},
                                 .before = sequence.before_loop,
                                 .after = after});
  return exits ? Visit::kNext : Visit::kPass;
}

// Rows that need the epilogue or the head.
std::vector<Scheduler::Impl::Stop> Scheduler::Impl::FindStops() {
  std::vector<Stop> stops;
  for (const SequencePtr& sequence : running) {
    for (Flight& flight : sequence->flights) {
      const Visit visit = VisitOf(*sequence, flight);
      const bool through = flight.loop == sequence->loops();
      if (visit == Visit::kPass && !through) continue;
      const int rows = through ? flight.count : 1;
      int logits = visit == Visit::kPass ? 0 : 1;
      if (visit == Visit::kVerify) logits = static_cast<int>(sequence->drafts()) + 1;
      stops.push_back({sequence.get(), visit, {&flight, rows, logits}});
    }
  }
  return stops;
}

void Scheduler::Impl::TakeStops(const std::vector<Stop>& stops) {
  std::vector<Leaving> leaving;
  for (const Stop& stop : stops) leaving.push_back(stop.leaving);
  const std::span<const float> all =
      leaving.empty() ? std::span<const float>() : pass.Leave(leaving);
  const auto vocab = static_cast<size_t>(engine.config().vocab);
  {
    std::lock_guard lock(mutex);
    stats.head_rows += static_cast<int64_t>(all.size() / vocab);
  }
  size_t row = 0;
  for (const Stop& stop : stops) {
    const auto count = static_cast<size_t>(stop.leaving.logits);
    try {
      TakeStop(stop, all.subspan(row * vocab, count * vocab));
    } catch (const std::exception& error) {
      stop.sequence->Finish(StopReason::kError, error.what());
    }
    row += count;
  }
  for (const SequencePtr& sequence : running) {
    std::erase_if(sequence->flights, [](const Flight& flight) { return flight.landed; });
    if (!sequence->done()) Continue(*sequence);
  }
}

void Scheduler::Impl::TakeStop(const Stop& stop, std::span<const float> logits) {
  Sequence& sequence = *stop.sequence;
  Flight& flight = *stop.leaving.flight;
  switch (stop.visit) {
    case Visit::kPass:
      flight.landed = true;
      return;
    case Visit::kCheck:
      if (!ShouldExit(sequence.options().exit, sequence.generation().tokens.size(),
                      {.engine = engine,
                       .loops_run = flight.loop,
                       .logits = logits,
                       .before = {},
                       .after = {}})) {
        return;
      }
      [[fallthrough]];
    case Visit::kNext: {
      const int loops = flight.loop;
      if (loops < sequence.loops()) LeaveEarly(sequence, flight);
      flight.landed = true;
      sequence.Accept(sequence.Choose(logits), loops);
      return;
    }
    case Visit::kDraft: {
      TokenDistribution distribution = sequence.sampler().Distribute(logits);
      const int32_t token = sequence.sampler().Draw(distribution);
      sequence.left_behind[static_cast<size_t>(flight.loop)].Append(std::move(flight));
      for (Flight& other : sequence.flights) other.landed = true;
      sequence.Draft(token, std::move(distribution));
      return;
    }
    case Visit::kVerify:
      flight.landed = true;
      return sequence.Verify(logits);
  }
}

// A row that enters a loop takes along those that were left behind in front of it.
void Scheduler::Impl::Continue(Sequence& sequence) {
  for (Flight& flight : sequence.flights) {
    Flight& earlier = sequence.left_behind[static_cast<size_t>(flight.loop)];
    if (earlier.count > 0) flight.Prepend(std::move(earlier));
  }
}

// Takes the rows out of the flight.
void Scheduler::Impl::LeaveEarly(Sequence& sequence, Flight& flight) {
  const SkippedKv policy = sequence.options().exit.skipped_kv;
  if (policy == SkippedKv::kDeferred) {
    sequence.left_behind[static_cast<size_t>(flight.loop)].Append(std::move(flight));
    return;
  }
  sequence.exact = std::min(sequence.exact, flight.first_position);
  if (policy == SkippedKv::kCopyThrough) {
    fills.push_back({&*sequence.cache, flight.loop, sequence.loops(), flight.first_position,
                     std::move(flight.hidden)});
    return;
  }
  const LoopShape& shape = engine.loops();
  for (int loop = flight.loop; loop < sequence.loops(); ++loop) {
    for (int stage = 0; stage < shape.stages; ++stage) {
      sequence.cache->CopyDepth(shape.Depth(flight.loop - 1, stage), shape.Depth(loop, stage),
                                flight.first_position, flight.count);
    }
  }
}

// Where rotary frequencies depend on the length, the keys of a long prompt fit no other one. Those
// of a prompt within the original positions fit all such prompts.
bool Scheduler::Impl::MayShare(const Sequence& sequence) const {
  if (!options.reuse_prefixes) return false;
  const RopeScaling& scaling = engine.config().rope_scaling;
  return !scaling.DependsOnLength() || sequence.prompt_size() <= scaling.original_max_positions;
}

// Leading positions that the last loop has computed are good for others.
void Scheduler::Impl::Keep(Sequence& sequence) {
  const LoopShape& shape = engine.loops();
  const int computed = sequence.cache->length(shape.Depth(sequence.loops() - 1, shape.stages - 1));
  int length = std::min({computed, sequence.exact, sequence.size() - 1});
  if (shape.epilogue > 0) {
    length = std::min(length, sequence.cache->length(shape.EpilogueDepth(shape.epilogue - 1)));
  }
  if (length <= 0) return;
  const std::vector<int32_t>& tokens = sequence.tokens();
  prefixes.Keep({tokens.begin(), tokens.begin() + length}, sequence.loops(),
                sequence.cache->Fork(length));
}

void Scheduler::Impl::Retire() {
  for (SequencePtr& sequence : running) {
    if (!sequence->done()) continue;
    const Generation& result = sequence->generation();
    std::erase_if(fills, [&](const KvFill& fill) { return fill.cache == &*sequence->cache; });
    if (MayShare(*sequence) && result.reason != StopReason::kError) Keep(*sequence);
    {
      std::lock_guard lock(mutex);
      ++(result.reason == StopReason::kCancelled ? stats.cancelled : stats.finished);
      stats.prompt_tokens += result.prompt_tokens;
      stats.reused_tokens += result.reused_tokens;
      stats.new_tokens += static_cast<int64_t>(result.tokens.size());
    }
    sequence.reset();
  }
  std::erase(running, nullptr);
}

Scheduler::Scheduler(const Engine& engine, const Tokenizer& tokenizer,
                     const SchedulerOptions& options)
    : impl_(std::make_unique<Impl>(engine, tokenizer, options)) {}

Scheduler::~Scheduler() = default;

uint64_t Scheduler::Submit(Request request) { return impl_->Submit(std::move(request)); }

void Scheduler::Cancel(uint64_t id) {
  std::lock_guard lock(impl_->mutex);
  impl_->cancelled.insert(id);
}

bool Scheduler::Step() { return impl_->Step(); }

SchedulerStats Scheduler::stats() const {
  std::lock_guard lock(impl_->mutex);
  SchedulerStats stats = impl_->stats;
  stats.waiting = static_cast<int>(impl_->waiting.size());
  stats.kv_positions = impl_->pool.positions();
  stats.kv_positions_free = impl_->pool.free_positions();
  return stats;
}

}  // namespace rondo
