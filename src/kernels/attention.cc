#include "kernels/attention.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/simd_targets.h"

#ifndef RONDO_ATTENTION_JOB
#define RONDO_ATTENTION_JOB
namespace rondo {

// Queries of one span that share a key/value head, numbered position by position: query i is head
// i % group of position i / group.
struct AttentionJob {
  const AttentionSpan* span;
  int kv_head;
  int64_t first;
  int64_t last;
};

}  // namespace rondo
#endif  // RONDO_ATTENTION_JOB

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// Keys that a query at `position` sees.
inline KeyRange KeysOf(const AttentionSpan& span, int64_t position) {
  if (span.keys.end > 0) return span.keys;
  const int window = span.shape.window;
  const int64_t begin = window > 0 ? position - window + 1 : 0;
  return {std::max<int64_t>(begin, 0), position + 1};
}

// Products of keys [first, first + count) become scores, the lowest number outside `keys`; count is
// a multiple of the panel. Returns the largest of them and `max`, lane by lane.
HWY_INLINE PanelVec FinishScores(const AttentionShape& shape, KeyRange keys, int64_t first,
                                 int64_t count, PanelVec max, float* scores) {
  const PanelTag d;
  const hn::RebindToSigned<PanelTag> di;
  const PanelVec scale = hn::Set(d, shape.scale);
  const PanelVec masked = hn::Set(d, std::numeric_limits<float>::lowest());
  const auto begin = hn::Set(di, static_cast<int32_t>(keys.begin));
  const auto end = hn::Set(di, static_cast<int32_t>(keys.end));
  for (int64_t i = 0; i < count; i += kPanelLanes) {
    PanelVec score = hn::Mul(hn::Load(d, scores + i), scale);
    if (shape.softcap > 0) score = Capped(score, shape.softcap);
    const auto key = hn::Iota(di, static_cast<int32_t>(first + i));
    const auto hidden = hn::Or(hn::Lt(key, begin), hn::Not(hn::Lt(key, end)));
    score = hn::IfThenElse(hn::RebindMask(d, hidden), masked, score);
    max = hn::Max(max, score);
    hn::Store(score, d, scores + i);
  }
  return max;
}

// Scores become exp(score − max), exactly zero for the lowest number; count is a multiple of the
// panel. Returns their sum.
HWY_INLINE float Exponentials(PanelVec max, int64_t count, float* scores) {
  const PanelTag d;
  max = hn::MaxOfLanes(d, max);
  LaneSums sums;
  for (int64_t i = 0; i < count; i += kPanelWidth) {
    for (int v = 0; v < kPanelVecs; ++v) {
      float* target = scores + i + v * kPanelLanes;
      const PanelVec weight = hn::Exp(d, hn::Sub(hn::Load(d, target), max));
      sums.vecs[v] = hn::Add(sums.vecs[v], weight);
      hn::Store(weight, d, target);
    }
  }
  return sums.Total();
}

// x[r, i] *= scales[i]; count is a multiple of the panel.
void ScaleColumns(const float* scales, int64_t rows, int64_t count, float* x, int64_t stride) {
  const PanelTag d;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < count; i += kPanelLanes) {
      float* target = x + r * stride + i;
      hn::StoreU(hn::Mul(hn::LoadU(d, target), hn::LoadU(d, scales + i)), d, target);
    }
  }
}

// scores[rows, width] of the keys from `first` on, page by page; rows lie `stride` apart.
template <typename T>
void Scores(const KvView& kv, int kv_head, int64_t rows, const float* queries, int64_t padded_dim,
            int64_t first, int64_t width, float* scores, int64_t stride) {
  const int64_t dim = kv.layout.head_dim;
  for (int64_t at = first; at < first + width;) {
    const int64_t slot = at % kPagePositions;
    const int64_t count = std::min(kPagePositions - slot, first + width - at);
    const std::byte* head = kv.Head(at / kPagePositions, kv_head);
    float* target = scores + (at - first);
    Tiles(rows, count / kPanelWidth, queries, padded_dim,
          reinterpret_cast<const T*>(head) + slot * dim, dim * kPanelWidth, dim, target, stride,
          false);
    if constexpr (std::is_same_v<T, Int8>) {
      const auto* scales = reinterpret_cast<const float*>(head + kv.layout.scales_offset());
      ScaleColumns(scales + slot, rows, count, target, stride);
    }
    at += count;
  }
}

// sums[rows, padded_dim] of the values from `first` to `end`, weighted by `scores`; on top of what
// they are when `add`.
template <typename T>
void Values(const KvView& kv, int kv_head, int64_t rows, float* scores, int64_t stride,
            int64_t first, int64_t end, float* sums, int64_t padded_dim, bool add) {
  for (int64_t at = first; at < end;) {
    const int64_t slot = at % kPagePositions;
    const int64_t count = std::min(kPagePositions - slot, end - at);
    const std::byte* head = kv.Head(at / kPagePositions, kv_head);
    float* weights = scores + (at - first);
    if constexpr (std::is_same_v<T, Int8>) {
      const auto* scales = reinterpret_cast<const float*>(head + kv.layout.scales_offset());
      ScaleColumns(scales + kPagePositions + slot, rows, PanelCount(count) * kPanelWidth, weights,
                   stride);
    }
    const auto* values = reinterpret_cast<const T*>(head + kv.layout.values_offset());
    Tiles(rows, padded_dim / kPanelWidth, weights, stride, values + slot * kPanelWidth,
          int64_t{kPagePositions} * kPanelWidth, count, sums, padded_dim, add || at > first);
    at += count;
  }
}

