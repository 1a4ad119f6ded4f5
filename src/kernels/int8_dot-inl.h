// Dot products of weight codes with 8-bit activations, a quad of inputs per 32-bit lane: the only
// place where instruction sets differ beyond what Highway covers. All sums are exact integers.
#if defined(RONDO_INT8_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RONDO_INT8_DOT_INL_H_
#undef RONDO_INT8_DOT_INL_H_
#else
#define RONDO_INT8_DOT_INL_H_
#endif

#include <cmath>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

using QuadTag = hn::RebindToUnsigned<PanelTag>;  // 4 codes a lane
using QuadVec = hn::Vec<QuadTag>;
using SumTag = hn::RebindToSigned<PanelTag>;
using SumVec = hn::Vec<SumTag>;

// Keeps the compiler from reordering a chain of additions into a tree, which would hold every
// product in memory before the first addition.
template <typename Raw>
HWY_INLINE Raw KeepOrder(Raw value) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR
  asm("" : "+v"(value));
#elif HWY_ARCH_ARM
  asm("" : "+w"(value));
#endif
  return value;
}

// The generic way of adding quads: `Pairs` are sums of a few products in 16 bits, of which kRun
// codes in a row fit; `Widen` adds neighbours into 32 bits.
#if HWY_TARGET == HWY_SCALAR

using PairVec = SumVec;
template <int kBits>
inline constexpr int kRun = 1;

template <bool kSigned>
HWY_INLINE PairVec MulPairs(QuadVec w, QuadVec x) {
  int32_t sum = 0;
  for (int shift = 0; shift < 32; shift += 8) {
    const int32_t code = static_cast<int32_t>((w.raw >> shift) & 0xff);
    sum += (kSigned ? static_cast<int8_t>(code) : code) * static_cast<int8_t>(x.raw >> shift);
  }
  return PairVec(sum);
}
HWY_INLINE PairVec AddPairs(PairVec a, PairVec b) { return hn::Add(a, b); }
HWY_INLINE SumVec Widen(PairVec pairs) { return pairs; }

#elif HWY_TARGET == HWY_NEON

struct PairVec {
  int16x8_t low, high;
};
// 8 · 15 · 127, 8 · 31 · 127, 4 · 63 · 127 and 2 · 128 · 127 fit in 16 bits.
template <int kBits>
inline constexpr int kRun = kBits < 6 ? 8
                            : kBits == 6 ? 4
                                         : 2;

template <bool kSigned>
HWY_INLINE PairVec MulPairs(QuadVec w, QuadVec x) {
  const int8x16_t a = vreinterpretq_s8_u32(w.raw), b = vreinterpretq_s8_u32(x.raw);
  return {vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b)};
}
HWY_INLINE PairVec AddPairs(PairVec a, PairVec b) {
  return {KeepOrder(vaddq_s16(a.low, b.low)), KeepOrder(vaddq_s16(a.high, b.high))};
}
HWY_INLINE SumVec Widen(PairVec p) {
  return SumVec(vpaddq_s32(vpaddlq_s16(p.low), vpaddlq_s16(p.high)));
}

#else  // x86

// Pairs of products saturate beyond 32767: 2 · 127 · 15 · 8, 31 · 4, 63 · 2 and 127 · 1 stay below.
using PairTag = hn::Repartition<int16_t, SumTag>;
using PairVec = hn::Vec<PairTag>;
template <int kBits>
inline constexpr int kRun = kBits <= 4   ? 8
                            : kBits == 5 ? 4
                            : kBits == 6 ? 2
                                         : 1;

