#include "kernels/attention.h"

#include <gtest/gtest.h>

#include "kernels/aligned_buffer.h"
#include "kernels/kernel_testing.h"
#include "kernels/reference.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"
#include "tensor/float_convert.h"

namespace rondo {
namespace {

class AttentionTest : public KernelTest {};

// A sequence with random queries, keys and values.
struct Sequence {
  Sequence(const AttentionShape& s, int count, KvType type = KvType::kF32, int prefix_count = 0)
      : shape(s),
        length(count),
        prefix(prefix_count),
        q(RandomFloats(int64_t{count} * s.heads * s.head_dim, 1)),
        keys(RandomFloats(int64_t{count} * s.kv_heads * s.head_dim, 2)),
        values(RandomFloats(int64_t{count} * s.kv_heads * s.head_dim, 3)),
        prefix_keys(RandomFloats(int64_t{prefix} * s.kv_heads * s.head_dim, 4)),
        prefix_values(RandomFloats(int64_t{prefix} * s.kv_heads * s.head_dim, 5)),
        layout{s.kv_heads, s.head_dim, type},
        prefix_layout{s.kv_heads, s.head_dim, KvType::kF32} {
    for (int page = 0; page * kPagePositions < count; ++page) {
      memory.emplace_back(2 * layout.depth_bytes());
      pages.push_back(memory.back().as<std::byte>());
    }
    const int64_t width = int64_t{s.kv_heads} * s.head_dim;
    for (int t = 0; t < count; ++t) {
      StoreKv(View(), t, keys.data() + t * width, values.data() + t * width);
    }
    for (int page = 0; page * kPagePositions < prefix; ++page) {
      memory.emplace_back(prefix_layout.depth_bytes());
      prefix_pages.push_back(memory.back().as<std::byte>());
    }
    for (int t = 0; t < prefix; ++t) {
      StoreKv(Prefix().kv, t, prefix_keys.data() + t * width, prefix_values.data() + t * width);
    }
  }
  // The second of two depths.
  KvView View() const { return {layout, pages, layout.depth_bytes()}; }
  AttentionPrefix Prefix() const { return {{prefix_layout, prefix_pages}, prefix}; }
  // Output of positions [first, first + count), which see `given` keys or those up to their own.
  std::vector<float> Run(int first, int count, int threads = 1, KeyRange given = {}) const {
    ThreadPool pool(threads);
    const int64_t width = int64_t{shape.heads} * shape.head_dim;
    std::vector<float> out(static_cast<size_t>(count * width));
    const AttentionSpan span{shape,      View(),   first, count, q.data() + first * width,
                             out.data(), Prefix(), given};
    Attention({&span, 1}, pool);
    return out;
  }

