#include "rondo/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>

#include "engine/engine_testing.h"
#include "engine/letter_tokenizer.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Depths 0 and 7 on their own, blocks 1, 2, 3 twice in between; or blocks 0 and 1 three times.
SharingPlan MiddleCyclePlan(const ModelConfig& config) {
  SharingPlan plan = CyclePlan(config, 8, ResidualKind::kLora, 2);
  for (const Module m : kAllModules) {
    if (config.HasModule(m) && IsLinear(m)) plan[m].blocks = {0, 1, 2, 3, 1, 2, 3, 4};
  }
  return plan;
}

Model LoopedModel(bool middle) {
  ModelConfig config = SmallConfig();
  config.layers = middle ? 8 : 6;
  config.max_positions = 400;
  config.sliding_window = 9;
  config.local_layers.assign(static_cast<size_t>(config.layers), 0);
  config.local_layers[1] = 1;  // tied to a depth without a window
  SharingPlan plan =
      middle ? MiddleCyclePlan(config) : CyclePlan(config, 2, ResidualKind::kLora, 3);
  plan.exit_gate = true;
  plan.prefix = middle ? 5 : 0;
  return RandomModel(config, plan);
}

GenerateOptions Greedy(int tokens) { return {.max_new_tokens = tokens, .ignore_eos = true}; }

GenerateOptions Traced(int tokens, std::vector<uint8_t> trace,
                       SkippedKv policy = SkippedKv::kDeferred) {
  GenerateOptions options = Greedy(tokens);
  options.exit = {.rule = ExitRule::kTrace, .skipped_kv = policy, .trace = std::move(trace)};
  return options;
}

class SchedulerTest : public testing::TestWithParam<bool> {
 protected:
  // Runs all requests from the start; results in their order.
  std::vector<Generation> RunAll(std::vector<Request> requests, const SchedulerOptions& options,
                                 SchedulerStats* stats = nullptr) {
    std::vector<Generation> results(requests.size());
    Scheduler scheduler(engine_, tokenizer_, options);
    for (size_t i = 0; i < requests.size(); ++i) {
      requests[i].on_done = [&results, i](const Generation& g) { results[i] = g; };
      scheduler.Submit(std::move(requests[i]));
    }
    while (scheduler.Step()) {
    }
    if (stats != nullptr) *stats = scheduler.stats();
    return results;
  }
  Generation RunOne(const std::vector<int32_t>& prompt, const GenerateOptions& options) {
    return Generate(engine_, tokenizer_, prompt, options);
  }
  std::vector<int32_t> Prompt(int count, uint64_t seed = 3) {
    return RandomTokens(count, model_.config.vocab, seed);
  }
  // Greedy decoding of one sequence by hand: token i leaves after trace[i % size] loops.
  std::vector<int32_t> ByHand(const std::vector<int32_t>& prompt, int count,
                              const std::vector<uint8_t>& trace, SkippedKv policy);

  int loops() const { return engine_.loops().loops; }

  const Model model_ = LoopedModel(GetParam());
  ThreadPool pool_{2};
  const Engine engine_{model_, {}, pool_};
  LetterTokenizer tokenizer_;
};

int32_t Largest(const std::vector<float>& logits) {
  return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
}

std::vector<int32_t> SchedulerTest::ByHand(const std::vector<int32_t>& prompt, int count,
                                           const std::vector<uint8_t>& trace, SkippedKv policy) {
  const LoopShape& shape = engine_.loops();
  const auto d = static_cast<size_t>(model_.config.d_model);
  KvCache cache = engine_.NewCache(400);
  std::vector<int32_t> tokens = prompt;
  tokens.push_back(Largest(engine_.Prefill(cache, prompt)));
  std::vector<std::pair<int, std::vector<float>>> deferred;  // positions behind all loops
  for (size_t i = 1; static_cast<int>(i) < count; ++i) {
    const int run = trace[i % trace.size()], position = static_cast<int>(tokens.size()) - 1;
    std::vector<float> hidden(d), logits(static_cast<size_t>(model_.config.vocab));
    engine_.Embed(std::span(tokens).last(1), {&position, 1}, hidden.data());
    const auto layer = [&](int depth, std::vector<float>& row) {
      const RowSpan span{&cache, depth, position, 1};
      engine_.RunLayer({&span, 1}, row.data());
    };
    for (int depth = 0; depth < shape.Depth(run, 0); ++depth) layer(depth, hidden);
    std::vector<float> exit = hidden;
    for (int loop = run; loop < shape.loops; ++loop) {
      for (int stage = 0; stage < shape.stages; ++stage) {
        const int depth = shape.Depth(loop, stage);
        const RowSpan span{&cache, depth, position, 1};
        if (policy == SkippedKv::kDeferred) layer(depth, hidden);
        if (policy == SkippedKv::kCopyThrough) engine_.FillKv({&span, 1}, exit.data());
        if (policy == SkippedKv::kLastLoop) {
          cache.CopyDepth(shape.Depth(run - 1, stage), depth, position, 1);
        }
      }
    }
    // The epilogue of deferred positions is made good when a token has gone through all loops.
    const auto epilogue = [&](int at, std::vector<float>& row) {
      for (int e = 0; e < shape.epilogue; ++e) {
        const RowSpan span{&cache, shape.EpilogueDepth(e), at, 1};
        engine_.RunLayer({&span, 1}, row.data());
      }
    };
    if (policy == SkippedKv::kDeferred && run < shape.loops)
      deferred.emplace_back(position, hidden);
    if (run == shape.loops) {
      for (auto& [at, row] : deferred) epilogue(at, row);
      deferred.clear();
    }
    epilogue(position, exit);
    engine_.Head(exit.data(), 1, logits.data());
    tokens.push_back(Largest(logits));
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt.size()), tokens.end()};
}

