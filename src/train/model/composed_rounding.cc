#include "train/model/composed_rounding.h"

#include "tensor/log_scale.h"

namespace rondo {
namespace {

// All [blocks, 1], but position and code [blocks, 32]. value = scale · (code + shift) + offset.
struct Rounded {
  at::Tensor scale, shift, offset, position, code;
};

at::Tensor StoredHalves(const at::Tensor& values) {
  return values.clamp(-65504, 65504).to(at::kHalf).to(at::kFloat);
}

// The entries of kLogScales nearest by ratio.
at::Tensor StoredLogScales(const at::Tensor& scale) {
  const at::Tensor table =
      at::tensor(at::ArrayRef<float>(kLogScales.data(), kLogScales.size())).to(scale.device());
  const at::Tensor codes = (scale.clamp_min(kLogScales[1] / 2).log2() * 8).round() + 8 * kLogBias;
  const at::Tensor stored = table.index_select(0, codes.clamp(1, 255).to(at::kLong));
  return stored.masked_fill(scale < kLogScales[1] / 2, 0);
}

Rounded RoundAll(const RoundFormat& format, const Latents& latents) {
  const auto column = [](const at::Tensor& tensor) { return tensor.reshape({-1, 1}); };
  const at::Tensor given = latents.scale.reshape({-1});
  Rounded r{.scale = column(format.scale == StoredScale::kHalf ? StoredHalves(given)
                                                               : StoredLogScales(given)),
            .shift = {},
            .offset = {},
            .position = {},
            .code = {}};
  r.shift = at::full_like(r.scale, format.center);
  r.offset = at::zeros_like(r.scale);
  const at::Tensor inverse = at::nan_to_num(r.scale.reciprocal(), 0, 0, 0);
  if (format.offset == StoredOffset::kHalf) r.offset = StoredHalves(column(latents.offset));
  if (format.offset == StoredOffset::kSteps) {
    const at::Tensor steps = (column(latents.offset) * inverse * 32).round();
    r.shift = r.shift + steps.clamp(-128, 127) / 32;
  }
  r.position = (latents.weight.reshape({-1, kRoundBlock}) - r.offset) * inverse - r.shift;
  r.code = r.position.clamp(format.lowest, format.highest).round();
  return r;
}

}  // namespace

void ComposedRound(const RoundFormat& format, const Latents& latents, at::Tensor& rounded) {
  const at::NoGradGuard no_grad;
  const Rounded r = RoundAll(format, latents);
  const at::Tensor values = (r.code + r.shift) * r.scale + r.offset;
  rounded.copy_(values.view(rounded.sizes()));
}

void ComposedRoundBackward(const RoundFormat& format, const Latents& latents, at::Tensor& grad,
                           at::Tensor& dscale, at::Tensor& doffset) {
  const at::NoGradGuard no_grad;
  const Rounded r = RoundAll(format, latents);
  const at::Tensor slope = grad.reshape({-1, kRoundBlock});
  const at::Tensor low = r.position<format.lowest - 0.5, high = r.position> format.highest + 0.5;
  const at::Tensor outside = low.logical_or(high);
  const at::Tensor by_scale =
      at::where(outside, r.code + double{format.center}, r.code - r.position);
  dscale.copy_((slope * by_scale).sum(1).view(dscale.sizes()));
  if (doffset.defined()) {
    doffset.copy_(slope.masked_fill(outside.logical_not(), 0).sum(1).view(doffset.sizes()));
  }
  const at::Tensor uphill = at::where(r.scale < 0, -slope, slope);
  const at::Tensor away = low.logical_and(uphill > 0).logical_or(high.logical_and(uphill < 0));
  grad.copy_(slope.masked_fill(away, 0).view(grad.sizes()));
}

}  // namespace rondo
