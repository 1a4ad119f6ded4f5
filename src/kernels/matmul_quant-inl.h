// Products of quantised panels with 8-bit activations.
//
// One output is, for groups of 32 inputs in ascending order and halves in order,
//   y = fma(dot, scale_w · scale_x, y); then, for types with a minimum,
//   y = fma(min, scaled_sum, y),
// where dot is the exact integer Σ (code_w − offset) · code_x. Few rows and many rows, every tile
// and every instruction set compute just that, so their results agree bit for bit.
//
// Included once per instruction set by a source for each width of codes: together they would be by
// far the longest file to compile.
#if defined(RONDO_MATMUL_QUANT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef RONDO_MATMUL_QUANT_INL_H_
#undef RONDO_MATMUL_QUANT_INL_H_
#else
#define RONDO_MATMUL_QUANT_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/matmul_task.h"
#include "kernels/quant_group-inl.h"
#include "kernels/simd_targets.h"

HWY_BEFORE_NAMESPACE();
namespace rondo::HWY_NAMESPACE {

// Rows of a register tile: their sums in 16 or 32 bits fill the registers.
inline constexpr int kQuantRows = kPanelVecs == 1   ? 8
                                  : kPanelVecs == 2 ? 4
                                  : kPanelVecs == 4 ? 2
                                                    : 1;
// Up to here it is faster to unpack codes for each tile anew than to spread them once.
inline constexpr int kFewRows = 2 * kQuantRows;
// Rows whose f32 sums and activations of one group stay in L1 while a panel passes.
inline constexpr int64_t kRowBlock = 128;
// Ahead of the group at work. On Zen 3 2 KiB are best from memory, 2 to 16 KiB from the last cache.
inline constexpr int kPrefetchBytes = 2048;

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

// Walks a panel's groups.
template <DType kType>
class GroupReader {
 public:
  static constexpr QuantFormat kFormat = kQuantFormat<kType>;

  explicit GroupReader(const uint8_t* panel) : at_(panel) {}
  // Scales of group `g`, called for 0, 1, 2, …; returns its codes.
  HWY_INLINE const uint8_t* Next(int64_t g, GroupScales<kFormat.scales>& scales) {
    if (kFormat.super && g % kSuperGroups == 0) {
      LoadSuper<kType>(at_, super_);
      at_ += kFormat.header_bytes();
    }
    LoadScales<kType>(at_, super_, scales);
    const uint8_t* codes = at_ + kFormat.scale_bytes() + kFormat.min_bytes();
    at_ += kFormat.group_bytes();
    return codes;
  }
  // Asks for a group's worth of bytes that are read some groups later, of the next panel at the end
  // of this one: few rows wait for weights, more than the CPU asks for by itself.
  HWY_INLINE void Prefetch() const {
    for (int line = 0; line < kFormat.group_bytes(); line += 64) {
      __builtin_prefetch(at_ + kPrefetchBytes + line, /*rw=*/0, /*locality=*/2);
    }
  }

