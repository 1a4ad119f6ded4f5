#include "train/speech_teacher.h"

namespace rondo {

GlobalCmvn CmvnOf(const SpeechModel& model) {
  GlobalCmvn cmvn;
  if (!model.config.front.normalize) return cmvn;
  cmvn.shift = ToF32(model.heads.Get("front.shift"));
  cmvn.scale = ToF32(model.heads.Get("front.scale"));
  return cmvn;
}

SpeechTeacher::SpeechTeacher(const SpeechModel& model, ComputeType compute)
    : params_(Params::Frozen(AsParameters(model))),
      forward_(model, params_, compute),
      context_(model.config.attention),
      cmvn_(CmvnOf(model)) {}

EncodedRows SpeechTeacher::Encode(const at::Tensor& features, std::span<const int64_t> lengths,
                                  std::span<const int> keep) const {
  const at::NoGradGuard no_grad;
  return forward_.Encode(features, lengths, context_, 0, keep);
}

at::Tensor SpeechTeacher::Ctc(const EncodedRows& encoded) const {
  const at::NoGradGuard no_grad;
  return forward_.Ctc(encoded);
}

at::Tensor SpeechTeacher::Decode(const EncodedRows& encoded, const at::Tensor& tokens) const {
  const at::NoGradGuard no_grad;
  return forward_.Decode(encoded, tokens, 0);
}

at::Tensor Divergence(const VocabLoss& loss, const at::Tensor& student, const at::Tensor& teacher) {
  const double temperature = loss.temperature;
  const at::Tensor s = at::log_softmax(student / temperature, -1);
  const at::Tensor t = at::log_softmax(teacher / temperature, -1);
  const auto kl = [](const at::Tensor& p, const at::Tensor& q) {
    return (p.exp() * (p - q)).sum(-1);
  };
  at::Tensor rows;
  switch (loss.kind) {
    case KdKind::kForwardKl:
      rows = kl(t, s);
      break;
    case KdKind::kReverseKl:
      rows = kl(s, t);
      break;
    case KdKind::kSymmetricKl:
      rows = 0.5 * (kl(t, s) + kl(s, t));
      break;
    case KdKind::kTotalVariation:
      rows = 0.5 * (t.exp() - s.exp()).abs().sum(-1);
      break;
    case KdKind::kJensenShannon: {
      const double share = loss.js_lambda;
      const at::Tensor middle =
          (share * t.exp() + (1 - share) * s.exp()).clamp_min(kTinyProbability).log();
      rows = share * kl(t, middle) + (1 - share) * kl(s, middle);
      break;
    }
  }
  return rows.mean() * (temperature * temperature);
}

at::Tensor RowsWithin(const at::Tensor& x, std::span<const int64_t> lengths) {
  std::vector<at::Tensor> rows;
  for (size_t row = 0; row < lengths.size(); ++row) {
    rows.push_back(x.select(0, static_cast<int64_t>(row)).narrow(0, 0, lengths[row]));
  }
  return at::cat(rows);
}

at::Tensor HiddenError(const EncodedRows& student, const EncodedRows& teacher) {
  const auto error = [&](const at::Tensor& s, const at::Tensor& t) {
    const at::Tensor target = RowsWithin(t, teacher.lengths);
    return (RowsWithin(s, student.lengths) - target).square().sum() / target.square().sum();
  };
  at::Tensor sum = error(student.hidden, teacher.hidden);
  for (const auto& [depth, state] : student.states) {
    sum = sum + error(state, teacher.states.at(depth));
  }
  return sum / static_cast<double>(1 + student.states.size());
}

}  // namespace rondo