  AttentionShape shape;
  int length, prefix;
  std::vector<float> q, keys, values, prefix_keys, prefix_values;
  KvLayout layout, prefix_layout;
  std::vector<AlignedBuffer> memory;
  std::vector<std::byte*> pages, prefix_pages;
};

std::vector<float> Joined(std::vector<float> a, const std::vector<float>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Scores are sums of head_dim products of size √dim, so they are off by about ε · dim · scale; a
// softmax turns that into a relative error of its weights, and up to `length` of them are summed.
void ExpectMatchesReference(const Sequence& s) {
  const std::vector<float> out = s.Run(0, s.length);
  const size_t width = static_cast<size_t>(s.shape.heads * s.shape.head_dim);
  const double score_error = 0x1p-24 * 4 * s.shape.head_dim * s.shape.scale;
  const double tolerance = 4 * (score_error + 0x1p-24 * (8 + std::sqrt(s.length + s.prefix)));
  const std::vector<float> keys = Joined(s.prefix_keys, s.keys);
  const std::vector<float> values = Joined(s.prefix_values, s.values);
  for (int t = 0; t < s.length; ++t) {
    const std::vector<double> expected = reference::Attention(
        s.shape, t, std::span(s.q).subspan(t * width, width), keys, values, s.prefix);
    for (size_t i = 0; i < width; ++i) {
      ASSERT_NEAR(out[t * width + i], expected[i], tolerance) << "position " << t;
    }
  }
}

TEST_P(AttentionTest, HeadSizesAndGroups) {
  for (const int dim : {1, 2, 6, 15, 16, 17, 32, 64, 80}) {
    for (const auto& [heads, kv_heads] : {std::pair(1, 1), std::pair(6, 2), std::pair(8, 1)}) {
      const AttentionShape shape{.heads = heads,
                                 .kv_heads = kv_heads,
                                 .head_dim = dim,
                                 .scale = 1 / std::sqrt(static_cast<float>(dim))};
      ExpectMatchesReference(Sequence(shape, 37));
    }
  }
}

TEST_P(AttentionTest, LengthsAroundThePanel) {
  const AttentionShape shape{.heads = 3, .kv_heads = 3, .head_dim = 8, .scale = 0.4f};
  for (const int length : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 128, 300}) {
    ExpectMatchesReference(Sequence(shape, length));
  }
}

TEST_P(AttentionTest, SlidingWindows) {
  for (const int window : {1, 2, 5, 15, 16, 17, 40, 99, 100, 500}) {
    const AttentionShape shape{
        .heads = 4, .kv_heads = 2, .head_dim = 8, .scale = 0.4f, .window = window};
    ExpectMatchesReference(Sequence(shape, 100));
  }
}

TEST_P(AttentionTest, SoftCap) {
  ExpectMatchesReference(
      Sequence({.heads = 2, .kv_heads = 1, .head_dim = 8, .scale = 1, .softcap = 1.5f}, 50));
}

// A prefix is seen through any window, in any count around the panel and the page.
TEST_P(AttentionTest, Prefixes) {
  for (const int prefix : {1, 15, 16, 17, 63, 64, 65, 130}) {
    for (const int window : {0, 1, 20}) {
      for (const float softcap : {0.0f, 1.5f}) {
        const AttentionShape shape{.heads = 4,
                                   .kv_heads = 2,
                                   .head_dim = 10,
                                   .scale = 0.4f,
                                   .softcap = softcap,
                                   .window = window};
        ExpectMatchesReference(Sequence(shape, 70, KvType::kF32, prefix));
      }
    }
  }
}

// Keys before and behind the queries, whatever their own positions are.
TEST_P(AttentionTest, GivenKeys) {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 10, .scale = 0.4f};
  const Sequence s(shape, 150);
  const size_t width = 40, kv_width = 20;
  for (const auto& [begin, end] : {std::pair(0, 150), std::pair(0, 1), std::pair(5, 6),
                                   std::pair(15, 33), std::pair(64, 128), std::pair(70, 131)}) {
    const std::vector<float> out = s.Run(40, 30, 2, {begin, end});
    const auto keys = std::span(s.keys).subspan(begin * kv_width, (end - begin) * kv_width);
    const auto values = std::span(s.values).subspan(begin * kv_width, (end - begin) * kv_width);
    for (size_t t = 0; t < 30; ++t) {
      const std::vector<double> expected = reference::Attention(
          shape, end - begin - 1, std::span(s.q).subspan((40 + t) * width, width), keys, values);
      const double tolerance = 4 * 0x1p-24 * (4 * 10 * 0.4 + 8 + std::sqrt(end - begin));
      for (size_t i = 0; i < width; ++i) ASSERT_NEAR(out[t * width + i], expected[i], tolerance);
    }
  }
}

// Scores of several hundred must not overflow the exponential.
TEST_P(AttentionTest, LargeScoresStayFinite) {
  Sequence s({.heads = 1, .kv_heads = 1, .head_dim = 16, .scale = 100}, 40);
  for (const float v : s.Run(0, 40)) EXPECT_TRUE(std::isfinite(v));
}

TEST_P(AttentionTest, RowsDoNotDependOnTheStepNorThreads) {
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kInt8}) {
    for (const auto& [window, prefix] : {std::pair(0, 0), std::pair(11, 0), std::pair(11, 21)}) {
      const Sequence s({.heads = 6, .kv_heads = 2, .head_dim = 10, .scale = 0.3f, .window = window},
                       75, type, prefix);
      const std::vector<float> all = s.Run(0, 75, 2);
      EXPECT_EQ(s.Run(0, 75, 1), all);
      for (const int count : {1, 2, 5, 16, 17}) {
        for (int first = 0; first + count <= 75; ++first) {
          EXPECT_EQ(s.Run(first, count), std::vector<float>(all.begin() + first * 60,
                                                            all.begin() + (first + count) * 60))
              << first << " + " << count;
        }
      }
    }
  }
}