TEST_P(SchedulerTest, OneSequenceEqualsPrefillAndDecode) {
  const auto prompt = Prompt(20);
  KvCache cache = engine_.NewCache(100);
  std::vector<int32_t> expected = {Largest(engine_.Prefill(cache, prompt))};
  KvCache* caches[] = {&cache};
  while (expected.size() < 30) {
    expected.push_back(Largest(engine_.Decode(caches, std::span(expected).last(1))));
  }
  const Generation out = RunOne(prompt, Greedy(30));
  EXPECT_EQ(out.tokens, expected);
  EXPECT_EQ(out.loops, std::vector<uint8_t>(30, static_cast<uint8_t>(loops())));
  EXPECT_EQ(out.prompt_tokens, 20);
}

TEST_P(SchedulerTest, ABatchOfSequencesWritesWhatEachWritesAlone) {
  std::vector<Request> requests;
  std::vector<Generation> alone;
  for (int i = 0; i < 12; ++i) {
    GenerateOptions options = Greedy(5 + 7 * i % 23);
    if (i % 4 == 1) options.exit = {.rule = ExitRule::kConfidence, .threshold = 0.25f};
    if (i % 4 == 2) {
      options.exit = {
          .rule = ExitRule::kHiddenChange, .threshold = 0.9f, .skipped_kv = SkippedKv::kLastLoop};
    }
    if (i % 4 == 3) {
      options.exit = {
          .rule = ExitRule::kEntropy, .threshold = 2.5f, .skipped_kv = SkippedKv::kCopyThrough};
    }
    if (i % 3 == 0) options.sampling = {.temperature = 0.8f, .seed = static_cast<uint64_t>(i)};
    if (i == 8) options.exit = {.rule = ExitRule::kGate, .threshold = 0.5f};
    if (i == 4) options.speculation = {.drafts = 3}, options.exit = {};
    requests.push_back({.prompt = Prompt(1 + 31 * i % 57, 100 + i), .options = options});
    alone.push_back(RunOne(requests.back().prompt, options));
  }
  std::set<uint8_t> seen;
  for (const Generation& g : alone) seen.insert(g.loops.begin(), g.loops.end());
  EXPECT_GT(seen.size(), 1u) << "no rule ever let a token leave early";
  for (const SchedulerOptions& options :
       {SchedulerOptions{.max_sequences = 12},
        SchedulerOptions{.max_sequences = 5, .prefill_rows = 7},
        SchedulerOptions{.max_sequences = 4, .depth_batching = false}}) {
    std::vector<Request> copies = requests;
    const std::vector<Generation> batched = RunAll(std::move(copies), options);
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(batched[i].tokens, alone[i].tokens) << i;
      EXPECT_EQ(batched[i].loops, alone[i].loops) << i;
      EXPECT_EQ(batched[i].text, alone[i].text) << i;
    }
  }
}

TEST_P(SchedulerTest, EarlyExitsEqualDecodingByHand) {
  const auto prompt = Prompt(13);
  const auto last = static_cast<uint8_t>(loops());
  const std::vector<uint8_t> trace = {last, 1, 1, last, 1, 2, 2, 1, last};
  for (const SkippedKv policy :
       {SkippedKv::kDeferred, SkippedKv::kCopyThrough, SkippedKv::kLastLoop}) {
    const Generation out = RunOne(prompt, Traced(25, trace, policy));
    EXPECT_EQ(out.tokens, ByHand(prompt, 25, trace, policy)) << Name(policy);
    EXPECT_EQ(out.loops[0], last);  // the prompt runs all loops
    for (size_t i = 1; i < 25; ++i) EXPECT_EQ(out.loops[i], trace[i % trace.size()]) << i;
  }
}

