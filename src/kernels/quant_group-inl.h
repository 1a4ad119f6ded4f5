// One group of quantised weights times rows of 8-bit activations: scales and codes out of a panel,
// exact integer dots, and their part of the f32 sums. Included once per instruction set.
#if defined(RONDO_QUANT_GROUP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RONDO_QUANT_GROUP_INL_H_
#undef RONDO_QUANT_GROUP_INL_H_
#else
#define RONDO_QUANT_GROUP_INL_H_
#endif

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "kernels/int8_dot-inl.h"
#include "kernels/quant_panel.h"
#include "tensor/log_scale.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// Of lambdas that must not stay functions, as GCC else leaves some.
#undef RONDO_INLINE_LAMBDA
#define RONDO_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))

// f(0), …, f(kCount - 1) with constants, so that arrays of vectors become registers. One lane at a
// time the straight code would be too long to be good for anything.
template <int kCount, typename F>
HWY_INLINE void Unroll(const F& f) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < kCount; ++i) f(i);
#else
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) RONDO_INLINE_LAMBDA {
    (f(std::integral_constant<int, kIndex>()), ...);
  }
  (std::make_integer_sequence<int, kCount>());
#endif
}

HWY_INLINE PanelVec HalvesToFloat(const uint8_t* p) {
  const hn::Rebind<hwy::float16_t, PanelTag> d16;
  return hn::PromoteTo(PanelTag(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}

template <typename T>
HWY_INLINE PanelVec BytesToFloat(const T* p) {
  return hn::ConvertTo(PanelTag(), hn::PromoteTo(SumTag(), hn::LoadU(hn::Rebind<T, SumTag>(), p)));
}

// kLogMantissas, less the octaves that codes begin below 1, for every lane of a panel.
HWY_ALIGN inline constexpr auto kPanelMantissas = [] {
  std::array<uint32_t, kPanelWidth> table{};
  for (size_t i = 0; i < table.size(); ++i) {
    table[i] = kLogMantissas[i % 8] - (static_cast<uint32_t>(kLogBias) << 23);
  }
  return table;
}();

template <int kScales>
struct GroupScales {
  PanelVec scale[kScales][kPanelVecs];
  PanelVec min[kPanelVecs];
};

// The two f16 rows that open a super-block.
struct SuperScales {
  PanelVec scale[kPanelVecs];
  PanelVec min[kPanelVecs];
};

template <DType kType>
HWY_INLINE void LoadSuper(const uint8_t* header, SuperScales& super) {
  for (int v = 0; v < kPanelVecs; ++v) {
    super.scale[v] = HalvesToFloat(header + 2 * v * kPanelLanes);
    if (!kQuantFormat<kType>.min) continue;
    super.min[v] = hn::Neg(HalvesToFloat(header + 2 * (kPanelWidth + v * kPanelLanes)));
  }
}

// The scales of kPanelLanes bytes (log_scale.h): the mantissa from a table, the octaves into the
// exponent.
HWY_INLINE PanelVec LogScalesToFloat(const uint8_t* p) {
  const QuadTag d;
  const QuadVec code = hn::PromoteTo(d, hn::LoadU(hn::Rebind<uint8_t, QuadTag>(), p));
  const QuadVec octaves = hn::AndNot(hn::Set(d, 7u), code);  // times 8
  const QuadVec step = hn::And(code, hn::Set(d, 7u));
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
  const QuadVec mantissa =
      hn::TableLookupLanes(hn::Load(d, kPanelMantissas.data()), hn::IndicesFromVec(d, step));
#else
  const QuadVec mantissa = hn::GatherIndex(d, kPanelMantissas.data(), hn::BitCast(SumTag(), step));
#endif
  const QuadVec bits = hn::Add(mantissa, hn::ShiftLeft<20>(octaves));
  return hn::BitCast(PanelTag(), hn::IfThenElseZero(hn::Ne(code, hn::Zero(d)), bits));
}

// Products of f16 and 8-bit scales are exact in f32.
template <DType kType>
HWY_INLINE void LoadScales(const uint8_t* group, const SuperScales& super,
                           GroupScales<kQuantFormat<kType>.scales>& scales) {
  constexpr QuantFormat f = kQuantFormat<kType>;
  for (int v = 0; v < kPanelVecs; ++v) {
    const int lane = v * kPanelLanes;
    if constexpr (f.log) {
      const PanelTag d;
      const PanelVec scale = LogScalesToFloat(group + lane);
      // −1.5 or −3.5 steps and the stored part, an exact factor.
      PanelVec steps = hn::Set(d, -0.5f * ((1 << f.bits) - 1));
      if constexpr (f.moved) {
        const auto* at = reinterpret_cast<const int8_t*>(group + f.scale_bytes() + lane);
        steps = hn::Add(steps, hn::Mul(BytesToFloat(at), hn::Set(d, 0x1p-5f)));
      }
      scales.scale[0][v] = scale;
      scales.min[v] = hn::Mul(scale, steps);
    } else if constexpr (!f.super) {
      scales.scale[0][v] = HalvesToFloat(group + 2 * lane);
      if (f.min) scales.min[v] = HalvesToFloat(group + f.scale_bytes() + 2 * lane);
    } else {
      for (int s = 0; s < f.scales; ++s) {
        const uint8_t* at = group + s * kPanelWidth + lane;
        // 6-bit scales are the same bytes read either way.
        const PanelVec small = BytesToFloat(reinterpret_cast<const int8_t*>(at));
        scales.scale[s][v] = hn::Mul(super.scale[v], small);
      }
      if (f.min) {
        scales.min[v] = hn::Mul(super.min[v], BytesToFloat(group + f.scale_bytes() + lane));
      }
    }
  }
}

HWY_INLINE QuadVec LoadQuads(const uint8_t* p) {
  return hn::LoadU(QuadTag(), reinterpret_cast<const uint32_t*>(p));
}

// A left shift by -6 to 4 bits, constant after unrolling.
HWY_INLINE QuadVec ShiftedLeft(QuadVec v, int bits) {
  switch (bits) {
    case -6:
      return hn::ShiftRight<6>(v);
    case -5:
      return hn::ShiftRight<5>(v);
    case -4:
      return hn::ShiftRight<4>(v);
    case -3:
      return hn::ShiftRight<3>(v);
    case -2:
      return hn::ShiftRight<2>(v);
    case -1:
      return hn::ShiftRight<1>(v);
    case 1:
      return hn::ShiftLeft<1>(v);
    case 2:
      return hn::ShiftLeft<2>(v);
    case 3:
      return hn::ShiftLeft<3>(v);
    case 4:
      return hn::ShiftLeft<4>(v);
    default:
      return v;
  }
}

// Codes of one quad for vector v of the panel; `quad` is a constant after unrolling.
template <int kBits>
HWY_INLINE QuadVec Codes(const uint8_t* codes, int quad, int v) {
  const QuadTag d;
  constexpr int kLine = 4 * kPanelWidth;
  const int at = 4 * v * kPanelLanes;
  if (kBits == 8) return LoadQuads(codes + quad * kLine + at);
  if (kBits < 4) {
    const QuadVec pairs = LoadQuads(codes + quad / 4 * kLine + at);
    const QuadVec low = hn::And(ShiftedLeft(pairs, -2 * (quad % 4)), hn::Set(d, 0x03030303u));
    if (kBits == 2) return low;
    const QuadVec bits = LoadQuads(codes + 2 * kLine + at);
    return hn::OrAnd(low, ShiftedLeft(bits, 2 - quad), hn::Set(d, 0x04040404u));
  }
  const QuadVec bytes = LoadQuads(codes + quad / 2 * kLine + at);
  const QuadVec nibbles = hn::Set(d, 0x0f0f0f0fu);
  const QuadVec low = hn::And(quad % 2 == 0 ? bytes : hn::ShiftRight<4>(bytes), nibbles);
  if (kBits == 4) return low;
  if (kBits == 5) {
    const QuadVec bits = LoadQuads(codes + 4 * kLine + at);
    return hn::OrAnd(low, ShiftedLeft(bits, 4 - quad), hn::Set(d, 0x10101010u));
  }
  const QuadVec bits = LoadQuads(codes + (4 + quad / 4) * kLine + at);
  return hn::OrAnd(low, ShiftedLeft(bits, 4 - 2 * (quad % 4)), hn::Set(d, 0x30303030u));
}

// Where a group's codes come from: packed, or already spread to one byte each.
template <int kBits>
struct PackedCodes {
  const uint8_t* codes;
  HWY_INLINE QuadVec operator()(int quad, int v) const { return Codes<kBits>(codes, quad, v); }
};

struct SpreadCodes {
  const uint8_t* codes;
  HWY_INLINE QuadVec operator()(int quad, int v) const { return Codes<8>(codes, quad, v); }
};

// a << log2(kFactor), or nothing at all for 0.
template <int kFactor>
HWY_INLINE SumVec Times(SumVec a) {
  if constexpr (kFactor == 0) return hn::Zero(SumTag());
  return hn::ShiftLeft<std::countr_zero(static_cast<unsigned>(kFactor | (kFactor == 0)))>(a);
}

// sums[kRows][16] += one group's part. `x` are the rows' blocks, `sums` vectors in registers or L1.
template <DType kType, template <int> class Dot, int kRows, typename Source, typename Sums>
HWY_INLINE void AddGroup(const Source& source,
                         const GroupScales<kQuantFormat<kType>.scales>& scales,
                         const InputBlock* HWY_RESTRICT x, const Sums& sums) {
  constexpr int kBits = kQuantFormat<kType>.bits, kScales = kQuantFormat<kType>.scales;
  constexpr bool kMin = kQuantFormat<kType>.min;
  constexpr int kPartQuads = kQuads / kScales;
  constexpr int kExcess = kQuantFormat<kType>.offset + Dot<kBits>::kBias;
  const PanelTag d;
  Dot<kBits> dots[kScales][kRows][kPanelVecs];
  Unroll<kQuads>([&](auto quad) RONDO_INLINE_LAMBDA {
    Unroll<kPanelVecs>([&](auto v) RONDO_INLINE_LAMBDA {
      const QuadVec w = source(quad, v);
      Unroll<kRows>([&](auto r) RONDO_INLINE_LAMBDA {
        uint32_t codes;
        std::memcpy(&codes, x[r].codes + 4 * quad, sizeof(codes));
        dots[quad / kPartQuads][r][v].Add(quad % kPartQuads, w, hn::Set(QuadTag(), codes));
      });
    });
  });
  Unroll<kRows>([&](auto r) RONDO_INLINE_LAMBDA {
    const SumVec half = hn::Set(SumTag(), x[r].half_sum), whole = hn::Set(SumTag(), x[r].sum);
    const SumVec excess[2] = {Times<kExcess>(kScales == 1 ? whole : half),
                              Times<kExcess>(hn::Sub(whole, half))};
    const PanelVec scale = hn::Set(d, x[r].scale);
    Unroll<kPanelVecs>([&](auto v) RONDO_INLINE_LAMBDA {
      PanelVec sum = sums.Get(r, v);
      for (int s = 0; s < kScales; ++s) {
        SumVec dot = dots[s][r][v].Total();
        if (kExcess != 0) dot = hn::Sub(dot, excess[s]);
        sum = FusedMulAdd(hn::ConvertTo(d, dot), hn::Mul(scales.scale[s][v], scale), sum);
      }
      if (kMin) sum = FusedMulAdd(scales.min[v], hn::Set(d, x[r].scaled_sum), sum);
      sums.Set(r, v, sum);
    });
  });
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