TEST_P(AttentionTest, Bf16EqualsRoundedF32BitForBit) {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 12, .scale = 0.3f};
  const Sequence half(shape, 50, KvType::kBF16);
  Sequence rounded(shape, 50);
  for (int t = 0; t < 50; ++t) {
    std::vector<float> key(24), value(24);
    for (int i = 0; i < 24; ++i) {
      key[i] = F32FromBF16(BF16FromF32(rounded.keys[t * 24 + i]));
      value[i] = F32FromBF16(BF16FromF32(rounded.values[t * 24 + i]));
    }
    StoreKv(rounded.View(), t, key.data(), value.data());
  }
  EXPECT_EQ(half.Run(0, 50), rounded.Run(0, 50));
}

// An int8 key is off by at most half a step, its largest magnitude / 254, in each element: a score
// by less than that times the sum of |q|, and the softmax weights by that relatively; values add
// their own half step.
TEST_P(AttentionTest, Int8StaysWithinItsRounding) {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 32, .scale = 0.17f};
  const Sequence exact(shape, 90), small(shape, 90, KvType::kInt8);
  const std::vector<float> a = exact.Run(0, 90), b = small.Run(0, 90);
  const auto largest = [](const std::vector<float>& x) {
    float most = 0;
    for (const float v : x) most = std::max(most, std::fabs(v));
    return most;
  };
  const double key_step = largest(exact.keys) / 254, value_step = largest(exact.values) / 254;
  double q_sum = 0;
  for (size_t i = 0; i + 32 <= exact.q.size(); i += 32) {
    double sum = 0;
    for (size_t j = i; j < i + 32; ++j) sum += std::fabs(exact.q[j]);
    q_sum = std::max(q_sum, sum);
  }
  const double score_error = key_step * q_sum * shape.scale;
  const double tolerance = value_step + 2 * std::expm1(score_error) * largest(exact.values);
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::fabs(double{a[i]} - b[i]));
  EXPECT_LT(worst, tolerance);
  EXPECT_GT(worst, 0);
}

RONDO_KERNEL_TEST(AttentionTest);

TEST(KvLayout, RefusesSizesThatOverflow) {
  const KvLayout huge{.kv_heads = 1 << 30, .head_dim = 1 << 30, .type = KvType::kF32};
  EXPECT_THROW(huge.depth_bytes(), Error);
}

TEST(CopyKv, MovesPositionsBetweenDepthsBitForBit) {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 20, .scale = 0.3f};
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kInt8}) {
    Sequence s(shape, 80, type);
    const std::vector<float> expected = s.Run(0, 80);
    const KvView other{s.layout, s.pages, 0};
    CopyKv(s.View(), other, 0, 33);
    CopyKv(s.View(), other, 33, 47);
    std::vector<float> out(expected.size());
    const AttentionSpan span{shape, other, 0, 80, s.q.data(), out.data()};
    ThreadPool pool(1);
    Attention({&span, 1}, pool);
    EXPECT_EQ(out, expected) << Name(type);
  }
}

}  // namespace
}  // namespace rondo
