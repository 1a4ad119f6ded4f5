// Hours of traffic in minutes: random arrivals, lengths, exits, drafts and cancellations, every
// output compared with the same request run alone, memory watched.
//
//   soak MODEL [--seconds 600]
//
// Fails at the first request that is lost, answered twice or answered differently, and when the
// resident set has grown after the first fifth of the time.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/rng.h"
#include "base/stopwatch.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/scheduler.h"
#include "rondo/thread_pool.h"
#include "tensor/dtype_names.h"

namespace rondo {
namespace {

struct Options {
  std::string model;
  std::string type = "auto";
  double seconds = 600;
  int kinds = 48;  // different requests
  uint64_t seed = 1;
  int threads = 0;
};

[[noreturn]] void Fail(const std::string& problem) {
  throw Error({.function = "soak", .problem = problem, .file = {}, .field = {}});
}

uint64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

Request RandomRequest(const Engine& engine, Rng& rng) {
  const auto below = [&](int n) { return static_cast<int>(rng.Uniform() * n); };
  Request request;
  const int length = 1 + below(rng.Uniform() < 0.2 ? 300 : 60);
  for (int i = 0; i < length; ++i) request.prompt.push_back(below(engine.config().vocab));
  GenerateOptions& options = request.options;
  options.max_new_tokens = 1 + below(60);
  options.ignore_eos = rng.Uniform() < 0.5;
  if (rng.Uniform() < 0.4) options.sampling = {.temperature = 1, .top_k = 50, .seed = rng.Next()};
  const int loops = engine.loops().loops;
  const int choice = loops > 1 ? below(6) : 0;
  if (choice == 1) options.exit = {.rule = ExitRule::kConfidence, .threshold = 0.3f};
  if (choice == 2) options.exit = {.rule = ExitRule::kEntropy, .threshold = 3};
  if (choice == 3) options.exit = {.rule = ExitRule::kHiddenChange, .threshold = 0.5f};
  if (choice == 4) {
    options.exit.rule = ExitRule::kTrace;
    for (int i = 0; i < 31; ++i) {
      options.exit.trace.push_back(static_cast<uint8_t>(1 + below(loops)));
    }
  }
  if (choice == 5) options.speculation.drafts = 1 + below(5);
  options.exit.skipped_kv = static_cast<SkippedKv>(below(3));
  request.priority = below(3);
  return request;
}

std::optional<DType> WeightsOf(const std::string& type) {
  std::optional<DType> weights;
  if (FromText(type, weights)) return weights;
  throw Error({.function = "Soak", .problem = "unknown type '" + type + "'", .field = "--type"});
}

class Soak {
 public:
  explicit Soak(const Options& options)
      : options_(options),
        pool_(options.threads),
        model_(LoadModel(options.model)),
        tokenizer_(LoadTokenizer(model_.path)),
        engine_(model_, EngineOptions{.weights = WeightsOf(options.type)}, pool_),
        rng_(options.seed),
        scheduler_(engine_, *tokenizer_,
                   {.max_sequences = 12, .prefill_rows = 96, .kv_positions = 3000}) {}

  void Run() {
    for (int i = 0; i < options_.kinds; ++i) {
      requests_.push_back(RandomRequest(engine_, rng_));
      const Request& request = requests_.back();
      alone_.push_back(Generate(engine_, *tokenizer_, request.prompt, request.options));
    }
    std::printf("%d kinds of requests run alone; now together\n", options_.kinds);
    const Stopwatch watch;
    uint64_t settled = 0;
    double reported = 0;
    while (watch.Seconds() < options_.seconds) {
      Arrivals();
      scheduler_.Step();
      if (watch.Seconds() > options_.seconds / 5 && settled == 0) settled = ResidentBytes();
      if (watch.Seconds() < reported + 30) continue;
      reported = watch.Seconds();
      Report(reported);
    }
    while (scheduler_.Step()) {
    }
    Report(watch.Seconds());
    if (!open_.empty()) Fail(std::to_string(open_.size()) + " requests were lost");
    const uint64_t end = ResidentBytes();
    std::printf("resident %.1f MB after a fifth of the time, %.1f MB at the end\n",
                static_cast<double>(settled) / 1e6, static_cast<double>(end) / 1e6);
    // A quarter of a page of slack for the allocator's own book-keeping: 2 %.
    if (static_cast<double>(end) > 1.02 * static_cast<double>(settled)) Fail("memory grew");
    std::printf("ok: %lld answered alike, %lld cancelled\n", static_cast<long long>(same_),
                static_cast<long long>(cancelled_));
  }

