#include "train/loss/head_loss.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "train/model/composed.h"
#include "train/model/fused.h"
#include "train/model/matmul.h"

namespace rondo {
namespace {

// Raw logits of normed[rows, d_model].
at::Tensor Logits(const LogitHead& head, const at::Tensor& normed) {
  return LinearOp(normed, head.weight, head.bias, head.weight.scalar_type());
}

// Calls work(first row, raw logits) for chunks of normed[tokens, d_model].
template <typename Work>
void ForLogits(const LogitHead& head, const at::Tensor& normed, Work&& work) {
  const int64_t tokens = normed.size(0), rows = std::min(tokens, kHeadRows);
  for (int64_t begin = 0; begin < tokens; begin += rows) {
    const int64_t count = std::min(rows, tokens - begin);
    work(begin, Logits(head, normed.narrow(0, begin, count)));
  }
}

void SoftCapRows(float softcap, at::Tensor& logits) {
  if (softcap > 0) logits.div_(softcap).tanh_().mul_(softcap);
}

// Turns logits into gradients (and overwrites the teacher's), rows spread over threads; sums in the
// order of rows.
ChunkLoss LossOfChunk(const VocabLoss& loss, at::Tensor& z, ChunkTeacher& teacher,
                      std::span<const int32_t> targets, float scale, at::Tensor& scratch) {
  if (!z.is_cpu()) return ComposedVocabLoss(loss, z, teacher, targets, scale);
  const int64_t rows = z.size(0), vocab = z.size(1);
  std::vector<VocabLossValue> values(static_cast<size_t>(rows));
  float* student = z.mutable_data_ptr<float>();
  float* taught = teacher.logits.defined() ? teacher.logits.mutable_data_ptr<float>() : nullptr;
  float* space = scratch.mutable_data_ptr<float>();
  ForParts(rows, [&](int part, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const auto at = static_cast<size_t>(r);
      float* const z_row = student + r * vocab;
      float* const room = space + part * 2 * vocab;
      if (teacher.top != nullptr) {
        const auto first = static_cast<size_t>((teacher.begin + r) * teacher.top->k);
        const TopRow top = {teacher.top->k, teacher.top->ids.data() + first,
                            teacher.top->log_p.data() + first};
        values[at] = TopLossRow(loss, z_row, top, vocab, targets[at], scale, room);
      } else {
        float* const t_row = taught != nullptr ? taught + r * vocab : nullptr;
        values[at] = VocabLossRow(loss, z_row, t_row, vocab, targets[at], scale, room);
      }
    }
  });
  ChunkLoss sums;
  for (const VocabLossValue& value : values) {
    sums.ce += value.ce;
    sums.kd += value.kd;
    sums.correct += value.correct;
  }
  return sums;
}

// The first of the largest raw logits of each row; a soft cap keeps their order.
void AppendBest(const at::Tensor& logits, std::vector<int32_t>& best) {
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  if (!logits.is_cpu()) {
    const at::Tensor ids = logits.argmax(1).cpu();
    best.insert(best.end(), ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + rows);
    return;
  }
  const float* data = logits.const_data_ptr<float>();
  const size_t first = best.size();
  best.resize(first + static_cast<size_t>(rows));
  ForParts(rows, [&](int, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row = data + r * vocab;
      best[first + static_cast<size_t>(r)] =
          static_cast<int32_t>(std::max_element(row, row + vocab) - row);
    }
  });
}

}  // namespace

