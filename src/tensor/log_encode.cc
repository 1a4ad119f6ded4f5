#include "tensor/log_encode.h"

#include <algorithm>
#include <cstring>

#include "base/simd_sets.h"
#include "tensor/log_exact.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/log_encode.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A lane is a block, so that every block sees the same operations on every instruction set.
using Tag = hn::CappedTag<float, 16>;
using Vec = hn::Vec<Tag>;
using IntTag = hn::RebindToSigned<Tag>;
using IntVec = hn::Vec<IntTag>;
using WordTag = hn::RebindToUnsigned<Tag>;
constexpr int kLanes = hn::MaxLanes(Tag());
constexpr int kLength = 32;

struct LaneFit {
  Vec error, middle;  // squared, in steps; where the middle of the codes should be, in steps
};

template <bool kOffset>
class Lanes {
 public:
  explicit Lanes(const LogFormat& format) : format_(format), highest_(format.highest()) {}

  // `blocks` ≤ kLanes.
  void Encode(const float* values, int blocks, uint8_t* out) {
    Load(values, blocks);
    FindReach(blocks);
    Search();
    Write(blocks, out);
  }

 private:
  Vec At(int i) const { return hn::Load(Tag(), x_ + i * kLanes); }

  void Load(const float* values, int blocks) {
    if (blocks < kLanes) std::fill_n(x_, kLength * kLanes, 0.0f);
    for (int b = 0; b < blocks; ++b) {
      for (int i = 0; i < kLength; ++i) x_[i * kLanes + b] = values[b * kLength + i];
    }
  }

  void FindReach(int blocks) {
    const Tag d;
    Vec low = At(0), high = low, zero = hn::Zero(d);
    for (int i = 0; i < kLength; ++i) {
      low = hn::Min(low, At(i));
      high = hn::Max(high, At(i));
      zero = hn::Add(zero, hn::Mul(At(i), hn::Zero(d)));
    }
    // NaN where a value is not finite, which LogReachOf() refuses.
    hn::Store(hn::Add(low, zero), d, low_);
    hn::Store(hn::Add(high, zero), d, high_);
    HWY_ALIGN int32_t first[kLanes] = {}, least[kLanes] = {};
    for (int b = 0; b < blocks; ++b) {
      const LogReach reach = LogReachOf(format_, low_[b], high_[b]);
      first[b] = reach.code == 0 ? 0 : reach.first;
      least[b] = reach.code == 0 ? 0 : 1;
      count_ = reach.count;
    }
    first_ = hn::Load(IntTag(), first);
    least_ = hn::Load(IntTag(), least);
    FindTwins();
  }

  // Equal values among the first: a block that was decoded has no more than the codes are.
  void FindTwins() {
    const Tag d;
    auto twins = hn::Ne(hn::Zero(d), hn::Zero(d));
    for (int i = 1; i <= highest_ + 1; ++i) {
      for (int j = 0; j < i; ++j) twins = hn::Or(twins, hn::Eq(At(i), At(j)));
    }
    hn::Store(hn::IfThenElseZero(twins, hn::Set(d, 1.0f)), d, twins_);
  }

  // Codes of the values (0 … highest) in lanes; `inverse` of the scales.
  HWY_INLINE Vec Codes(Vec x, Vec inverse, Vec center, Vec* exact) const {
    const Tag d;
    *exact = hn::Add(hn::Mul(x, inverse), center);
    const Vec most = hn::Set(d, static_cast<float>(highest_));
    return hn::Min(hn::Max(hn::Round(*exact), hn::Zero(d)), most);
  }