 private:
  const uint8_t* at_;
  SuperScales super_;
};

// One panel for kRows rows.
template <DType kType, template <int> class Dot, int kRows>
HWY_NOINLINE void FewRows(const MatMulTask& t, const uint8_t* panel, const InputBlock* x,
                          float* sums) {
  GroupReader<kType> reader(panel);
  GroupScales<kQuantFormat<kType>.scales> scales;
  PanelVec held[kRows][kPanelVecs];
  const MemorySums memory{sums};
  Unroll<kRows>([&](auto r) RONDO_INLINE_LAMBDA {
    Unroll<kPanelVecs>([&](auto v) RONDO_INLINE_LAMBDA { held[r][v] = memory.Get(r, v); });
  });
  for (int64_t g = 0; g < t.in / kGroup; ++g, x += t.block_stride) {
    reader.Prefetch();
    const PackedCodes<kQuantFormat<kType>.bits> codes{reader.Next(g, scales)};
    AddGroup<kType, Dot, kRows>(codes, scales, x, RegisterSums<kRows>{held});
  }
  Unroll<kRows>([&](auto r) RONDO_INLINE_LAMBDA {
    Unroll<kPanelVecs>([&](auto v) RONDO_INLINE_LAMBDA { memory.Set(r, v, held[r][v]); });
  });
}

// FewRows for 1 to kMax rows.
template <DType kType, template <int> class Dot, int kMax>
HWY_INLINE void FewRowsOf(int64_t rows, const MatMulTask& t, const uint8_t* panel,
                          const InputBlock* x, float* sums) {
  if constexpr (kMax > 0) {
    if (rows == kMax) return FewRows<kType, Dot, kMax>(t, panel, x, sums);
    FewRowsOf<kType, Dot, kMax - 1>(rows, t, panel, x, sums);
  }
}

// One group for any number of rows, kRows at a time, then half as many, down to one.
template <DType kType, template <int> class Dot, int kRows>
HWY_INLINE void AddGroupToRows(const SpreadCodes& codes,
                               const GroupScales<kQuantFormat<kType>.scales>& scales,
                               const InputBlock* x, int64_t rows, float* sums) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    AddGroup<kType, Dot, kRows>(codes, scales, x + r, MemorySums{sums + r * kPanelWidth});
  }
  if constexpr (kRows > 1) {
    AddGroupToRows<kType, Dot, kRows / 2>(codes, scales, x + r, rows - r, sums + r * kPanelWidth);
  }
}

// Each code to a byte of its own.
template <int kBits>
HWY_INLINE void Spread(const uint8_t* codes, uint32_t* spread) {
  Unroll<kQuads>([&](auto quad) RONDO_INLINE_LAMBDA {
    Unroll<kPanelVecs>([&](auto v) RONDO_INLINE_LAMBDA {
      hn::Store(Codes<kBits>(codes, quad, v), QuadTag(),
                spread + quad * kPanelWidth + v * kPanelLanes);
    });
  });
}

// One panel for a block of rows. Codes are spread once for all of them.
template <DType kType, template <int> class Dot>
HWY_NOINLINE void ManyRows(const MatMulTask& t, const uint8_t* panel, const InputBlock* x,
                           int64_t rows, float* sums) {
  constexpr int kBits = kQuantFormat<kType>.bits;
  GroupReader<kType> reader(panel);
  GroupScales<kQuantFormat<kType>.scales> scales;
  HWY_ALIGN uint32_t spread[kQuads * kPanelWidth];
  for (int64_t g = 0; g < t.in / kGroup; ++g, x += t.block_stride) {
    const uint8_t* codes = reader.Next(g, scales);
    if (kBits < 8) {
      Spread<kBits>(codes, spread);
      codes = reinterpret_cast<const uint8_t*>(spread);
    }
    AddGroupToRows<kType, Dot, kQuantRows>({codes}, scales, x, rows, sums);
  }
}

// Starting values into, or results out of, the sums of a block of rows.
inline void CopySums(const MatMulTask& t, int64_t panel, int64_t first, int64_t rows, float* sums,
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
      if (rows > kFewRows) {
        ManyRows<kType, Dot>(t, panel, x, rows, sums);
      } else {
        for (int64_t r = 0; r < rows; r += kQuantRows) {
          FewRowsOf<kType, Dot, kQuantRows>(std::min<int64_t>(kQuantRows, rows - r), t, panel,
                                            x + r, sums + r * kPanelWidth);
        }
      }
      CopySums(t, p, first, rows, sums, true);
    }
  }
}

template <template <int> class Dot, DType... kTypes>
void RunOneOf(const MatMulTask& t) {
  ((t.type == kTypes ? RunTyped<kTypes, Dot>(t) : void()), ...);
}

// For a task of one of kTypes.
template <DType... kTypes>
void RunQuant(const MatMulTask& t) {
#if HWY_TARGET == HWY_AVX3
  if (UseVnni()) return RunOneOf<VnniDot, kTypes...>(t);
#endif
  RunOneOf<QuadDot, kTypes...>(t);
}

}  // namespace rondo::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