TEST_P(SchedulerTest, SkippedLoopsAreNotComputed) {
  SchedulerStats full, early;
  std::vector<Request> request = {{.prompt = Prompt(10), .options = Greedy(21)}};
  RunAll(request, {.max_sequences = 1}, &full);
  request[0].options = Traced(21, {1}, SkippedKv::kLastLoop);
  RunAll(request, {.max_sequences = 1}, &early);
  EXPECT_EQ(full.block_rows, (10 + 20) * loops());
  EXPECT_EQ(early.block_rows, 10 * loops() + 20);
  EXPECT_EQ(full.head_rows, 21);
  EXPECT_EQ(early.head_rows, 21);
}

TEST_P(SchedulerTest, DeferredLoopsRunWithTheNextDeepToken) {
  SchedulerStats stats;
  const auto last = static_cast<uint8_t>(loops());
  // Token 0 comes from the prompt; 1 and 2 leave early, 3 goes through and takes them along, 4
  // leaves.
  std::vector<Request> request = {
      {.prompt = Prompt(10), .options = Traced(5, {last, 1, 1, last, 1})}};
  RunAll(request, {.max_sequences = 1}, &stats);
  EXPECT_EQ(stats.block_rows, 10 * loops() + 3 * loops() + 1);
}

TEST_P(SchedulerTest, MaxLoopsLimitsPromptAndTokens) {
  SchedulerStats stats;
  GenerateOptions options = Greedy(6);
  options.exit.max_loops = 1;
  std::vector<Request> request = {{.prompt = Prompt(10), .options = options}};
  const std::vector<Generation> out = RunAll(request, {.max_sequences = 1}, &stats);
  EXPECT_EQ(out[0].loops, std::vector<uint8_t>(6, 1));
  EXPECT_EQ(stats.block_rows, 15);
}

TEST_P(SchedulerTest, SpeculationWritesTheSameGreedyText) {
  const auto prompt = Prompt(9);
  const Generation plain = RunOne(prompt, Greedy(60));
  for (int loops_of_draft = 1; loops_of_draft < loops(); ++loops_of_draft) {
    for (const int drafts : {1, 2, 5, 100}) {
      GenerateOptions options = Greedy(60);
      options.speculation = {.drafts = drafts, .draft_loops = loops_of_draft};
      const Generation out = RunOne(prompt, options);
      EXPECT_EQ(out.tokens, plain.tokens) << drafts << " drafts";
      EXPECT_GT(out.drafted, 0);
      EXPECT_LE(out.accepted, out.drafted);
    }
  }
}

// With residuals of zero and one block of identity behaviour the drafts are always right.
TEST_P(SchedulerTest, DraftsOfAModelWhoseLaterLoopsAddNothingAreAllAccepted) {
  Model model = model_;
  for (const auto& [name, tensor] : model_.weights) {
    if (name.ends_with("o.weight") || name.ends_with("down.weight") || name.ends_with(".b")) {
      model.weights.Set(
          name,
          Tensor::FromF32(tensor.shape(),
                          std::vector<float>(static_cast<size_t>(ElementCount(tensor.shape())))));
    }
  }
  const Engine engine(model, {}, pool_);
  GenerateOptions options = Greedy(41);
  options.speculation = {.drafts = 4};
  const Generation out = Generate(engine, tokenizer_, Prompt(5), options);
  EXPECT_EQ(out.accepted, out.drafted);
  EXPECT_EQ(out.drafted, 32);  // 8 rounds of 4 drafts and a token of their own
}

TEST_P(SchedulerTest, PrefixesAreReusedWithoutAChangeOfText) {
  const auto prompt = Prompt(100);
  std::vector<int32_t> longer(prompt.begin(), prompt.begin() + 90);
  for (const int32_t token : Prompt(30, 77)) longer.push_back(token);
  Scheduler scheduler(engine_, tokenizer_, {.max_sequences = 2});
  std::vector<Generation> results;
  for (const auto& ids : {prompt, longer, prompt}) {
    scheduler.Submit({.prompt = ids, .options = Greedy(20), .on_done = [&](const Generation& g) {
                        results.push_back(g);
                      }});
    while (scheduler.Step()) {
    }
  }
  EXPECT_EQ(results[0].reused_tokens, 0);
  EXPECT_GE(results[1].reused_tokens, 90);
  EXPECT_EQ(results[2].reused_tokens, 99);  // one token is left to run
  EXPECT_EQ(results[1].tokens, RunOne(longer, Greedy(20)).tokens);
  EXPECT_EQ(results[2].tokens, results[0].tokens);
}