  HWY_INLINE LaneFit Try(Vec inverse, Vec middle) const {
    const Tag d;
    const Vec center = hn::Sub(hn::Set(d, format_.center()), middle);
    Vec squares[2] = {hn::Zero(d), hn::Zero(d)}, sums[2] = {hn::Zero(d), hn::Zero(d)};
    for (int i = 0; i < kLength; i += 2) {
      for (int j = 0; j < 2; ++j) {
        Vec exact;
        const Vec code = Codes(At(i + j), inverse, center, &exact);
        const Vec rest = hn::Sub(exact, code);
        squares[j] = hn::Add(squares[j], hn::Mul(rest, rest));
        if (kOffset) sums[j] = hn::Add(sums[j], rest);
      }
    }
    LaneFit fit{hn::Add(squares[0], squares[1]), middle};
    if (!kOffset) return fit;
    // The mean of what is left is the best shift for these codes.
    const Vec sum = hn::Add(sums[0], sums[1]), part = hn::Mul(sum, hn::Set(d, 1.0f / kLength));
    fit.error = hn::Sub(fit.error, hn::Mul(sum, part));
    fit.middle = Bounded(hn::Add(middle, part));
    return fit;
  }

  HWY_INLINE static Vec Bounded(Vec middle) {
    const Tag d;
    return hn::Min(hn::Max(middle, hn::Set(d, -4.0f)), hn::Set(d, 127.0f / 32));
  }

  struct Best {
    Vec error, middle;  // squared
    IntVec scale;       // code
  };

  // Codes and middle in turn, from `middle` on.
  HWY_INLINE void Consider(IntVec scale, Vec middle, Best& best) const {
    const Tag d;
    const Vec unit = hn::GatherIndex(d, kLogScales.data(), scale);
    const Vec inverse =
        hn::IfThenZeroElse(hn::Eq(unit, hn::Zero(d)), hn::Div(hn::Set(d, 1.0f), unit));
    LaneFit fit = Try(inverse, kOffset ? Bounded(middle) : hn::Zero(d));
    if (kOffset) fit = Try(inverse, fit.middle);
    const Vec error = hn::Mul(fit.error, hn::Mul(unit, unit));
    const auto better = hn::Lt(error, best.error);
    best.error = hn::IfThenElse(better, error, best.error);
    best.middle = hn::IfThenElse(better, fit.middle, best.middle);
    best.scale = hn::IfThenElse(hn::RebindMask(IntTag(), better), scale, best.scale);
  }

  // All scales with the codes in the middle of the values, then the best scale with others.
  void Search() {
    const Tag d;
    const Vec center = hn::Mul(hn::Add(hn::Load(d, low_), hn::Load(d, high_)), hn::Set(d, 0.5f));
    Best best = {hn::Set(d, 3e38f), hn::Zero(d), hn::Zero(IntTag())};
    for (int step = 0; step < count_; ++step) {
      const IntVec down = hn::Sub(first_, hn::Set(IntTag(), step));
      const IntVec scale = hn::Min(hn::Max(down, least_), hn::Set(IntTag(), 255));
      const Vec unit = hn::GatherIndex(d, kLogScales.data(), scale);
      Consider(scale, hn::Div(center, hn::Max(unit, hn::Set(d, kLogScales[1]))), best);
    }
    if (kOffset) {
      const Best first = best;
      for (const float shift : {-0.3f, 0.3f, 0.5f}) {
        Consider(first.scale, hn::Add(first.middle, hn::Set(d, shift)), best);
      }
    }
    HWY_ALIGN int32_t scales[kLanes];
    HWY_ALIGN float offsets[kLanes];
    hn::Store(best.scale, IntTag(), scales);
    hn::Store(hn::Round(hn::Mul(best.middle, hn::Set(d, 32.0f))), d, offsets);
    for (int b = 0; b < kLanes; ++b) {
      scale_[b] = static_cast<uint8_t>(scales[b]);
      offset_[b] = scales[b] == 0 ? 0 : static_cast<int>(offsets[b]);
    }
  }

