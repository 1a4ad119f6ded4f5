#include "engine/sequence.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/exit_check.h"
#include "kernels/log_softmax.h"
#include "rondo/error.h"

namespace rondo {
namespace {

[[noreturn]] void Fail(const char* field, std::string problem, std::string expected) {
  throw Error({.function = "Generate",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = {},
               .field = field});
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

void CheckTokens(const Engine& engine, std::span<const int32_t> tokens, const char* field) {
  for (const int32_t token : tokens) {
    if (token >= 0 && token < engine.config().vocab) continue;
    Fail(field, "token " + std::to_string(token),
         "0 to " + std::to_string(engine.config().vocab - 1));
  }
}

int MaxSize(const Engine& engine, const Request& request) {
  const GenerateOptions& options = request.options;
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t model = engine.config().max_positions > 0 ? engine.config().max_positions
                                                          : std::numeric_limits<int>::max();
  if (prompt == 0) Fail("prompt", "empty prompt", "at least one token");
  if (options.max_new_tokens < 0) Fail("max_new_tokens", "negative count", "0 or more");
  if (options.max_positions < 0) Fail("max_positions", "negative count", "0 or more");
  const int64_t allowed =
      options.max_positions > 0 ? std::min<int64_t>(model, options.max_positions) : model;
  if (prompt > allowed) {
    Fail("prompt", std::to_string(prompt) + " tokens",
         "at most " + std::to_string(allowed) + " positions");
  }
  CheckTokens(engine, request.prompt, "prompt");
  CheckTokens(engine, request.given, "given");
  if (!request.given.empty()) {
    const auto given = static_cast<int64_t>(request.given.size());
    if (options.max_new_tokens > given) {
      Fail("max_new_tokens", std::to_string(options.max_new_tokens),
           "at most the " + std::to_string(given) + " given tokens");
    }
    if (options.speculation.drafts > 0) Fail("given", "together with drafts", "one of them");
  }
  // The last token drawn is never read.
  return static_cast<int>(
      std::min<int64_t>(allowed, prompt + std::max<int64_t>(options.max_new_tokens, 1) - 1));
}

}  // namespace

Sequence::Sequence(uint64_t id, Request request, const Engine& engine, const Tokenizer& tokenizer)
    : exact(std::numeric_limits<int>::max()),
      id_(id),
      request_(std::move(request)),
      eos_(EosTokens(engine, tokenizer, request_.options)),
      sampler_(request_.options.sampling, request_.prompt),
      stops_(request_.options.stop),
      decoder_(tokenizer, true, request_.prompt),
      tokens_(request_.prompt),
      max_size_(MaxSize(engine, request_)) {
  const int all = engine.loops().loops;
  CheckExit(options().exit, options().speculation, engine);
  loops_ = options().exit.max_loops > 0 ? options().exit.max_loops : all;
  left_behind.resize(static_cast<size_t>(loops_) + 1);
  generation_.prompt_tokens = prompt_size();
}

void Sequence::Start(KvCache own_cache, int reused) {
  cache.emplace(std::move(own_cache));
  cache->ExpectLength(prompt_size());
  entered = generation_.reused_tokens = reused;
  watch_.Restart();
}

void Sequence::Emit(const std::string& text) {
  if (text.empty()) return;
  generation_.text += text;
  if (request_.on_text && !request_.on_text(text) && !done_) Finish(StopReason::kCancelled);
}

int32_t Sequence::Choose(std::span<const float> logits) {
  const std::vector<int32_t>& given = request_.given;
  if (given.empty()) return sampler_.Sample(logits);
  const int32_t token = given[generation_.tokens.size()];
  generation_.losses.push_back(LogSumExp(logits) - logits[static_cast<size_t>(token)]);
  return token;
}

void Sequence::Accept(int32_t token, int loops) {
  if (generation_.tokens.empty()) {
    generation_.prefill_seconds = watch_.Seconds();
    watch_.Restart();
  }
  tokens_.push_back(token);
  generation_.tokens.push_back(token);
  generation_.loops.push_back(static_cast<uint8_t>(loops));
  if (eos_.contains(token)) return Finish(StopReason::kEos);
  Emit(stops_.Push(decoder_.Push(token)));
  if (done_) return;
  if (stops_.stopped()) return Finish(StopReason::kStopString);
  const auto drawn = static_cast<int>(generation_.tokens.size());
  if (drawn >= options().max_new_tokens || size() > max_size_) Finish(StopReason::kLength);
}

void Sequence::Draft(int32_t token, TokenDistribution distribution) {
  tokens_.push_back(token);
  sampler_.Remember(token);
  drafts_.push_back(std::move(distribution));
}

void Sequence::Verify(std::span<const float> logits) {
  const size_t count = drafts_.size(), vocab = logits.size() / (count + 1);
  const std::vector<int32_t> drafted(tokens_.end() - static_cast<std::ptrdiff_t>(count),
                                     tokens_.end());
  tokens_.resize(tokens_.size() - count);
  sampler_.Forget(count);
  generation_.drafted += static_cast<int64_t>(count);
  const std::vector<TokenDistribution> drafts = std::exchange(drafts_, {});
  for (size_t i = 0; i <= count && !done_; ++i) {
    const TokenDistribution target = sampler_.Distribute(logits.subspan(i * vocab, vocab));
    const int32_t token =
        i < count ? sampler_.Verify(drafted[i], drafts[i], target) : sampler_.Draw(target);
    sampler_.Remember(token);
    Accept(token, loops_);
    if (i == count || token != drafted[i]) break;
    ++generation_.accepted;
  }
  // All positions but that of the newest token are computed, as far as the drafts were right.
  entered = size() - 1;
  cache->Truncate(entered);
}

void Sequence::Finish(StopReason reason, std::string error) {
  if (done_) return;
  done_ = true;
  generation_.reason = reason;
  generation_.error = std::move(error);
  if (!generation_.tokens.empty()) generation_.decode_seconds = watch_.Seconds();
  if (reason == StopReason::kLength || reason == StopReason::kEos) {
    Emit(stops_.Push(decoder_.Flush()));
    if (stops_.stopped()) generation_.reason = StopReason::kStopString;
    Emit(stops_.Flush());
  }
  if (request_.on_done) request_.on_done(generation_);
}

}  // namespace rondo
