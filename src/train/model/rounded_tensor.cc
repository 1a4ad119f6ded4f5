#include "train/model/rounded_tensor.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/strings.h"
#include "kernels/grad/round_blocks.h"
#include "tensor/dtype_names.h"
#include "tensor/quant_grid.h"
#include "train/model/composed_rounding.h"
#include "train/model/fused.h"
#include "train/model/params.h"

namespace rondo {
namespace {

constexpr std::string_view kScale = "@scale", kOffset = "@offset";

const RoundFormat& FormatOf(DType dtype) { return *FindRoundFormat(dtype); }

RoundBlocksInput BlocksFrom(const Latents& latents, int64_t block) {
  const auto at = [&](const at::Tensor& tensor, int64_t index) {
    return tensor.defined() ? tensor.const_data_ptr<float>() + index : nullptr;
  };
  return {.weight = at(latents.weight, block * kRoundBlock),
          .scale = at(latents.scale, block),
          .offset = at(latents.offset, block)};
}

// Codes of all blocks and the grids that are stored.
struct Coded {
  std::vector<int16_t> codes;
  std::vector<float> scale, base;
  explicit Coded(int64_t blocks)
      : codes(static_cast<size_t>(blocks) * kRoundBlock),
        scale(static_cast<size_t>(blocks)),
        base(scale.size()) {}
};

// The weight nearest to `weight` that is rounded to `value` on this grid, a hair inside the cell.
float IntoCell(float weight, float value, float scale) {
  constexpr float kHalfCell = 0.499f;
  const float reach = kHalfCell * std::abs(scale);
  return std::clamp(weight, value - reach, value + reach);
}

struct Start {
  std::vector<float> weight, scale, offset;
};

// Scales and codes of `stored`, weights of `tensor`.
Start StartFrom(const Tensor& stored, const Tensor& tensor) {
  const RoundFormat& format = FormatOf(stored.dtype());
  Start start{.weight = ToF32(tensor), .scale = {}, .offset = {}};
  const std::vector<float> values = ToF32(stored);
  const auto block_bytes = static_cast<size_t>(Info(stored.dtype()).block_bytes);
  int16_t codes[kRoundBlock];
  for (size_t i = 0; i < values.size(); ++i) {
    if (i % kRoundBlock == 0) {
      const std::byte* block = stored.bytes().data() + i / kRoundBlock * block_bytes;
      const BlockGrid grid =
          ReadBlock(stored.dtype(), reinterpret_cast<const uint8_t*>(block), codes);
      start.scale.push_back(grid.scale[0]);
      // Code 0 stands for scale · center + offset.
      start.offset.push_back(grid.offset[0] - format.center * grid.scale[0]);
    }
    start.weight[i] = IntoCell(start.weight[i], values[i], start.scale.back());
  }
  return start;
}

}  // namespace

std::string ScaleName(std::string_view tensor) { return std::string(tensor).append(kScale); }
std::string OffsetName(std::string_view tensor) { return std::string(tensor).append(kOffset); }
bool IsGrid(std::string_view name) { return name.ends_with(kScale) || name.ends_with(kOffset); }
bool HasOffsets(DType dtype) { return FormatOf(dtype).HasOffset(); }
bool CanRound(DType dtype) { return FindRoundFormat(dtype) != nullptr; }

std::string RoundTypeNames() {
  std::vector<std::string> names;
  for (const std::string_view name : kQuantizedTypes) {
    if (CanRound(DTypeFromName(name))) names.emplace_back(name);
  }
  return Join(names, ", ");
}

float GridRate(std::string_view name, const Rounding& rounding) {
  if (name.ends_with(kOffset)) return rounding.lr_scale;
  const RoundFormat& format = FormatOf(rounding.types.find(BaseName(name))->second);
  return rounding.lr_scale * 2 / static_cast<float>(format.highest - format.lowest + 1);
}

void RoundTensor(DType dtype, const Latents& latents, at::Tensor& rounded) {
  const RoundFormat& format = FormatOf(dtype);
  if (!latents.weight.is_cpu()) return ComposedRound(format, latents, rounded);
  float* out = rounded.mutable_data_ptr<float>();
  ForParts(latents.scale.numel(), [&](int, int64_t begin, int64_t end) {
    RoundBlocks(format, end - begin, BlocksFrom(latents, begin), out + begin * kRoundBlock);
  });
}

void RoundTensorBackward(DType dtype, const Latents& latents, at::Tensor& grad, at::Tensor& dscale,
                         at::Tensor& doffset) {
  const RoundFormat& format = FormatOf(dtype);
  if (!latents.weight.is_cpu()) {
    return ComposedRoundBackward(format, latents, grad, dscale, doffset);
  }
  float *g = grad.mutable_data_ptr<float>(), *ds = dscale.mutable_data_ptr<float>();
  float* dm = doffset.defined() ? doffset.mutable_data_ptr<float>() : nullptr;
  ForParts(latents.scale.numel(), [&](int, int64_t begin, int64_t end) {
    RoundBlocksBackward(format, end - begin, BlocksFrom(latents, begin), g + begin * kRoundBlock,
                        ds + begin, dm == nullptr ? nullptr : dm + begin);
  });
}

Tensor PackTensor(DType dtype, const Latents& latents) {
  const RoundFormat& format = FormatOf(dtype);
  const auto here = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.detach().cpu().contiguous() : tensor;
  };
  const Latents on_cpu = {here(latents.weight), here(latents.scale), here(latents.offset)};
  const int64_t blocks = on_cpu.scale.numel();
  Coded coded(blocks);
  RoundToCodes(format, blocks, BlocksFrom(on_cpu, 0), coded.codes.data(), coded.scale.data(),
               coded.base.data());
  const auto block_bytes = static_cast<size_t>(Info(dtype).block_bytes);
  std::vector<std::byte> bytes(static_cast<size_t>(blocks) * block_bytes);
  for (size_t block = 0; block < static_cast<size_t>(blocks); ++block) {
    const BlockGrid grid = NearestGrid(dtype, coded.scale[block], coded.base[block]);
    PackBlock(dtype, grid, coded.codes.data() + block * kRoundBlock,
              reinterpret_cast<uint8_t*>(bytes.data() + block * block_bytes));
  }
  const Shape shape(on_cpu.weight.sizes().begin(), on_cpu.weight.sizes().end());
  return Tensor::FromBytes(dtype, shape, std::move(bytes));
}

bool HasCodes(const Model* file, std::string_view name, DType dtype) {
  return file != nullptr && file->weights.Has(name) && file->weights.Get(name).dtype() == dtype;
}

Model ToLatents(const Model& model, const RoundTypes& types, const Model* file) {
  Model out = model;
  for (const auto& [name, dtype] : types) {
    const Tensor& tensor = model.weights.Get(name);
    const bool coded = HasCodes(file, name, dtype);
    Start start = StartFrom(coded ? file->weights.Get(name) : Cast(tensor, dtype), tensor);
    Shape grid = tensor.shape();
    grid.back() /= kRoundBlock;
    out.weights.Set(name, Tensor::FromF32(tensor.shape(), std::move(start.weight)));
    out.weights.Set(ScaleName(name), Tensor::FromF32(grid, std::move(start.scale)));
    if (!HasOffsets(dtype)) continue;
    out.weights.Set(OffsetName(name), Tensor::FromF32(grid, std::move(start.offset)));
  }
  return out;
}

}  // namespace rondo
