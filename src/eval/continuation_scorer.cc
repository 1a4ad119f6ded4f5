#include "eval/continuation_scorer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "eval/logits.h"
#include "kernels/kv_pages.h"
#include "kernels/log_softmax.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr int kPassRows = 512;  // of one pass through the layers, as in Engine::Prefill

int64_t Pages(size_t positions) { return PagesFor(static_cast<int64_t>(positions)); }

size_t CommonPrefix(const TokenRows& rows) {
  size_t common = rows.front().input.size();
  for (const TokenRow& row : rows) {
    const auto [end, other] = std::ranges::mismatch(rows.front().input, row.input);
    common = std::min(common, static_cast<size_t>(end - rows.front().input.begin()));
  }
  return common;
}

size_t LongestInput(const TokenRows& rows) {
  size_t longest = 1;
  for (const TokenRow& row : rows) longest = std::max(longest, row.input.size());
  return longest;
}

// The last token of a row is never an input, so the engine does not see it.
void CheckTargets(const TokenRows& rows, int vocab) {
  for (const TokenRow& row : rows) {
    for (const int32_t target : row.targets) {
      if (target >= 0 && target < vocab) continue;
      throw Error({.function = "ContinuationScorer",
                   .problem = "token " + std::to_string(target),
                   .expected = "0 to " + std::to_string(vocab - 1),
                   .file = {},
                   .field = {}});
    }
  }
}

struct Best {
  double log_sum = 0;
  int32_t token = 0;
};

}  // namespace

// A token whose likelihood is asked for at a position.
struct ContinuationScorer::Want {
  int position;
  int32_t target;
  size_t example;
  size_t row;
};

// Appends what a row asks for at positions [begin, end).
void ContinuationScorer::AddWants(const TokenRow& row, size_t example, size_t number, size_t begin,
                                  size_t end, std::vector<Want>& wants) {
  const size_t start = row.input.size() - row.targets.size();
  for (size_t p = std::max(start, begin); p < std::min(row.input.size(), end); ++p) {
    wants.push_back({static_cast<int>(p), row.targets[p - start], example, number});
  }
}

// Tokens that follow what a sequence has computed.
struct ContinuationScorer::Job {
  std::vector<KvCache> caches;  // [CacheCount()]
  std::span<const int32_t> tokens;
  int first;
  std::vector<Want> wants;  // by position
};

// A part of a job that goes through the layers in one pass.
struct ContinuationScorer::Piece {
  Job* job;
  int first;  // position
  int count;
};

ContinuationScorer::ContinuationScorer(const Engine& engine, ThreadPool& pool,
                                       std::vector<int> loops)
    : engine_(engine), pool_(pool), loops_(std::move(loops)) {
  const int last = engine.loops().loops;
  const bool ascend = std::ranges::adjacent_find(loops_, std::greater_equal<>()) == loops_.end();
  if (!loops_.empty() && ascend && loops_.front() >= 1 && loops_.back() <= last) return;
  throw Error({.function = "ContinuationScorer",
               .problem = "no such loop",
               .expected = "1 to the model's " + std::to_string(last) + ", ascending",
               .file = {},
               .field = "loops"});
}

size_t ContinuationScorer::CacheCount() const {
  // Only layers after the loops see different states at different exits.
  return engine_.loops().epilogue > 0 ? loops_.size() : 1;
}

void ContinuationScorer::Reserve(std::span<const TokenRows> examples) {
  int64_t pages = 0;
  for (const TokenRows& rows : examples) {
    const size_t common = CommonPrefix(rows);
    pages += Pages(common);
    for (const TokenRow& row : rows) {
      if (row.input.size() > common) {
        pages += Pages(row.input.size()) - static_cast<int64_t>(common) / kPagePositions;
      }
    }
  }
  const int64_t positions = pages * static_cast<int64_t>(CacheCount()) * kPagePositions;
  if (!pages_ || pages_->positions() < positions) pages_ = engine_.NewPool(positions);
}

ContinuationScorer::Job ContinuationScorer::SharedJob(size_t example, const TokenRows& rows) const {
  const size_t common = CommonPrefix(rows);
  Job job{
      .caches = {}, .tokens = std::span(rows.front().input).first(common), .first = 0, .wants = {}};
  for (size_t c = 0; c < CacheCount(); ++c) {
    job.caches.push_back(pages_->NewCache(static_cast<int>(LongestInput(rows))));
    job.caches.back().ExpectLength(static_cast<int>(LongestInput(rows)));
  }
  for (size_t r = 0; r < rows.size(); ++r) AddWants(rows[r], example, r, 0, common, job.wants);
  std::ranges::stable_sort(job.wants, {}, &Want::position);
  return job;
}

void ContinuationScorer::AddOwnJobs(size_t example, const TokenRows& rows, const Job& shared,
                                    std::vector<Job>& jobs) const {
  const size_t common = shared.tokens.size();
  for (size_t r = 0; r < rows.size(); ++r) {
    const size_t size = rows[r].input.size();
    if (size == common) continue;
    Job job{.caches = {},
            .tokens = std::span(rows[r].input).subspan(common),
            .first = static_cast<int>(common),
            .wants = {}};
    for (const KvCache& cache : shared.caches) job.caches.push_back(cache.Fork(job.first));
    AddWants(rows[r], example, r, common, size, job.wants);
    jobs.push_back(std::move(job));
  }
}

