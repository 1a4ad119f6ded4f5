#include "train/model/attention.h"

#include <algorithm>
#include <vector>

#include "kernels/grad/attention_rows.h"
#include "train/model/composed.h"

namespace rondo {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

at::Tensor WithDenseRows(const at::Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); }

// Like x, with the heads of a position side by side in memory.
at::Tensor SideBySide(const at::Tensor& x) {
  return at::empty({x.size(0), x.size(2), x.size(1), x.size(3)}, x.options()).transpose(1, 2);
}

ConstHeadRows HeadOf(const at::Tensor& x, int64_t row, int64_t head) {
  return {x.const_data_ptr<float>() + row * x.stride(0) + head * x.stride(1), x.stride(2)};
}
HeadRows MutableHeadOf(const at::Tensor& x, int64_t row, int64_t head) {
  return {x.mutable_data_ptr<float>() + row * x.stride(0) + head * x.stride(1), x.stride(2)};
}

// Calls head(row, head, its attention, its place in [rows, heads, queries]), several at once.
template <typename Function>
void ForHeads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
              const at::Tensor& ranges, const AttentionOptions& options, const Function& function) {
  const int64_t rows = q.size(0), heads = q.size(1), queries = q.size(2);
  ForParts(rows * heads, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / heads, head = i % heads;
      const int64_t seen = ranges.size(0) == 1 ? 0 : row;
      function(row, head,
               AttentionRows{.q = HeadOf(q, row, head),
                             .k = HeadOf(k, row, head),
                             .v = HeadOf(v, row, head),
                             .queries = queries,
                             .keys = k.size(2),
                             .head_dim = q.size(3),
                             .ranges = ranges.const_data_ptr<int32_t>() + seen * queries * 2,
                             .prefix = options.prefix,
                             .scale = static_cast<float>(options.scale),
                             .softcap = static_cast<float>(options.softcap)},
               i * queries);
    }
  });
}

class AttentionFunction : public torch::autograd::Function<AttentionFunction> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& q_any, const Variable& k_any,
                          const Variable& v_any, const Variable& ranges, double scale,
                          double softcap, int64_t prefix) {
    const at::Tensor q = WithDenseRows(q_any), k = WithDenseRows(k_any), v = WithDenseRows(v_any);
    const at::Tensor out = SideBySide(q);
    const at::Tensor lse = at::empty({q.size(0), q.size(1), q.size(2)}, q.options());
    ForHeads(q, k, v, ranges, {scale, softcap, prefix},
             [&](int64_t row, int64_t head, const AttentionRows& attention, int64_t at) {
               AttentionForward(attention, MutableHeadOf(out, row, head),
                                lse.mutable_data_ptr<float>() + at);
             });
    ctx->save_for_backward({q, k, v, ranges, out, lse});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["softcap"] = softcap;
    ctx->saved_data["prefix"] = prefix;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[4], &lse = saved[5];
    const at::Tensor d_out = WithDenseRows(grads[0]);
    const at::Tensor dq = SideBySide(q), dk = SideBySide(k), dv = SideBySide(v);
    const AttentionOptions options = {.scale = ctx->saved_data["scale"].toDouble(),
                                      .softcap = ctx->saved_data["softcap"].toDouble(),
                                      .prefix = ctx->saved_data["prefix"].toInt()};
    ForHeads(q, k, v, saved[3], options,
             [&](int64_t row, int64_t head, const AttentionRows& attention, int64_t at) {
               AttentionBackward(attention, HeadOf(out, row, head),
                                 lse.const_data_ptr<float>() + at, HeadOf(d_out, row, head),
                                 MutableHeadOf(dq, row, head), MutableHeadOf(dk, row, head),
                                 MutableHeadOf(dv, row, head));
             });
    return {dq, dk, dv, Variable(), Variable(), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor CausalRanges(int64_t length, int window) {
  std::vector<int32_t> ranges;
  for (int64_t i = 0; i < length; ++i) {
    ranges.push_back(static_cast<int32_t>(window > 0 ? std::max<int64_t>(0, i + 1 - window) : 0));
    ranges.push_back(static_cast<int32_t>(i + 1));
  }
  return at::tensor(ranges, at::kInt).view({1, length, 2});
}

at::Tensor LengthRanges(std::span<const int64_t> lengths, int64_t queries) {
  const auto rows = static_cast<int64_t>(lengths.size());
  const at::Tensor ends = at::tensor(at::ArrayRef<int64_t>(lengths.data(), lengths.size()))
                              .to(at::kInt)
                              .view({rows, 1})
                              .expand({rows, queries});
  return at::stack({at::zeros_like(ends), ends}, 2);
}

at::Tensor AttentionOp(const Heads& heads, const at::Tensor& ranges,
                       const AttentionOptions& options) {
  if (!heads.q.is_cpu()) return ComposedAttention(heads, ranges, options);
  return AttentionFunction::apply(heads.q, heads.k, heads.v, ranges.contiguous(), options.scale,
                                  options.softcap, options.prefix);
}

}  // namespace rondo
