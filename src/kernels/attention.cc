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
  const AttentionShape* shape;
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

// Keys [begin, end) that a query at `position` sees.
struct KeyRange {
  int64_t begin;
  int64_t end;
};

inline KeyRange KeysOf(const AttentionShape& shape, int64_t position) {
  const int64_t begin = shape.window > 0 ? position - shape.window + 1 : 0;
  return {std::max<int64_t>(begin, 0), position + 1};
}

// Scores of keys [first, first + count) become exp(score − max), exactly zero outside `keys`; count
// is a multiple of the panel. Returns their sum.
float Exponentials(const AttentionShape& shape, KeyRange keys, int64_t first, int64_t count,
                   float* scores) {
  const PanelTag d;
  const hn::RebindToSigned<PanelTag> di;
  const PanelVec scale = hn::Set(d, shape.scale);
  const PanelVec masked = hn::Set(d, std::numeric_limits<float>::lowest());
  const auto begin = hn::Set(di, static_cast<int32_t>(keys.begin));
  const auto end = hn::Set(di, static_cast<int32_t>(keys.end));
  PanelVec max = masked;
  for (int64_t i = 0; i < count; i += kPanelLanes) {
    PanelVec score = hn::Mul(hn::Load(d, scores + i), scale);
    if (shape.softcap > 0) score = Capped(score, shape.softcap);
    const auto key = hn::Iota(di, static_cast<int32_t>(first + i));
    const auto hidden = hn::Or(hn::Lt(key, begin), hn::Not(hn::Lt(key, end)));
    score = hn::IfThenElse(hn::RebindMask(d, hidden), masked, score);
    max = hn::Max(max, score);
    hn::Store(score, d, scores + i);
  }
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

template <typename T>
void RunTile(const AttentionJob& job, int64_t first_query, int64_t rows,
             std::vector<float>& space) {
  const AttentionShape& shape = *job.shape;
  const AttentionSpan& span = *job.span;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t width = int64_t{shape.heads} * shape.head_dim;
  const int64_t padded_dim = PanelCount(shape.head_dim) * kPanelWidth;
  const auto position = [&](int64_t query) { return span.first_position + query / group; };
  const auto offset = [&](int64_t query) {
    return query / group * width + (job.kv_head * group + query % group) * shape.head_dim;
  };
  // Union of what the rows see, from a panel border on.
  const KeyRange low = KeysOf(shape, position(first_query));
  const int64_t end = position(first_query + rows - 1) + 1;
  const int64_t first_panel = low.begin / kPanelWidth;
  const int64_t panels = PanelCount(end) - first_panel;
  const int64_t first = first_panel * kPanelWidth;
  const int64_t stride = panels * kPanelWidth;

  space.resize(static_cast<size_t>(rows * (stride + 2 * padded_dim) + kPanelWidth));
  const size_t misaligned = reinterpret_cast<uintptr_t>(space.data()) / sizeof(float) % kPanelWidth;
  float* scores = space.data() + (kPanelWidth - misaligned) % kPanelWidth;
  float* queries = scores + rows * stride;
  float* sums = queries + rows * padded_dim;
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(span.q + offset(first_query + r), shape.head_dim, queries + r * padded_dim);
  }
  const T* keys = static_cast<const T*>(span.kv->Keys(job.kv_head));
  const int64_t key_panel = int64_t{shape.head_dim} * kPanelWidth;
  Tiles(rows, panels, queries, padded_dim, keys + first_panel * key_panel, key_panel,
        shape.head_dim, scores, stride, false);
  HWY_ALIGN float inverse[kTileRows];
  for (int64_t r = 0; r < rows; ++r) {
    const KeyRange seen = KeysOf(shape, position(first_query + r));
    inverse[r] = 1 / Exponentials(shape, seen, first, stride, scores + r * stride);
  }
  const T* values = static_cast<const T*>(span.kv->Values(job.kv_head));
  Tiles(rows, padded_dim / kPanelWidth, scores, stride, values + first * kPanelWidth,
        span.kv->capacity() * kPanelWidth, end - first, sums, padded_dim, false);
  for (int64_t r = 0; r < rows; ++r) {
    float* out = span.out + offset(first_query + r);
    for (int64_t i = 0; i < shape.head_dim; ++i) out[i] = sums[r * padded_dim + i] * inverse[r];
  }
}

void RunJob(const AttentionJob& job) {
  thread_local std::vector<float> space;
  for (int64_t query = job.first; query < job.last; query += kTileRows) {
    const int64_t rows = std::min<int64_t>(kTileRows, job.last - query);
    if (job.span->kv->type() == DType::kBF16) {
      RunTile<BFloat16>(job, query, rows, space);
    } else {
      RunTile<float>(job, query, rows, space);
    }
  }
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "base/thread_pool.h"

namespace rondo {
HWY_EXPORT(RunJob);

void Attention(const AttentionShape& shape, std::span<const AttentionSpan> spans,
               ThreadPool& pool) {
  constexpr int64_t kJobQueries = 48;  // a multiple of every tile height
  std::vector<AttentionJob> jobs;
  for (const AttentionSpan& span : spans) {
    const int64_t queries = int64_t{span.count} * (shape.heads / shape.kv_heads);
    for (int h = 0; h < shape.kv_heads; ++h) {
      for (int64_t first = 0; first < queries; first += kJobQueries) {
        jobs.push_back({&shape, &span, h, first, std::min(queries, first + kJobQueries)});
      }
    }
  }
  pool.ParallelFor(static_cast<int64_t>(jobs.size()), [&](int64_t i) {
    HWY_DYNAMIC_DISPATCH(RunJob)(jobs[static_cast<size_t>(i)]);
  });
}

}  // namespace rondo
#endif  // HWY_ONCE
