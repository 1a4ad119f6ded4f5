// Products of quantised panels with 8-bit activations.
//
// One output is, for groups of 32 inputs in ascending order and halves in order,
//   y = fma(dot, scale_w · scale_x, y); then, for types with a minimum, y = fma(min, scaled_sum,
//   y),
// where dot is the exact integer Σ (code_w − offset) · code_x. Few rows and many rows, every tile
// and every instruction set compute just that, so their results agree bit for bit.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/matmul_task.h"
#include "kernels/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul_quant.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/int8_dot-inl.h"

// Loops over quads, vectors and rows become straight code; one lane at a time they would be too
// long.
#undef RONDO_UNROLL
#if HWY_TARGET == HWY_SCALAR
#define RONDO_UNROLL(times)
#else
#define RONDO_PRAGMA(text) _Pragma(#text)
#define RONDO_UNROLL(times) RONDO_PRAGMA(GCC unroll times)
#endif

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// Rows of a register tile: their sums in 16 or 32 bits fill the registers.
inline constexpr int kQuantRows = kPanelVecs == 1 ? 8 : kPanelVecs == 2 ? 4 : 2;
// Rows whose f32 sums and activations of one group stay in L1 while a panel passes.
inline constexpr int64_t kRowBlock = 128;

HWY_INLINE PanelVec HalvesToFloat(const uint8_t* p) {
  const hn::Rebind<hwy::float16_t, PanelTag> d16;
  return hn::PromoteTo(PanelTag(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}

template <typename T>
HWY_INLINE PanelVec BytesToFloat(const T* p) {
  return hn::ConvertTo(PanelTag(), hn::PromoteTo(SumTag(), hn::LoadU(hn::Rebind<T, SumTag>(), p)));
}

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

// Products of f16 and 8-bit scales are exact in f32.
template <DType kType>
HWY_INLINE void LoadScales(const uint8_t* group, const SuperScales& super,
                           GroupScales<kQuantFormat<kType>.scales>& scales) {
  constexpr QuantFormat f = kQuantFormat<kType>;
  for (int v = 0; v < kPanelVecs; ++v) {
    const int lane = v * kPanelLanes;
    if constexpr (!f.super) {
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

// A left shift by -3 to 4 bits, constant after unrolling.
HWY_INLINE QuadVec ShiftedLeft(QuadVec v, int bits) {
  switch (bits) {
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
  const QuadVec bytes = LoadQuads(codes + quad / 2 * kLine + at);
  const QuadVec nibbles = hn::Set(d, 0x0f0f0f0fu);
  const QuadVec low = hn::And(quad % 2 == 0 ? bytes : hn::ShiftRight<4>(bytes), nibbles);
  if (kBits == 4) return low;
  if (kBits == 5) {
    const QuadVec bits = LoadQuads(codes + 4 * kLine + at);
    return hn::Or(low, hn::And(ShiftedLeft(bits, 4 - quad), hn::Set(d, 0x10101010u)));
  }
  const QuadVec bits = LoadQuads(codes + (4 + quad / 4) * kLine + at);
  return hn::Or(low, hn::And(ShiftedLeft(bits, 4 - 2 * (quad % 4)), hn::Set(d, 0x30303030u)));
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

// sums[kRows][16] += one group's part. `x` are the rows' blocks, `sums` vectors in registers or L1.
template <DType kType, template <int> class Dot, int kRows, typename Source, typename Sums>
HWY_INLINE void AddGroup(const Source& source,
                         const GroupScales<kQuantFormat<kType>.scales>& scales,
                         const InputBlock* HWY_RESTRICT x, const Sums& sums) {
  constexpr QuantFormat f = kQuantFormat<kType>;
  constexpr int kHalfQuads = kQuads / f.scales;
  const PanelTag d;
  const QuadTag dq;
  const SumTag ds;
  Dot<f.bits> dots[f.scales][kRows][kPanelVecs];
  RONDO_UNROLL(8)
  for (int quad = 0; quad < kQuads; ++quad) {
    RONDO_UNROLL(16)
    for (int v = 0; v < kPanelVecs; ++v) {
      const QuadVec w = source(quad, v);
      RONDO_UNROLL(8)
      for (int r = 0; r < kRows; ++r) {
        uint32_t codes;
        std::memcpy(&codes, x[r].codes + 4 * quad, sizeof(codes));
        dots[quad / kHalfQuads][r][v].Add(quad % kHalfQuads, w, hn::Set(dq, codes));
      }
    }
  }
  constexpr int kExcess = f.offset + Dot<f.bits>::kBias;
  RONDO_UNROLL(8)
  for (int r = 0; r < kRows; ++r) {
    RONDO_UNROLL(16)
    for (int v = 0; v < kPanelVecs; ++v) {
      PanelVec sum = sums.Get(r, v);
      for (int s = 0; s < f.scales; ++s) {
        SumVec dot = dots[s][r][v].Total();
        if (kExcess != 0) {
          const int32_t total = f.scales == 1 ? x[r].sums[0] + x[r].sums[1] : x[r].sums[s];
          dot = hn::Sub(dot, hn::Set(ds, kExcess * total));
        }
        sum = FusedMulAdd(hn::ConvertTo(d, dot),
                          hn::Mul(scales.scale[s][v], hn::Set(d, x[r].scale)), sum);
      }
      if (f.min) sum = FusedMulAdd(scales.min[v], hn::Set(d, x[r].scaled_sum), sum);
      sums.Set(r, v, sum);
    }
  }
}

template <int kRows>
struct RegisterSums {
  PanelVec (&sums)[kRows][kPanelVecs];
  HWY_INLINE PanelVec Get(int r, int v) const { return sums[r][v]; }
  HWY_INLINE void Set(int r, int v, PanelVec value) const { sums[r][v] = value; }
};

struct MemorySums {
  float* sums;  // [rows][16], aligned
  HWY_INLINE PanelVec Get(int r, int v) const {
    return hn::Load(PanelTag(), sums + r * kPanelWidth + v * kPanelLanes);
  }
  HWY_INLINE void Set(int r, int v, PanelVec value) const {
    hn::Store(value, PanelTag(), sums + r * kPanelWidth + v * kPanelLanes);
  }
};

// f(group, its scales, its codes) over a panel's groups.
template <DType kType, typename F>
HWY_INLINE void ForGroups(const uint8_t* panel, int64_t in, const F& f) {
  constexpr QuantFormat format = kQuantFormat<kType>;
  constexpr int kInRecord = format.groups_per_record();
  SuperScales super;
  GroupScales<format.scales> scales;
  for (int64_t g = 0; g < in / kGroup; g += kInRecord) {
    if (format.super) LoadSuper<kType>(panel, super);
    panel += format.header_bytes();
    for (int j = 0; j < kInRecord; ++j, panel += format.group_bytes()) {
      LoadScales<kType>(panel, super, scales);
      f(g + j, scales, panel + format.scale_bytes() + format.min_bytes());
    }
  }
}

// One panel for kRows rows.
template <DType kType, template <int> class Dot, int kRows>
HWY_NOINLINE void FewRows(const MatMulTask& t, const uint8_t* panel, const InputBlock* x,
                          float* sums) {
  constexpr QuantFormat f = kQuantFormat<kType>;
  PanelVec held[kRows][kPanelVecs];
  const MemorySums memory{sums};
  const RegisterSums<kRows> registers{held};
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kPanelVecs; ++v) held[r][v] = memory.Get(r, v);
  }
  ForGroups<kType>(panel, t.in,
                   [&](int64_t g, const GroupScales<f.scales>& scales, const uint8_t* codes)
                       HWY_ATTR {
                         AddGroup<kType, Dot, kRows>(PackedCodes<f.bits>{codes}, scales,
                                                     x + g * t.block_stride, registers);
                       });
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kPanelVecs; ++v) memory.Set(r, v, held[r][v]);
  }
}

// f.template operator()<n>() for the n from 1 to kMax that equals `rows`.
template <int kMax, typename F>
HWY_INLINE void WithRows(int64_t rows, const F& f) {
  if constexpr (kMax > 0) {
    if (rows == kMax) return f.template operator()<kMax>();
    WithRows<kMax - 1>(rows, f);
  }
}

// Decoded codes keep their offset but not their packing, so 8-bit ones stay as they are.
template <DType kType, template <int> class Dot>
HWY_NOINLINE void ManyRows(const MatMulTask& t, const uint8_t* panel, const InputBlock* x,
                           int64_t rows, float* sums) {
  constexpr QuantFormat f = kQuantFormat<kType>;
  HWY_ALIGN uint8_t buffer[kQuads * 4 * kPanelWidth];
  ForGroups<kType>(
      panel, t.in,
      [&](int64_t g, const GroupScales<f.scales>& scales, const uint8_t* codes) HWY_ATTR {
        if constexpr (f.bits < 8) {
          RONDO_UNROLL(8)
          for (int quad = 0; quad < kQuads; ++quad) {
            for (int v = 0; v < kPanelVecs; ++v) {
              hn::Store(
                  Codes<f.bits>(codes, quad, v), QuadTag(),
                  reinterpret_cast<uint32_t*>(buffer + 4 * (quad * kPanelWidth + v * kPanelLanes)));
            }
          }
        }
        const SpreadCodes spread{f.bits < 8 ? buffer : codes};
        const InputBlock* block = x + g * t.block_stride;
        int64_t r = 0;
        for (; r + kQuantRows <= rows; r += kQuantRows) {
          AddGroup<kType, Dot, kQuantRows>(spread, scales, block + r,
                                           MemorySums{sums + r * kPanelWidth});
        }
        WithRows<kQuantRows - 1>(rows - r, [&]<int kRows>() HWY_ATTR {
          AddGroup<kType, Dot, kRows>(spread, scales, block + r,
                                      MemorySums{sums + r * kPanelWidth});
        });
      });
}

// Starting values into, or results out of, the sums of a block of rows.
void CopySums(const MatMulTask& t, int64_t panel, int64_t first, int64_t rows, float* sums,
              bool out) {
  const int64_t count = std::min<int64_t>(kPanelWidth, t.outputs - panel * kPanelWidth);
  for (int64_t r = 0; r < rows; ++r) {
    float* y = t.y + (first + r) * t.y_stride + panel * kPanelWidth;
    float* s = sums + r * kPanelWidth;
    if (out) {
      std::copy_n(s, count, y);
    } else if (t.add) {
      std::copy_n(y, count, s);
    } else {
      std::fill_n(s, kPanelWidth, 0.0f);
    }
  }
}

template <DType kType, template <int> class Dot>
void RunTyped(const MatMulTask& t) {
  HWY_ALIGN float sums[kRowBlock * kPanelWidth];
  for (int64_t first = 0; first < t.rows; first += kRowBlock) {
    const int64_t rows = std::min(kRowBlock, t.rows - first);
    for (int64_t p = 0; p < t.panels; ++p) {
      const auto* panel = reinterpret_cast<const uint8_t*>(t.w + p * t.panel_bytes);
      const InputBlock* x = t.blocks + first;
      CopySums(t, p, first, rows, sums, false);
      if (rows > kQuantRows) {
        ManyRows<kType, Dot>(t, panel, x, rows, sums);
      } else {
        WithRows<kQuantRows>(
            rows, [&]<int kRows>() HWY_ATTR { FewRows<kType, Dot, kRows>(t, panel, x, sums); });
      }
      CopySums(t, p, first, rows, sums, true);
    }
  }
}

void RunQuant(const MatMulTask& t) {
#if HWY_TARGET == HWY_AVX3
  if (UseVnni()) {
    return WithQuantType(t.type, [&]<DType kType>() HWY_ATTR { RunTyped<kType, VnniDot>(t); });
  }
#endif
  WithQuantType(t.type, [&]<DType kType>() HWY_ATTR { RunTyped<kType, QuadDot>(t); });
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace rondo {
HWY_EXPORT(RunQuant);

void RunQuantTask(const MatMulTask& task) { HWY_DYNAMIC_DISPATCH(RunQuant)(task); }

}  // namespace rondo
#endif  // HWY_ONCE
