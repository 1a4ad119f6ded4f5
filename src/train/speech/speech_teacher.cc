#include "train/speech/speech_teacher.h"

#include "train/model/composed.h"

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

at::Tensor SumOfDivergences(const VocabLoss& loss, const at::Tensor& student,
                            const at::Tensor& teacher) {
  const double tau = loss.temperature;
  return RowDivergence(loss, at::log_softmax(student / tau, 1), at::log_softmax(teacher / tau, 1))
             .sum() *
         (tau * tau);
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
