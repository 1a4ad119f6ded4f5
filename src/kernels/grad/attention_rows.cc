#include "kernels/grad/attention_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/grad/attention_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {
namespace {

// Queries whose scores exist at once: with half a thousand keys they fill 64 kB.
constexpr int64_t kBlock = 32;
// Eight or more sums hide the latency of two multiply-add pipes; twice that lowers the loads.
constexpr int kSumRows = kPanelVecs == 1 ? 8 : 4;
constexpr int kSumPanels = kPanelVecs == 1 ? 2 : 1;

constexpr int64_t Padded(int64_t count) { return PanelCount(count) * kPanelWidth; }

// A matrix whose columns lie in panels of 16: element (i, j) at
// data[j / 16 · panel_stride + i · 16 + j % 16].
struct Panels {
  const float* data;
  int64_t panel_stride;
};

// An m × k matrix a, or its transpose in memory.
struct Left {
  const float* data;
  int64_t stride;
};

// c[m, 16 · panels] = a · b, or c + a · b; m is a multiple of kSumRows.
template <bool kTransposed>
HWY_NOINLINE void Product(int64_t m, int64_t panels, int64_t k, Left a, Panels b, float* c,
                          int64_t c_stride, bool add) {
  for (int64_t p = 0; p < panels;) {
    const int64_t width = p + kSumPanels <= panels ? kSumPanels : 1;
    const float* right = b.data + p * b.panel_stride;
    for (int64_t r = 0; r < m; r += kSumRows) {
      const float* left = a.data + (kTransposed ? r : r * a.stride);
      float* target = c + r * c_stride + p * kPanelWidth;
      if (width == 1) {
        Tile<kSumRows, 1, kTransposed>(left, a.stride, right, b.panel_stride, k, target, c_stride,
                                       add);
      } else {
        Tile<kSumRows, kSumPanels, kTransposed>(left, a.stride, right, b.panel_stride, k, target,
                                                c_stride, add);
      }
    }
    p += width;
  }
}

// Columns are channels: `rows` of them times `scale`, zeros up to `padded` rows.
void PackChannels(ConstHeadRows x, int64_t rows, int64_t padded, int64_t dim, float scale,
                  float* out) {
  for (int64_t p = 0; p < PanelCount(dim); ++p, out += padded * kPanelWidth) {
    const int64_t width = std::min<int64_t>(kPanelWidth, dim - p * kPanelWidth);
    std::fill_n(out, padded * kPanelWidth, 0.0f);
    for (int64_t i = 0; i < rows; ++i) {
      const float* from = x.data + i * x.stride + p * kPanelWidth;
      for (int64_t c = 0; c < width; ++c) out[i * kPanelWidth + c] = scale * from[c];
    }
  }
}

// Columns are positions: the transpose, zeros beyond the last.
void PackPositions(ConstHeadRows x, int64_t rows, int64_t dim, float* out) {
  for (int64_t p = 0; p < PanelCount(rows); ++p, out += dim * kPanelWidth) {
    const int64_t width = std::min<int64_t>(kPanelWidth, rows - p * kPanelWidth);
    if (width < kPanelWidth) std::fill_n(out, dim * kPanelWidth, 0.0f);
    for (int64_t j = 0; j < width; ++j) {
      const float* from = x.data + (p * kPanelWidth + j) * x.stride;
      for (int64_t c = 0; c < dim; ++c) out[c * kPanelWidth + j] = from[c];
    }
  }
}

// kBlock rows of a head, times `scale`, zeros behind the last.
void CopyBlock(ConstHeadRows x, int64_t first, int64_t rows, int64_t dim, float scale, float* out) {
  for (int64_t r = 0; r < kBlock; ++r, out += dim) {
    const float* from = x.data + (first + r) * x.stride;
    for (int64_t c = 0; c < dim; ++c) out[c] = r < rows ? scale * from[c] : 0;
  }
}

// Memory of one thread, aligned to whole vectors, kept between calls.
class Space {
 public:
  explicit Space(int64_t floats) {
    thread_local std::vector<float> memory;
    memory.resize(static_cast<size_t>(floats + kPanelWidth));
    next_ = memory.data();
    const size_t misaligned = reinterpret_cast<uintptr_t>(next_) / sizeof(float) % kPanelWidth;
    next_ += (kPanelWidth - misaligned) % kPanelWidth;
  }
  float* Take(int64_t floats) { return std::exchange(next_, next_ + Padded(floats)); }

 private:
  float* next_;
};

// Queries [first, first + rows) and the panels of keys [begin, end) that any of them sees.
struct Block {
  int64_t first, rows, begin, end;