HeadLossValue HeadLoss(const Forward& forward, const Params& params, const at::Tensor& hidden,
                       const Targets& targets, const LogitSource* teacher, const VocabLoss& loss,
                       double scale, std::vector<int32_t>* best) {
  const ModelConfig& config = forward.config();
  const at::Tensor leaf = hidden.detach().requires_grad_(true);
  const at::Tensor normed = forward.Norm(FinalNormOf(params, config), leaf);
  HeadLossValue value{.normed = normed.detach()};
  {
    const at::NoGradGuard no_grad;
    const LogitHead head = HeadOf(params, config, forward.compute());
    const at::ScalarType operands = head.weight.scalar_type();
    const at::Tensor& trained = HeadWeight(params, config);
    const int64_t tokens = normed.size(0), rows = std::min(tokens, kHeadRows);
    const int64_t vocab = head.weight.size(0);
    VocabLoss averaged = loss;
    averaged.softcap = head.softcap;
    averaged.ce *= static_cast<float>(static_cast<double>(tokens) / targets.count);
    const auto row_scale = static_cast<float>(scale / static_cast<double>(tokens));
    const bool with_teacher = teacher != nullptr && loss.kd != 0;
    const bool with_logits = with_teacher && teacher->top == nullptr;
    at::Tensor scratch = at::empty({at::get_num_threads(), 2 * vocab}, at::kFloat);
    at::Tensor d_normed = at::empty_like(value.normed);
    ChunkLoss total;
    for (int64_t begin = 0; begin < tokens; begin += rows) {
      const int64_t count = std::min(rows, tokens - begin);
      const at::Tensor chunk = value.normed.narrow(0, begin, count);
      at::Tensor z = Logits(head, chunk);
      if (best != nullptr) AppendBest(z, *best);
      ChunkTeacher taught = {.top = with_teacher ? teacher->top : nullptr, .begin = begin};
      if (with_logits) {
        taught.logits = Logits(teacher->head, teacher->normed.narrow(0, begin, count));
        SoftCapRows(teacher->head.softcap, taught.logits);
      }
      const auto ids = targets.ids.subspan(static_cast<size_t>(begin), static_cast<size_t>(count));
      const ChunkLoss sums = LossOfChunk(averaged, z, taught, ids, row_scale, scratch);
      total.ce += sums.ce;
      total.kd += sums.kd;
      total.correct += sums.correct;
      const at::Tensor dz = z.to(operands);
      d_normed.narrow(0, begin, count).copy_(MatMul(dz, head.weight, operands));
      // The gradient is there even when the loss comes from a frozen head's neighbours.
      if (trained.requires_grad()) trained.grad().add_(MatMul(dz.t(), chunk, operands));
      if (head.bias.defined() && head.bias.requires_grad()) head.bias.grad().add_(z.sum(0));
    }
    value.ce = total.ce / targets.count;
    value.kd = total.kd / static_cast<double>(tokens);
    value.accuracy = static_cast<double>(total.correct) / targets.count;
    value.d_hidden = d_normed;
  }
  torch::autograd::backward({normed}, {value.d_hidden});
  value.d_hidden = leaf.grad();
  return value;
}

std::vector<int32_t> BestTokens(const LogitHead& head, const at::Tensor& normed) {
  const at::NoGradGuard no_grad;
  std::vector<int32_t> best;
  ForLogits(head, normed, [&](int64_t, const at::Tensor& z) { AppendBest(z, best); });
  return best;
}

TopTokens MostProbable(const LogitHead& head, const at::Tensor& normed, int k) {
  const at::NoGradGuard no_grad;
  TopTokens top{.k = k};
  ForLogits(head, normed, [&](int64_t, at::Tensor z) {
    SoftCapRows(head.softcap, z);
    const at::Tensor log_sum = at::logsumexp(z, 1, /*keepdim=*/true);
    const auto [values, ids] = at::topk(z, k, 1);
    const at::Tensor log_p = (values - log_sum).cpu().contiguous();
    const at::Tensor narrow = ids.to(at::kInt).cpu().contiguous();
    top.log_p.insert(top.log_p.end(), log_p.const_data_ptr<float>(),
                     log_p.const_data_ptr<float>() + log_p.numel());
    top.ids.insert(top.ids.end(), narrow.const_data_ptr<int32_t>(),
                   narrow.const_data_ptr<int32_t>() + narrow.numel());
  });
  return top;
}

double SumCrossEntropy(const LogitHead& head, const at::Tensor& normed,
                       std::span<const int32_t> targets) {
  const at::NoGradGuard no_grad;
  const int64_t vocab = head.weight.size(0);
  std::vector<double> values(targets.size());
  ForLogits(head, normed, [&](int64_t begin, const at::Tensor& z) {
    if (!z.is_cpu()) {
      const auto first = static_cast<size_t>(begin), count = static_cast<size_t>(z.size(0));
      values[first] = ComposedCrossEntropy(z, targets.subspan(first, count), head.softcap);
      return;
    }
    float* logits = z.mutable_data_ptr<float>();
    ForParts(z.size(0), [&](int, int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const auto at = static_cast<size_t>(begin + r);
        if (targets[at] < 0) continue;
        values[at] = CrossEntropyRow(logits + r * vocab, vocab, targets[at], head.softcap);
      }
    });
  });
  return std::accumulate(values.begin(), values.end(), 0.0);
}

}  // namespace rondo