template <typename T>
void RunTile(const AttentionJob& job, int64_t first_query, int64_t rows,
             std::vector<float>& space) {
  const AttentionSpan& span = *job.span;
  const AttentionShape& shape = span.shape;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t row_width = int64_t{shape.heads} * shape.head_dim;
  const int64_t padded_dim = PanelCount(shape.head_dim) * kPanelWidth;
  const auto position = [&](int64_t query) HWY_ATTR { return span.first_position + query / group; };
  const auto offset = [&](int64_t query) HWY_ATTR {
    return query / group * row_width + (job.kv_head * group + query % group) * shape.head_dim;
  };
  // Union of what the rows see, from a panel border on.
  const KeyRange low = KeysOf(span, position(first_query));
  const int64_t end = KeysOf(span, position(first_query + rows - 1)).end;
  const int64_t first = low.begin / kPanelWidth * kPanelWidth;
  const int64_t width = PanelCount(end - first) * kPanelWidth;
  // Scores of the prefix stand before those of the window, on whole panels: the same for all rows.
  const AttentionPrefix& prefix = span.prefix;
  const int64_t prefix_width = PanelCount(prefix.count) * kPanelWidth;
  const int64_t stride = prefix_width + width;

  space.resize(static_cast<size_t>(rows * (stride + 2 * padded_dim) + kPanelWidth));
  const size_t misaligned = reinterpret_cast<uintptr_t>(space.data()) / sizeof(float) % kPanelWidth;
  float* scores = space.data() + (kPanelWidth - misaligned) % kPanelWidth;
  float* queries = scores + rows * stride;
  float* sums = queries + rows * padded_dim;
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(span.q + offset(first_query + r), shape.head_dim, queries + r * padded_dim);
  }
  Scores<float>(prefix.kv, job.kv_head, rows, queries, padded_dim, 0, prefix_width, scores, stride);
  Scores<T>(span.kv, job.kv_head, rows, queries, padded_dim, first, width, scores + prefix_width,
            stride);
  HWY_ALIGN float inverse[kTileRows];
  for (int64_t r = 0; r < rows; ++r) {
    const KeyRange seen = KeysOf(span, position(first_query + r));
    float* row = scores + r * stride;
    PanelVec max = hn::Set(PanelTag(), std::numeric_limits<float>::lowest());
    max = FinishScores(shape, {0, prefix.count}, 0, prefix_width, max, row);
    max = FinishScores(shape, seen, first, width, max, row + prefix_width);
    inverse[r] = 1 / Exponentials(max, stride, row);
  }
  Values<float>(prefix.kv, job.kv_head, rows, scores, stride, 0, prefix.count, sums, padded_dim,
                false);
  Values<T>(span.kv, job.kv_head, rows, scores + prefix_width, stride, first, end, sums, padded_dim,
            prefix.count > 0);
  for (int64_t r = 0; r < rows; ++r) {
    float* out = span.out + offset(first_query + r);
    for (int64_t i = 0; i < shape.head_dim; ++i) out[i] = sums[r * padded_dim + i] * inverse[r];
  }
}

void RunJob(const AttentionJob& job) {
  thread_local std::vector<float> space;
  for (int64_t query = job.first; query < job.last; query += kTileRows) {
    const int64_t rows = std::min<int64_t>(kTileRows, job.last - query);
    switch (job.span->kv.layout.type) {
      case KvType::kF32:
        RunTile<float>(job, query, rows, space);
        break;
      case KvType::kBF16:
        RunTile<BFloat16>(job, query, rows, space);
        break;
      case KvType::kInt8:
        RunTile<Int8>(job, query, rows, space);
        break;
    }
  }
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "rondo/thread_pool.h"

namespace rondo {
HWY_EXPORT(RunJob);

void Attention(std::span<const AttentionSpan> spans, ThreadPool& pool) {
  constexpr int64_t kJobQueries = 48;         // a multiple of every tile height
  constexpr int64_t kInlineWork = 64 * 1024;  // multiply-adds not worth waking threads for
  std::vector<AttentionJob> jobs;
  int64_t work = 0;
  for (const AttentionSpan& span : spans) {
    const AttentionShape& shape = span.shape;
    const int64_t queries = int64_t{span.count} * (shape.heads / shape.kv_heads);
    const int64_t own = span.keys.end > 0 ? span.keys.end - span.keys.begin
                                          : int64_t{span.first_position} + span.count;
    const int64_t keys = span.prefix.count + own;
    work += span.count * keys * shape.heads * shape.head_dim;
    for (int h = 0; h < shape.kv_heads; ++h) {
      for (int64_t first = 0; first < queries; first += kJobQueries) {
        jobs.push_back({&span, h, first, std::min(queries, first + kJobQueries)});
      }
    }
  }
  const auto run = [&](int64_t i) { HWY_DYNAMIC_DISPATCH(RunJob)(jobs[static_cast<size_t>(i)]); };
  const auto count = static_cast<int64_t>(jobs.size());
  if (work >= kInlineWork) return pool.ParallelFor(count, run);
  for (int64_t i = 0; i < count; ++i) run(i);
}

}  // namespace rondo
#endif  // HWY_ONCE