  Block(const AttentionRows& a, int64_t first_query)
      : first(first_query), rows(std::min(kBlock, a.queries - first_query)) {
    int64_t low = a.keys, high = 0;
    for (int64_t i = first; i < first + rows; ++i) {
      if (a.ranges[2 * i] >= a.ranges[2 * i + 1]) continue;
      low = std::min<int64_t>(low, a.prefix + a.ranges[2 * i]);
      high = std::max<int64_t>(high, a.prefix + a.ranges[2 * i + 1]);
    }
    begin = a.prefix > 0 ? 0 : std::min(low, high) / kPanelWidth * kPanelWidth;
    end = Padded(std::max(high, a.prefix));
  }
  int64_t width() const { return end - begin; }
};

bool SeesNothing(const AttentionRows& a, int64_t query) {
  return a.prefix == 0 && a.ranges[2 * query] >= a.ranges[2 * query + 1];
}

// Sets what a query does not see of its block's row.
void FillHidden(const AttentionRows& a, const Block& block, int64_t query, float value,
                float* row) {
  const int64_t from = std::max(block.begin, a.prefix);
  const int64_t low = std::clamp(a.prefix + a.ranges[2 * query], from, block.end);
  const int64_t high = std::clamp(a.prefix + a.ranges[2 * query + 1], low, block.end);
  std::fill(row + (from - block.begin), row + (low - block.begin), value);
  std::fill(row + (high - block.begin), row + block.width(), value);
}

// scores[kBlock, width] = q · kᵀ, capped.
void BlockScores(const AttentionRows& a, const Block& block, const float* q, const float* k_panels,
                 float* scores) {
  const int64_t dim = a.head_dim, width = block.width();
  Product<false>(kBlock, width / kPanelWidth, dim, {q, dim},
                 {k_panels + block.begin * dim, dim * kPanelWidth}, scores, width, false);
  if (a.softcap == 0) return;
  const PanelTag d;
  for (int64_t i = 0; i < kBlock * width; i += kPanelLanes) {
    hn::StoreU(Capped(hn::LoadU(d, scores + i), a.softcap), d, scores + i);
  }
}

// scores[width] become exp(score − max); returns the logarithm of their sum plus max, and 1 / sum.
std::pair<float, float> Softmax(int64_t width, float* scores) {
  const PanelTag d;
  PanelVec max = hn::Set(d, std::numeric_limits<float>::lowest());
  for (int64_t i = 0; i < width; i += kPanelLanes) max = hn::Max(max, hn::LoadU(d, scores + i));
  max = hn::MaxOfLanes(d, max);
  PanelVec sums = hn::Zero(d);
  for (int64_t i = 0; i < width; i += kPanelLanes) {
    const PanelVec weight = hn::Exp(d, hn::Sub(hn::LoadU(d, scores + i), max));
    sums = hn::Add(sums, weight);
    hn::StoreU(weight, d, scores + i);
  }
  const float sum = hn::GetLane(hn::SumOfLanes(d, sums));
  return {hn::GetLane(max) + std::log(sum), 1 / sum};
}

void HeadForward(const AttentionRows& a, HeadRows out, float* lse) {
  const int64_t dim = a.head_dim, wide = Padded(dim), keys = Padded(a.keys);
  Space space(keys * (dim + wide + kBlock) + kBlock * (dim + wide) + 8 * kPanelWidth);
  float *k_panels = space.Take(keys * dim), *v_panels = space.Take(keys * wide),
        *q = space.Take(kBlock * dim), *scores = space.Take(kBlock * keys),
        *sums = space.Take(kBlock * wide);
  PackPositions(a.k, a.keys, dim, k_panels);
  PackChannels(a.v, a.keys, keys, dim, 1, v_panels);
  for (int64_t first = 0; first < a.queries; first += kBlock) {
    const Block block(a, first);
    const int64_t width = block.width();
    CopyBlock(a.q, first, block.rows, dim, a.scale, q);
    BlockScores(a, block, q, k_panels, scores);
    float inverse[kBlock] = {};
    for (int64_t r = 0; r < block.rows; ++r) {
      float* row = scores + r * width;
      lse[first + r] = 0;
      if (SeesNothing(a, first + r)) continue;
      FillHidden(a, block, first + r, std::numeric_limits<float>::lowest(), row);
      std::tie(lse[first + r], inverse[r]) = Softmax(width, row);
    }
    Product<false>(kBlock, wide / kPanelWidth, width, {scores, width},
                   {v_panels + block.begin * kPanelWidth, keys * kPanelWidth}, sums, wide, false);
    for (int64_t r = 0; r < block.rows; ++r) {
      float* to = out.data + (first + r) * out.stride;
      for (int64_t c = 0; c < dim; ++c)
        to[c] = inverse[r] == 0 ? 0 : sums[r * wide + c] * inverse[r];
    }
  }
}

// Row r of `scores` becomes probabilities p, and that of `d_p`, the gradient of p, the gradient of
// the scores: p ⊙ (d_p − Σ p ⊙ d_p), with the sum as Σ out ⊙ d_out.
void SoftmaxBackward(float softcap, float lse, float dot, int64_t width, float* scores,
                     float* d_p) {
  const PanelTag d;
  const PanelVec log_sum = hn::Set(d, lse), mean = hn::Set(d, dot), one = hn::Set(d, 1.0f);
  const PanelVec inverse_cap = hn::Set(d, softcap > 0 ? 1 / softcap : 0.0f);
  for (int64_t i = 0; i < width; i += kPanelLanes) {
    const PanelVec score = hn::LoadU(d, scores + i);
    const PanelVec p = hn::Exp(d, hn::Sub(score, log_sum));
    const PanelVec tanh = hn::Mul(score, inverse_cap);
    const PanelVec slope = hn::NegMulAdd(tanh, tanh, one);
    hn::StoreU(p, d, scores + i);
    hn::StoreU(hn::Mul(hn::Mul(p, slope), hn::Sub(hn::LoadU(d, d_p + i), mean)), d, d_p + i);
  }
}

void HeadBackward(const AttentionRows& a, ConstHeadRows out, const float* lse, ConstHeadRows dout,
                  HeadRows dq, HeadRows dk, HeadRows dv) {
  const int64_t dim = a.head_dim, wide = Padded(dim), keys = Padded(a.keys);
  Space space(keys * (2 * dim + 3 * wide + 2 * kBlock) + kBlock * (2 * dim + 3 * wide) +
              16 * kPanelWidth);
  float *k_panels = space.Take(keys * dim), *v_panels = space.Take(keys * dim),
        *k_channels = space.Take(keys * wide), *k_sums = space.Take(keys * wide),
        *v_sums = space.Take(keys * wide);
  float *q = space.Take(kBlock * dim), *d_out = space.Take(kBlock * dim),
        *q_channels = space.Take(kBlock * wide), *d_channels = space.Take(kBlock * wide),
        *q_sums = space.Take(kBlock * wide), *scores = space.Take(kBlock * keys),
        *d_scores = space.Take(kBlock * keys);
  PackPositions(a.k, a.keys, dim, k_panels);
  PackPositions(a.v, a.keys, dim, v_panels);
  PackChannels(a.k, a.keys, keys, dim, 1, k_channels);
  std::fill_n(k_sums, keys * wide, 0.0f);
  std::fill_n(v_sums, keys * wide, 0.0f);
  for (int64_t first = 0; first < a.queries; first += kBlock) {
    const Block block(a, first);
    const int64_t width = block.width(), panels = width / kPanelWidth;
    CopyBlock(a.q, first, block.rows, dim, a.scale, q);
    CopyBlock(dout, first, block.rows, dim, 1, d_out);
    PackChannels({q, dim}, kBlock, kBlock, dim, 1, q_channels);
    PackChannels({d_out, dim}, kBlock, kBlock, dim, 1, d_channels);
    BlockScores(a, block, q, k_panels, scores);
    Product<false>(kBlock, panels, dim, {d_out, dim},
                   {v_panels + block.begin * dim, dim * kPanelWidth}, d_scores, width, false);
    for (int64_t r = 0; r < kBlock; ++r) {
      float *p = scores + r * width, *d_p = d_scores + r * width;
      if (r >= block.rows || SeesNothing(a, first + r)) {
        std::fill_n(p, width, 0.0f);
        std::fill_n(d_p, width, 0.0f);
        continue;
      }
      const float* o = out.data + (first + r) * out.stride;
      float dot = 0;
      for (int64_t c = 0; c < dim; ++c) dot += o[c] * d_out[r * dim + c];
      SoftmaxBackward(a.softcap, lse[first + r], dot, width, p, d_p);
      FillHidden(a, block, first + r, 0, p);
      FillHidden(a, block, first + r, 0, d_p);
    }
    Product<false>(kBlock, wide / kPanelWidth, width, {d_scores, width},
                   {k_channels + block.begin * kPanelWidth, keys * kPanelWidth}, q_sums, wide,
                   false);
    for (int64_t r = 0; r < block.rows; ++r) {
      float* to = dq.data + (first + r) * dq.stride;
      for (int64_t c = 0; c < dim; ++c) to[c] = a.scale * q_sums[r * wide + c];
    }
    Product<true>(width, wide / kPanelWidth, kBlock, {d_scores, width},
                  {q_channels, kBlock * kPanelWidth}, k_sums + block.begin * wide, wide, true);
    Product<true>(width, wide / kPanelWidth, kBlock, {scores, width},
                  {d_channels, kBlock * kPanelWidth}, v_sums + block.begin * wide, wide, true);
  }
  for (int64_t i = 0; i < a.keys; ++i) {
    std::copy_n(k_sums + i * wide, dim, dk.data + i * dk.stride);
    std::copy_n(v_sums + i * wide, dim, dv.data + i * dv.stride);
  }
}

}  // namespace
}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(HeadForward);
HWY_EXPORT(HeadBackward);

void AttentionForward(const AttentionRows& rows, HeadRows out, float* lse) {
  HWY_DYNAMIC_DISPATCH(HeadForward)(rows, out, lse);
}

void AttentionBackward(const AttentionRows& rows, ConstHeadRows out, const float* lse,
                       ConstHeadRows dout, HeadRows dq, HeadRows dk, HeadRows dv) {
  HWY_DYNAMIC_DISPATCH(HeadBackward)(rows, out, lse, dout, dq, dk, dv);
}

}  // namespace rondo
#endif  // HWY_ONCE
