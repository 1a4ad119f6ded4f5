#include "train/speech/speech_step.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/rng.h"
#include "train/loss/transducer_loss.h"

namespace rondo {
namespace {

constexpr int64_t kNoTarget = -100;
// Decoders read texts padded to a multiple of so many units: matrix libraries generate code for
// every size they meet.
constexpr int64_t kDecoderStep = 8;

using Units = std::vector<const std::vector<int32_t>*>;

Units UnitsOf(const SpeechBatch& batch, bool translate) {
  Units units;
  for (const SpeechExample* e : batch.examples) {
    units.push_back(translate ? &e->translation : &e->units);
  }
  return units;
}

// [rows, width] with `first` (if it is one) before and `last` behind each row's units, and `fill`
// behind that; the width is a multiple of `step`.
at::Tensor Padded(const Units& units, int64_t first, int64_t last, int64_t fill, int64_t step = 1) {
  size_t longest = 0;
  for (const auto* row : units) longest = std::max(longest, row->size());
  const int64_t extra = (first >= 0 ? 1 : 0) + (last >= 0 ? 1 : 0);
  const int64_t width = (static_cast<int64_t>(longest) + extra + step - 1) / step * step;
  at::Tensor out = at::full({static_cast<int64_t>(units.size()), width}, fill, at::kLong);
  for (size_t r = 0; r < units.size(); ++r) {
    int64_t* to = out.mutable_data_ptr<int64_t>() + static_cast<int64_t>(r) * width;
    if (first >= 0) *to++ = first;
    to = std::copy(units[r]->begin(), units[r]->end(), to);
    if (last >= 0) *to = last;
  }
  return out;
}

std::vector<int64_t> LengthsOf(const Units& units) {
  std::vector<int64_t> lengths;
  for (const auto* row : units) lengths.push_back(static_cast<int64_t>(row->size()));
  return lengths;
}

int64_t CountOf(const Units& units) {
  int64_t count = 0;
  for (const auto* row : units) count += static_cast<int64_t>(row->size());
  return std::max<int64_t>(1, count);
}

// Positions that CTC needs: one a unit, and a blank between equal ones.
int64_t CtcNeeds(const std::vector<int32_t>& units) {
  auto needs = static_cast<int64_t>(units.size());
  for (size_t i = 1; i < units.size(); ++i) needs += units[i] == units[i - 1] ? 1 : 0;
  return needs;
}

}  // namespace

void SpeechLosses::Add(const SpeechLosses& other, double share) {
  total += share * other.total;
  ctc += share * other.ctc;
  attention += share * other.attention;
  transducer += share * other.transducer;
  kd += share * other.kd;
  hidden += share * other.hidden;
  positions += other.positions;
  infeasible += other.infeasible;
}

SpeechStudent::SpeechStudent(const SpeechModel& shape, Params& params, const SpeechSection& options,
                             ComputeType compute, LossOptions loss, const SpeechTeacher* teacher)
    : shape_(shape),
      options_(options),
      loss_(std::move(loss)),
      teacher_(teacher),
      forward_(shape, params, compute) {}

AttentionContext SpeechStudent::ContextOf(const StepKey& key) const {
  const AttentionContext own = shape_.config.attention;
  if (options_.dynamic_chunk <= 0) return own;
  Rng rng(HashOfPass(key, Choice::kChunk));
  if (rng.Next() % 2 == 0) return {};
  return {.chunk = 1 + static_cast<int>(rng.Next() % static_cast<uint64_t>(options_.dynamic_chunk)),
          .left_chunks = own.left_chunks};
}

double SpeechStudent::Pass::Add(double weight, const at::Tensor& loss) {
  total = total.defined() ? total + weight * loss : weight * loss;
  return loss.item<double>();
}

void SpeechStudent::AddCtc(Pass& pass) const {
  const EncodedRows& encoded = pass.encoded;
  const Units units = UnitsOf(pass.batch, false);
  for (size_t r = 0; r < units.size(); ++r) {
    if (CtcNeeds(*units[r]) > encoded.lengths[r]) ++pass.losses.infeasible;
  }
  const at::Tensor logits = forward_.Ctc(encoded);
  const at::Tensor loss =
      at::ctc_loss(at::log_softmax(logits, -1).transpose(0, 1), Padded(units, -1, -1, 0),
                   encoded.lengths, LengthsOf(units), kBlankUnit, at::Reduction::Sum,
                   /*zero_infinity=*/true) /
      CountOf(units);
  pass.losses.ctc += pass.Add(options_.ctc, loss);
  if (loss_.vocab.kd == 0) return;
  const at::Tensor taught = teacher_->Ctc(pass.taught);
  pass.losses.kd +=
      options_.ctc * pass.Add(options_.ctc * loss_.vocab.kd,
                              Divergence(loss_.vocab, RowsWithin(logits, encoded.lengths),
                                         RowsWithin(taught, encoded.lengths)));
}

void SpeechStudent::AddDecoder(Pass& pass, bool translate) const {
  const Units units = UnitsOf(pass.batch, translate);
  const int64_t first = translate ? kTranslateUnit : kTranscribeUnit;
  const at::Tensor tokens = Padded(units, first, -1, kEndUnit, kDecoderStep);
  const at::Tensor logits = forward_.Decode(pass.encoded, tokens, options_.dropout);
  const at::Tensor targets = Padded(units, -1, kEndUnit, kNoTarget, kDecoderStep);
  const at::Tensor loss =
      at::cross_entropy_loss(logits.flatten(0, 1), targets.flatten(), {}, at::Reduction::Mean,
                             kNoTarget, options_.label_smoothing);
  pass.losses.attention += pass.Add(options_.attention, loss);
  if (loss_.vocab.kd == 0) return;
  std::vector<int64_t> lengths = LengthsOf(units);
  for (int64_t& length : lengths) ++length;  // with the unit that begins the text
  const at::Tensor taught = teacher_->Decode(pass.taught, tokens);
  pass.losses.kd +=
      options_.attention *
      pass.Add(options_.attention * loss_.vocab.kd,
               Divergence(loss_.vocab, RowsWithin(logits, lengths), RowsWithin(taught, lengths)));
}

void SpeechStudent::AddTransducer(Pass& pass) const {
  const Units units = UnitsOf(pass.batch, false);
  const SpeechForward::Transitions log_p =
      forward_.Transduce(pass.encoded, Padded(units, -1, -1, kBlankUnit));
  const at::Tensor loss =
      TransducerLoss(log_p.blank, log_p.label, pass.encoded.lengths, LengthsOf(units)).sum() /
      CountOf(units);
  pass.losses.transducer += pass.Add(options_.transducer, loss);
}

SpeechLosses SpeechStudent::AddGradients(const SpeechBatch& batch, double scale,
                                         const StepKey& key) {
  at::manual_seed(HashOfPass(key, Choice::kDropout));
  const std::span<const int> keep = loss_.hidden_depths;
  Pass pass{.batch = batch,
            .encoded = forward_.Encode(batch.features, batch.lengths, ContextOf(key),
                                       options_.dropout, keep)};
  for (const int64_t length : pass.encoded.lengths) pass.losses.positions += length;
  if (teacher_ != nullptr) pass.taught = teacher_->Encode(batch.features, batch.lengths, keep);
  if (options_.ctc > 0) AddCtc(pass);
  if (options_.attention > 0 && options_.task != SpeechTask::kTranslate) AddDecoder(pass, false);
  if (options_.attention > 0 && options_.task != SpeechTask::kTranscribe) AddDecoder(pass, true);
  if (options_.transducer > 0) AddTransducer(pass);
  if (loss_.hidden > 0) {
    pass.losses.hidden = pass.Add(loss_.hidden, HiddenError(pass.encoded, pass.taught));
  }
  pass.losses.total = pass.total.item<double>();
  torch::autograd::backward({pass.total * scale}, {});
  return pass.losses;
}

int64_t SpeechStudent::WeightOf(const SpeechBatch& batch) const {
  const bool transcripts =
      options_.ctc > 0 || options_.transducer > 0 || options_.task != SpeechTask::kTranslate;
  int64_t weight = 0;
  for (const SpeechExample* e : batch.examples) {
    if (transcripts) weight += std::ssize(e->units) + 1;
    if (options_.task != SpeechTask::kTranscribe) weight += std::ssize(e->translation) + 1;
  }
  return weight;
}

SpeechLosses SpeechStudent::AddStep(std::span<const SpeechBatch> passes, StepKey key) {
  std::vector<double> weights;
  for (const SpeechBatch& batch : passes) weights.push_back(static_cast<double>(WeightOf(batch)));
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  SpeechLosses sum;
  for (size_t i = 0; i < passes.size(); ++i, ++key.micro) {
    const double share = weights[i] / all;
    sum.Add(AddGradients(passes[i], share, key), share);
  }
  return sum;
}

double SpeechStudent::DistanceFromTeacher(const SpeechBatch& batch) const {
  const at::NoGradGuard no_grad;
  const EncodedRows encoded =
      forward_.Encode(batch.features, batch.lengths, shape_.config.attention, 0);
  return HiddenError(encoded, teacher_->Encode(batch.features, batch.lengths, {})).item<double>();
}

}  // namespace rondo
