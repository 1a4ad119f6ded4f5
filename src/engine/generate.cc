#include "rondo/generate.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <string>

#include "rondo/error.h"

namespace rondo {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::set<int32_t> EosTokens(const Engine& engine, const Tokenizer& tokenizer,
                            const GenerateOptions& options) {
  if (options.ignore_eos) return {};
  const std::vector<int> of_model = engine.config().eos_tokens;
  const std::vector<int32_t> of_tokenizer = tokenizer.eos();
  std::set<int32_t> all(of_model.begin(), of_model.end());
  all.insert(of_tokenizer.begin(), of_tokenizer.end());
  return all;
}

// Collects text and hands each certain piece to the callback.
class Output {
 public:
  Output(Generation* generation, const TextCallback& callback)
      : generation_(generation), callback_(callback) {}
  // False when the callback wants no more.
  bool Emit(const std::string& text) {
    if (text.empty()) return true;
    generation_->text += text;
    return !callback_ || callback_(text);
  }

 private:
  Generation* generation_;
  const TextCallback& callback_;
};

}  // namespace

Generation Generate(const Engine& engine, const Tokenizer& tokenizer, KvCache& cache,
                    std::span<const int32_t> prompt, const GenerateOptions& options,
                    const TextCallback& callback) {
  if (prompt.empty() || options.max_new_tokens < 0) {
    throw Error({.function = "Generate",
                 .problem = prompt.empty() ? "empty prompt" : "negative count",
                 .expected = prompt.empty() ? "at least one token" : "0 or more",
                 .file = {},
                 .field = prompt.empty() ? "prompt" : "max_new_tokens"});
  }
  const std::set<int32_t> eos = EosTokens(engine, tokenizer, options);
  Sampler sampler(options.sampling, prompt);
  StopMatcher stops(options.stop);
  StreamDecoder decoder(tokenizer);
  Generation out;
  Output output(&out, callback);

  auto start = Clock::now();
  std::vector<float> logits = engine.Prefill(cache, prompt);
  out.prefill_seconds = SecondsSince(start);
  start = Clock::now();
  KvCache* caches[] = {&cache};
  while (static_cast<int>(out.tokens.size()) < options.max_new_tokens) {
    if (!out.tokens.empty()) {
      if (cache.length() == cache.capacity()) break;
      logits = engine.Decode(caches, std::span(out.tokens).last(1));
    }
    const int32_t token = sampler.Sample(logits);
    out.tokens.push_back(token);
    if (eos.contains(token)) {
      out.reason = StopReason::kEos;
      break;
    }
    const bool more = output.Emit(stops.Push(decoder.Push(token)));
    if (stops.stopped() || !more) {
      out.reason = stops.stopped() ? StopReason::kStopString : StopReason::kCallback;
      break;
    }
  }
  out.decode_seconds = SecondsSince(start);
  if (out.reason == StopReason::kLength || out.reason == StopReason::kEos) {
    output.Emit(stops.Push(decoder.Flush()));
    if (stops.stopped()) out.reason = StopReason::kStopString;
    output.Emit(stops.Flush());
  }
  return out;
}

}  // namespace rondo
