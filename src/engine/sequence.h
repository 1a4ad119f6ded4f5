// One text being written: what it has said so far, and its rows on their way through the loops.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/stopwatch.h"
#include "engine/loop_pass.h"
#include "rondo/scheduler.h"

namespace rondo {

class Sequence {
 public:
  // Checks the request against the model. Throws rondo::Error.
  Sequence(uint64_t id, Request request, const Engine& engine, const Tokenizer& tokenizer);

  uint64_t id() const { return id_; }
  const Request& request() const { return request_; }
  const GenerateOptions& options() const { return request_.options; }
  int prompt_size() const { return static_cast<int>(request_.prompt.size()); }
  // Prompt and drawn tokens, then drafted ones.
  const std::vector<int32_t>& tokens() const { return tokens_; }
  int size() const { return static_cast<int>(tokens_.size()); }
  int loops() const { return loops_; }        // that its tokens run at most
  int max_size() const { return max_size_; }  // positions that it may ever compute
  bool done() const { return done_; }
  const Generation& generation() const { return generation_; }
  Sampler& sampler() { return sampler_; }

  // Takes `cache` and starts the clock; the first `reused` positions are computed already.
  void Start(KvCache cache, int reused);
  // The next token: the given one, or one that the sampler draws.
  int32_t Choose(std::span<const float> logits);
  // Appends a token that was chosen and hands out its text. The sequence may be done then.
  void Accept(int32_t token, int loops);
  // Appends a token that is still to be verified.
  void Draft(int32_t token, TokenDistribution distribution);
  // Draws one token for each row of `logits` [drafts + 1, vocab] until one differs from its draft,
  // and forgets what depended on the wrong one.
  void Verify(std::span<const float> logits);
  // Ends it, says what was held back, and calls on_done.
  void Finish(StopReason reason, std::string error = {});

  std::optional<KvCache> cache;
  int entered = 0;  // positions that entered the first loop
  int exact;        // leading positions whose keys and values no exit approximated
  // Deepest first. Those that landed are removed at the end of a step, when nothing points into
  // the vector any more.
  std::vector<Flight> flights;
  std::vector<float> before_loop;   // its newest row before the last loop; for kHiddenChange only
  std::vector<Flight> left_behind;  // [loop] rows that wait for a later token to enter that loop
  size_t drafts() const { return drafts_.size(); }

 private:
  void Emit(const std::string& text);

  uint64_t id_;
  Request request_;
  std::set<int32_t> eos_;
  Sampler sampler_;
  StopMatcher stops_;
  StreamDecoder decoder_;
  std::vector<int32_t> tokens_;
  std::vector<TokenDistribution> drafts_;
  int loops_;
  int max_size_;
  bool done_ = false;
  Generation generation_;
  Stopwatch watch_;
};

}  // namespace rondo