  void Write(int blocks, uint8_t* out) {
    HWY_ALIGN float inverses[kLanes], centers[kLanes];
    for (int b = 0; b < kLanes; ++b) {
      if (twins_[b] != 0) KeepExact(b);
      inverses[b] = scale_[b] == 0 ? 0 : 1 / kLogScales[scale_[b]];
      centers[b] = format_.center() - static_cast<float>(offset_[b]) * 0x1p-5f;
    }
    const Tag d;
    const WordTag dw;
    const Vec inverse = hn::Load(d, inverses), center = hn::Load(d, centers);
    auto low = hn::Zero(dw), high = hn::Zero(dw), third = hn::Zero(dw);
    for (int i = 0; i < kLength; ++i) {
      Vec exact;
      const auto code =
          hn::BitCast(dw, hn::ConvertTo(IntTag(), Codes(At(i), inverse, center, &exact)));
      auto& word = i % 8 < 4 ? low : high;
      word = hn::Or(word, hn::ShiftLeftSame(hn::And(code, hn::Set(dw, 3u)), i % 4 * 8 + i / 8 * 2));
      third = hn::Or(third, hn::ShiftLeftSame(hn::ShiftRight<2>(code), i));
    }
    HWY_ALIGN uint32_t words[3][kLanes];
    hn::Store(low, dw, words[0]);
    hn::Store(high, dw, words[1]);
    hn::Store(third, dw, words[2]);
    for (int b = 0; b < blocks; ++b) {
      *out++ = scale_[b];
      if (kOffset) *out++ = static_cast<uint8_t>(offset_[b]);
      for (int w = 0; w < format_.bits; ++w, out += 4) std::memcpy(out, &words[w][b], 4);
    }
  }

  // Blocks that came out of this type before.
  void KeepExact(int b) {
    if (!MayBeExact(format_, low_[b], high_[b])) return;
    float x[kLength];
    for (int i = 0; i < kLength; ++i) x[i] = x_[i * kLanes + b];
    FindExact(format_, x, &scale_[b], &offset_[b]);
  }

  const LogFormat format_;
  const int highest_;
  HWY_ALIGN float x_[kLength * kLanes];  // [32][blocks]
  HWY_ALIGN float low_[kLanes], high_[kLanes];
  HWY_ALIGN float twins_[kLanes];
  IntVec first_, least_;  // scale codes to try, from first_ down
  int count_ = 0;
  uint8_t scale_[kLanes];
  int offset_[kLanes];
};

template <bool kOffset>
void EncodeAll(const LogFormat& format, const float* values, int64_t blocks, uint8_t* out) {
  Lanes<kOffset> lanes(format);
  const int bytes = format.header_bytes() + 4 * format.bits;
  for (int64_t b = 0; b < blocks; b += kLanes) {
    lanes.Encode(values + b * kLength, static_cast<int>(std::min<int64_t>(kLanes, blocks - b)),
                 out + b * bytes);
  }
}

void Encode(const LogFormat& format, const float* values, int64_t blocks, uint8_t* out) {
  if (format.offset) return EncodeAll<true>(format, values, blocks, out);
  EncodeAll<false>(format, values, blocks, out);
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <string>

#include "rondo/error.h"

namespace rondo {
HWY_EXPORT(Encode);

LogReach LogReachOf(const LogFormat& format, float low, float high) {
  // Steps of a tensor's values about their mean are near 1 (2 bits) and 0.59 (3 bits) deviations;
  // of 32 values the range is 4.1 deviations and more where outliers stand.
  constexpr int kAbove = 1, kCount3 = 7, kCount2 = 11;
  const float largest = std::max(high, -low);  // NaN if high is
  const float limit = kLogScales[255] * format.center();
  if (!(largest <= limit)) {
    throw Error({.function = "EncodeBlocks",
                 .problem = "value " + std::to_string(high > -low ? high : low),
                 .expected = "numbers up to " + std::to_string(limit)});
  }
  float span = 2 * largest;
  if (format.offset) {  // whose range must reach the values too
    span = std::max(high - low, largest * format.center() / (format.center() + 4) * 2);
  }
  const uint8_t code = NearestLogScale(span / static_cast<float>(format.highest()));
  return {code, code + kAbove, format.bits == 3 ? kCount3 : kCount2};
}

void EncodeLogBlocks(const LogFormat& format, const float* values, int64_t blocks, std::byte* out) {
  HWY_DYNAMIC_DISPATCH(Encode)
  (format, values, blocks, reinterpret_cast<uint8_t*>(out));
}

}  // namespace rondo
#endif  // HWY_ONCE