 private:
  // Bursts and lulls: on average as many as can be served, at times a queue, at times none.
  void Arrivals() {
    const SchedulerStats stats = scheduler_.stats();
    if (rng_.Uniform() < 0.002) burst_ = static_cast<int>(rng_.Uniform() * 40);
    const bool arrives = stats.waiting < 40 && (burst_ > 0 || rng_.Uniform() < 0.08);
    if (burst_ > 0) --burst_;
    if (arrives) Submit();
    if (!open_.empty() && rng_.Uniform() < 0.01) {
      auto victim = open_.begin();
      std::advance(victim, static_cast<int>(rng_.Uniform() * static_cast<double>(open_.size())));
      victim->second = true;
      scheduler_.Cancel(victim->first);
    }
  }

  void Submit() {
    const auto kind = static_cast<size_t>(rng_.Uniform() * static_cast<double>(requests_.size()));
    Request request = requests_[kind];
    auto id = std::make_shared<uint64_t>();
    request.on_done = [this, kind, id](const Generation& result) { Check(*id, kind, result); };
    *id = scheduler_.Submit(std::move(request));
    open_[*id] = false;
  }

  void Check(uint64_t id, size_t kind, const Generation& result) {
    const auto found = open_.find(id);
    if (found == open_.end()) Fail("request " + std::to_string(id) + " was answered twice");
    const bool cancelled = found->second;
    open_.erase(found);
    if (result.reason == StopReason::kCancelled && cancelled) {
      ++cancelled_;
      return;
    }
    const Generation& expected = alone_[kind];
    if (result.reason != expected.reason || result.tokens != expected.tokens ||
        result.loops != expected.loops) {
      Fail("request kind " + std::to_string(kind) +
           " was answered differently: " + std::string(Name(result.reason)) + " " + result.error);
    }
    ++same_;
  }

  void Report(double seconds) const {
    const SchedulerStats stats = scheduler_.stats();
    std::printf(
        "%6.0f s  answered %lld  cancelled %lld  running %d  waiting %d  reused %lld of "
        "%lld prompt tokens  resident %.1f MB\n",
        seconds, static_cast<long long>(same_), static_cast<long long>(cancelled_), stats.running,
        stats.waiting, static_cast<long long>(stats.reused_tokens),
        static_cast<long long>(stats.prompt_tokens), static_cast<double>(ResidentBytes()) / 1e6);
    std::fflush(stdout);
  }

  const Options& options_;
  ThreadPool pool_;
  Model model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  Engine engine_;
  Rng rng_;
  Scheduler scheduler_;
  std::vector<Request> requests_;
  std::vector<Generation> alone_;
  std::map<uint64_t, bool> open_;  // whether it was cancelled
  int burst_ = 0;
  int64_t same_ = 0, cancelled_ = 0;
};

}  // namespace
}  // namespace rondo

int main(int argc, char** argv) {
  rondo::Options options;
  CLI::App app("random traffic, every answer checked");
  app.add_option("model", options.model)->required();
  app.add_option("--type", options.type, "of packed weights")->capture_default_str();
  app.add_option("--seconds", options.seconds)->capture_default_str();
  app.add_option("--kinds", options.kinds, "different requests")->capture_default_str();
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--threads,-t", options.threads)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    rondo::Soak(options).Run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "soak: %s\n", error.what());
    return 1;
  }
  return 0;
}