// Keys of a prompt beyond the original positions are turned by its length.
TEST_P(SchedulerTest, PrefixesWhoseRotationDependsOnTheLengthAreNotReused) {
  Model model = model_;
  model.config.rope_scaling = {
      .kind = RopeScalingKind::kDynamic, .factor = 4, .original_max_positions = 60};
  const Engine engine(model, {}, pool_);
  Scheduler scheduler(engine, tokenizer_, {.max_sequences = 1});
  const auto prompt = Prompt(100);
  const std::vector<int32_t> beginning(prompt.begin(), prompt.begin() + 50);
  std::vector<Generation> results;
  for (const auto& ids : {beginning, prompt, prompt, beginning}) {
    scheduler.Submit({.prompt = ids, .options = Greedy(20), .on_done = [&](const Generation& g) {
                        results.push_back(g);
                      }});
    while (scheduler.Step()) {
    }
  }
  EXPECT_EQ(results[1].reused_tokens, 0);
  EXPECT_EQ(results[2].reused_tokens, 0);
  EXPECT_EQ(results[3].reused_tokens, 49);
  EXPECT_EQ(results[1].tokens, Generate(engine, tokenizer_, prompt, Greedy(20)).tokens);
  EXPECT_EQ(results[2].tokens, results[1].tokens);
  EXPECT_EQ(results[3].tokens, results[0].tokens);
}

// Positions whose keys and values an exit approximated are not handed on.
TEST_P(SchedulerTest, ApproximatedPositionsAreNotReused) {
  Scheduler scheduler(engine_, tokenizer_, {.max_sequences = 1});
  std::vector<Generation> results;
  const auto run = [&](const std::vector<int32_t>& ids, const GenerateOptions& options) {
    scheduler.Submit({.prompt = ids, .options = options, .on_done = [&](const Generation& g) {
                        results.push_back(g);
                      }});
    while (scheduler.Step()) {
    }
  };
  const auto prompt = Prompt(30);
  run(prompt, Traced(20, {1}, SkippedKv::kLastLoop));
  std::vector<int32_t> whole = prompt;
  whole.insert(whole.end(), results[0].tokens.begin(), results[0].tokens.end());
  run(whole, Greedy(10));
  EXPECT_EQ(results[1].reused_tokens, 30);
  EXPECT_EQ(results[1].tokens, RunOne(whole, Greedy(10)).tokens);
}

TEST_P(SchedulerTest, LittleMemoryMakesRequestsWaitAndLosesNone) {
  std::vector<Request> requests;
  for (int i = 0; i < 10; ++i) {
    requests.push_back({.prompt = Prompt(40 + 5 * i, i), .options = Greedy(30)});
  }
  SchedulerStats stats;
  // Three pages: the longest needs two.
  const auto results = RunAll(requests, {.max_sequences = 10, .kv_positions = 192}, &stats);
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_EQ(results[i].tokens, RunOne(requests[i].prompt, Greedy(30)).tokens) << i;
  }
  EXPECT_EQ(stats.finished, 10);
  EXPECT_EQ(stats.kv_positions, 192);
}

TEST_P(SchedulerTest, RefusesWhatCouldNeverRun) {
  Scheduler scheduler(engine_, tokenizer_, {.max_sequences = 1, .kv_positions = 64});
  const auto submit = [&](std::vector<int32_t> prompt, const GenerateOptions& options) {
    scheduler.Submit({.prompt = std::move(prompt), .options = options});
  };
  EXPECT_THROW(submit({}, Greedy(3)), Error);
  EXPECT_THROW(submit({-1}, Greedy(3)), Error);
  EXPECT_THROW(submit({model_.config.vocab}, Greedy(3)), Error);
  EXPECT_THROW(submit(Prompt(60), Greedy(30)), Error);
  GenerateOptions options = Greedy(3);
  options.exit.max_loops = loops() + 1;
  EXPECT_THROW(submit(Prompt(3), options), Error);
  options = Traced(3, {});
  EXPECT_THROW(submit(Prompt(3), options), Error);
  options = Greedy(3);
  options.speculation = {.drafts = 2, .draft_loops = loops()};
  EXPECT_THROW(submit(Prompt(3), options), Error);
  options = Greedy(3);
  options.exit = {.rule = ExitRule::kConfidence, .threshold = 1.5f};
  EXPECT_THROW(submit(Prompt(3), options), Error);
  const auto follow = [&](std::vector<int32_t> given, const GenerateOptions& how) {
    scheduler.Submit({.prompt = Prompt(3), .given = std::move(given), .options = how});
  };
  EXPECT_THROW(follow({1, 2}, Greedy(3)), Error);
  EXPECT_THROW(follow({1, 2, model_.config.vocab}, Greedy(3)), Error);
  options = Greedy(3);
  options.speculation = {.drafts = 1, .draft_loops = 1};
  EXPECT_THROW(follow({1, 2, 3}, options), Error);
  EXPECT_FALSE(scheduler.Step());
  EXPECT_THROW(Scheduler(engine_, tokenizer_, {.max_sequences = 0}), Error);
}