#if HWY_TARGET == HWY_SSE4
HWY_INLINE __m128i MulAddBytes(__m128i u, __m128i s) { return _mm_maddubs_epi16(u, s); }
HWY_INLINE __m128i AddNeighbours(__m128i p) { return _mm_madd_epi16(p, _mm_set1_epi16(1)); }
HWY_INLINE __m128i AbsBytes(__m128i a) { return _mm_abs_epi8(a); }
HWY_INLINE __m128i SignOf(__m128i x, __m128i sign) { return _mm_sign_epi8(x, sign); }
#elif HWY_TARGET == HWY_AVX2
HWY_INLINE __m256i MulAddBytes(__m256i u, __m256i s) { return _mm256_maddubs_epi16(u, s); }
HWY_INLINE __m256i AddNeighbours(__m256i p) { return _mm256_madd_epi16(p, _mm256_set1_epi16(1)); }
HWY_INLINE __m256i AbsBytes(__m256i a) { return _mm256_abs_epi8(a); }
HWY_INLINE __m256i SignOf(__m256i x, __m256i sign) { return _mm256_sign_epi8(x, sign); }
#else
HWY_INLINE __m512i MulAddBytes(__m512i u, __m512i s) { return _mm512_maddubs_epi16(u, s); }
HWY_INLINE __m512i AddNeighbours(__m512i p) { return _mm512_madd_epi16(p, _mm512_set1_epi16(1)); }
HWY_INLINE __m512i AbsBytes(__m512i a) { return _mm512_abs_epi8(a); }
// As elsewhere but for sign 0, where the other factor, |w|, is 0.
HWY_INLINE __m512i SignOf(__m512i x, __m512i sign) {
  return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(sign), _mm512_setzero_si512(), x);
}
#endif

template <bool kSigned>
HWY_INLINE PairVec MulPairs(QuadVec w, QuadVec x) {
  if constexpr (!kSigned) return PairVec{MulAddBytes(w.raw, x.raw)};
  // |w| · (x · sign w): at most 2 · 128 · 127.
  return PairVec{MulAddBytes(AbsBytes(w.raw), SignOf(x.raw, w.raw))};
}
HWY_INLINE PairVec AddPairs(PairVec a, PairVec b) { return PairVec{KeepOrder(hn::Add(a, b).raw)}; }
HWY_INLINE SumVec Widen(PairVec pairs) { return SumVec{AddNeighbours(pairs.raw)}; }

#endif

// Sums quads given one after another; `i` counts them and is a constant after unrolling. kBits of 8
// are signed codes.
template <int kBits>
class QuadDot {
 public:
  HWY_INLINE void Add(int i, QuadVec w, QuadVec x) {
    const PairVec pairs = MulPairs<kBits == 8>(w, x);
    pairs_ = i % kRun<kBits> == 0 ? pairs : AddPairs(pairs_, pairs);
    if ((i + 1) % kRun<kBits> != 0) return;
    const SumVec wide = Widen(pairs_);
    total_ = i < kRun<kBits> ? wide : SumVec{KeepOrder(hn::Add(total_, wide).raw)};
  }
  // After a multiple of the run. `sum` is the sum of the activations' codes.
  HWY_INLINE SumVec Total() const { return total_; }
  static constexpr int kBias = 0;  // Total() is too large by kBias · sum of the activations' codes

 private:
  PairVec pairs_;
  SumVec total_;
};

#if HWY_TARGET == HWY_AVX3

// The same with AVX-512 VNNI, as assembly since Highway's AVX-512 level does not imply it; the
// caller asks the CPU.
template <int kBits>
class VnniDot {
 public:
  static constexpr int kBias = kBits == 8 ? 128 : 0;
  HWY_INLINE void Add(int i, QuadVec w, QuadVec x) {
    if (kBits == 8) w = hn::Xor(w, hn::Set(QuadTag(), 0x80808080u));
    if (i == 0) total_ = hn::Zero(SumTag());
    asm("vpdpbusd %2, %1, %0" : "+v"(total_.raw) : "v"(w.raw), "v"(x.raw));
  }
  HWY_INLINE SumVec Total() const { return total_; }

 private:
  SumVec total_;
};

#endif

// a · b + c with one rounding on every instruction set, so that results agree between them.
HWY_INLINE PanelVec FusedMulAdd(PanelVec a, PanelVec b, PanelVec c) {
#if HWY_NATIVE_FMA
  return hn::MulAdd(a, b, c);
#else
  HWY_ALIGN float x[kPanelLanes], y[kPanelLanes], z[kPanelLanes];
  const PanelTag d;
  hn::Store(a, d, x);
  hn::Store(b, d, y);
  hn::Store(c, d, z);
  for (int i = 0; i < kPanelLanes; ++i) z[i] = std::fma(x[i], y[i], z[i]);
  return hn::Load(d, z);
#endif
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