std::vector<ExampleScores> ContinuationScorer::Score(std::span<const TokenRows> examples) {
  std::vector<ExampleScores> scores;
  for (const TokenRows& rows : examples) {
    CheckTargets(rows, engine_.config().vocab);
    scores.emplace_back(loops_.size(), std::vector<ContinuationScore>(rows.size()));
  }
  if (examples.empty()) return scores;
  Reserve(examples);
  std::vector<Job> shared, own;
  for (size_t e = 0; e < examples.size(); ++e) shared.push_back(SharedJob(e, examples[e]));
  Run(shared, scores);
  for (size_t e = 0; e < examples.size(); ++e) AddOwnJobs(e, examples[e], shared[e], own);
  Run(own, scores);
  return scores;
}

void ContinuationScorer::Run(std::span<Job> jobs, std::vector<ExampleScores>& scores) const {
  std::vector<Piece> pieces;
  int rows = 0;
  const auto flush = [&] {
    if (rows > 0) RunPass(pieces, scores);
    pieces.clear();
    rows = 0;
  };
  for (Job& job : jobs) {
    for (int done = 0; done < static_cast<int>(job.tokens.size());) {
      const int count = std::min(static_cast<int>(job.tokens.size()) - done, kPassRows - rows);
      pieces.push_back({&job, job.first + done, count});
      rows += count;
      done += count;
      if (rows == kPassRows) flush();
    }
  }
  flush();
}

void ContinuationScorer::RunPass(std::span<const Piece> pieces,
                                 std::vector<ExampleScores>& scores) const {
  std::vector<int32_t> tokens;
  std::vector<int> positions;
  for (const Piece& piece : pieces) {
    for (int i = 0; i < piece.count; ++i) {
      positions.push_back(piece.first + i);
      tokens.push_back(piece.job->tokens[static_cast<size_t>(positions.back() - piece.job->first)]);
    }
  }
  std::vector<float> hidden(tokens.size() * static_cast<size_t>(engine_.config().d_model));
  engine_.Embed(tokens, positions, hidden.data());
  const auto layer = [&](int depth, size_t cache, std::vector<float>& rows) {
    std::vector<RowSpan> spans;
    for (const Piece& piece : pieces) {
      spans.push_back({&piece.job->caches[cache], depth, piece.first, piece.count});
    }
    engine_.RunLayer(spans, rows.data());
  };
  const LoopShape& shape = engine_.loops();
  for (int depth = 0; depth < shape.prologue; ++depth) layer(depth, 0, hidden);
  size_t exit = 0;
  for (int loop = 0; loop < loops_.back(); ++loop) {
    for (int stage = 0; stage < shape.stages; ++stage) layer(shape.Depth(loop, stage), 0, hidden);
    if (loops_[exit] != loop + 1) continue;
    std::vector<float> copy;
    const bool more = exit + 1 < loops_.size();
    if (more && shape.epilogue > 0) copy = hidden;
    std::vector<float>& leaving = copy.empty() ? hidden : copy;
    for (int i = 0; i < shape.epilogue; ++i) {
      layer(shape.EpilogueDepth(i), CacheOf(exit), leaving);
    }
    Look(pieces, exit++, leaving.data(), scores);
  }
}

void ContinuationScorer::Look(std::span<const Piece> pieces, size_t exit, const float* hidden,
                              std::vector<ExampleScores>& scores) const {
  // Rows of the pass that predict something, each once, and who asks for them.
  std::vector<size_t> rows;
  std::vector<std::pair<size_t, const Want*>> asked;  // index in `rows`
  size_t first_row = 0;
  for (const Piece& piece : pieces) {
    const auto& wants = piece.job->wants;
    auto want = std::ranges::lower_bound(wants, piece.first, {}, &Want::position);
    for (; want != wants.end() && want->position < piece.first + piece.count; ++want) {
      const size_t row = first_row + static_cast<size_t>(want->position - piece.first);
      if (rows.empty() || rows.back() != row) rows.push_back(row);
      asked.emplace_back(rows.size() - 1, &*want);
    }
    first_row += static_cast<size_t>(piece.count);
  }
  const auto width = static_cast<size_t>(engine_.config().d_model);
  const auto vocab = static_cast<size_t>(engine_.config().vocab);
  const size_t step = std::min<size_t>(kLogitRows, rows.size());
  std::vector<float> gathered(step * width), logits(step * vocab);
  std::vector<Best> best(step);
  size_t next = 0;
  for (size_t begin = 0; begin < rows.size(); begin += kLogitRows) {
    const size_t count = std::min<size_t>(kLogitRows, rows.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      std::copy_n(hidden + rows[begin + i] * width, width, gathered.data() + i * width);
    }
    engine_.Head(gathered.data(), static_cast<int64_t>(count), logits.data());
    const auto of_row = [&](size_t i) { return std::span(logits).subspan(i * vocab, vocab); };
    pool_.ParallelFor(static_cast<int64_t>(count), [&](int64_t item) {
      const auto i = static_cast<size_t>(item);
      const auto top = std::ranges::max_element(of_row(i)) - of_row(i).begin();
      best[i] = {LogSumExp(of_row(i)), static_cast<int32_t>(top)};
    });
    for (; next < asked.size() && asked[next].first < begin + count; ++next) {
      const auto& [at, want] = asked[next];
      const Best& here = best[at - begin];
      const double likelihood =
          of_row(at - begin)[static_cast<size_t>(want->target)] - here.log_sum;
      if (!std::isfinite(likelihood)) {
        throw Error({.function = "ContinuationScorer",
                     .problem = "the log-likelihood of token " + std::to_string(want->target) +
                                " is " + std::to_string(likelihood),
                     .expected = "a finite number: the model's logits are broken",
                     .file = {},
                     .field = {}});
      }
      ContinuationScore& score = scores[want->example][exit][want->row];
      score.log_likelihood += likelihood;
      score.greedy &= here.token == want->target;
    }
  }
}

}  // namespace rondo