TEST_P(SchedulerTest, CancelsWaitingAndRunningRequestsOnce) {
  std::map<uint64_t, std::vector<StopReason>> done;
  Scheduler scheduler(engine_, tokenizer_, {.max_sequences = 2});
  std::vector<uint64_t> ids;
  for (int i = 0; i < 5; ++i) {
    auto slot = std::make_shared<uint64_t>();
    *slot = scheduler.Submit(
        {.prompt = Prompt(8, i),
         .options = Greedy(40),
         .on_done = [&done, slot](const Generation& g) { done[*slot].push_back(g.reason); }});
    ids.push_back(*slot);
  }
  for (int i = 0; i < 5; ++i) scheduler.Step();
  scheduler.Cancel(ids[0]);
  scheduler.Cancel(ids[4]);
  scheduler.Cancel(12345);
  while (scheduler.Step()) {
  }
  scheduler.Cancel(ids[1]);  // finished long ago
  EXPECT_FALSE(scheduler.Step());
  for (size_t i = 0; i < 5; ++i) {
    const StopReason expected = i % 4 == 0 ? StopReason::kCancelled : StopReason::kLength;
    EXPECT_EQ(done[ids[i]], std::vector<StopReason>{expected}) << i;
  }
  const SchedulerStats stats = scheduler.stats();
  EXPECT_EQ(stats.cancelled, 2);
  EXPECT_EQ(stats.finished, 3);
}

TEST_P(SchedulerTest, PriorityGoesFirstButNobodyStarves) {
  Scheduler scheduler(engine_, tokenizer_, {.max_sequences = 1});
  std::vector<std::string> order;
  const auto submit = [&](const std::string& name, int priority) {
    scheduler.Submit({.prompt = Prompt(3),
                      .options = Greedy(4),
                      .priority = priority,
                      .on_done = [&order, name](const Generation&) { order.push_back(name); }});
  };
  submit("low", 0);
  submit("high", 1);
  // A stream of urgent requests that never lets the queue run dry.
  for (int i = 0; i < 2000 && std::ranges::count(order, "low") == 0; ++i) {
    submit("stream", 1);
    scheduler.Step();
  }
  ASSERT_GE(order.size(), 2u);
  EXPECT_EQ(order[0], "high");
  EXPECT_EQ(std::ranges::count(order, "low"), 1);
}

TEST_P(SchedulerTest, AFailureEndsItsOwnRequestOnly) {
  Model broken = model_;
  const Tensor& embed = model_.weights.Get("embed.weight");
  std::vector<float> values = ToF32(embed);
  for (int i = 0; i < 24; ++i) values[7 * 24 + i] = std::numeric_limits<float>::quiet_NaN();
  broken.weights.Set("embed.weight", Tensor::FromF32(embed.shape(), std::move(values)));
  broken.weights.Set("head.weight", model_.weights.Get("head.weight"));
  const Engine engine(broken, {}, pool_);
  Scheduler scheduler(engine, tokenizer_, {.max_sequences = 2});
  Generation bad, good;
  scheduler.Submit(
      {.prompt = {7}, .options = Greedy(3), .on_done = [&](const Generation& g) { bad = g; }});
  scheduler.Submit(
      {.prompt = {1}, .options = Greedy(3), .on_done = [&](const Generation& g) { good = g; }});
  while (scheduler.Step()) {
  }
  EXPECT_EQ(bad.reason, StopReason::kError);
  EXPECT_THAT(bad.error, testing::HasSubstr("not a number"));
  EXPECT_EQ(good.reason, StopReason::kLength);
  EXPECT_THROW(Generate(engine, tokenizer_, std::vector<int32_t>{7}, Greedy(3)), Error);
}

INSTANTIATE_TEST_SUITE_P(Plans, SchedulerTest, testing::Values(false, true), [](const auto& test) {
  return test.param ? std::string("MiddleCycle") : std::string("Cycle");
});

}  // namespace
}  // namespace rondo
