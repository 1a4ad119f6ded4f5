#include "train/speech/speech_step.h"

#include <algorithm>
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

// Of losses that are averaged over `count` things; of none the average is 0.
at::Tensor MeanOf(const at::Tensor& sum, int64_t count) {
  return sum / static_cast<double>(std::max<int64_t>(1, count));
}

// Positions that CTC needs: one a unit, and a blank between equal ones.
int64_t CtcNeeds(const std::vector<int32_t>& units) {
  auto needs = static_cast<int64_t>(units.size());
  for (size_t i = 1; i < units.size(); ++i) needs += units[i] == units[i - 1] ? 1 : 0;
  return needs;
}

}  // namespace

void SpeechLosses::Add(const SpeechLosses& other) {
  total += other.total;
  ctc += other.ctc;
  attention += other.attention;
  transducer += other.transducer;
  kd += other.kd;
  hidden += other.hidden;
  positions += other.positions;
  infeasible += other.infeasible;
}

void SpeechCounts::Add(const SpeechBatch& batch, const SpeechConfig& config) {
  for (const SpeechExample* e : batch.examples) {
    units += std::ssize(e->units);
    transcripts += std::ssize(e->units) + 1;
    translations += std::ssize(e->translation) + 1;
  }
  for (const int64_t frames : batch.lengths) positions += config.Positions(frames);
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
  Rng rng(HashOfPass(key, RandomStream::kChunk));
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
  const at::Tensor sum =
      at::ctc_loss(at::log_softmax(logits, -1).transpose(0, 1), Padded(units, -1, -1, 0),
                   encoded.lengths, LengthsOf(units), kBlankUnit, at::Reduction::Sum,
                   /*zero_infinity=*/true);
  pass.losses.ctc += pass.Add(options_.ctc, MeanOf(sum, pass.all.units));
  if (loss_.vocab.kd == 0) return;
  const at::Tensor taught = teacher_->Ctc(pass.taught);
  const at::Tensor divergence = SumOfDivergences(loss_.vocab, RowsWithin(logits, encoded.lengths),
                                                 RowsWithin(taught, encoded.lengths));
  pass.losses.kd += options_.ctc *
                    pass.Add(options_.ctc * loss_.vocab.kd, MeanOf(divergence, pass.all.positions));
}

void SpeechStudent::AddDecoder(Pass& pass, bool translate) const {
  const Units units = UnitsOf(pass.batch, translate);
  const int64_t count = translate ? pass.all.translations : pass.all.transcripts;
  const int64_t first = translate ? kTranslateUnit : kTranscribeUnit;
  const at::Tensor tokens = Padded(units, first, -1, kEndUnit, kDecoderStep);
  const at::Tensor logits = forward_.Decode(pass.encoded, tokens, options_.dropout);
  const at::Tensor targets = Padded(units, -1, kEndUnit, kNoTarget, kDecoderStep);
  const at::Tensor sum =
      at::cross_entropy_loss(logits.flatten(0, 1), targets.flatten(), {}, at::Reduction::Sum,
                             kNoTarget, options_.label_smoothing);
  pass.losses.attention += pass.Add(options_.attention, MeanOf(sum, count));
  if (loss_.vocab.kd == 0) return;
  std::vector<int64_t> lengths = LengthsOf(units);
  for (int64_t& length : lengths) ++length;  // with the unit that begins the text
  const at::Tensor taught = teacher_->Decode(pass.taught, tokens);
  const at::Tensor divergence =
      SumOfDivergences(loss_.vocab, RowsWithin(logits, lengths), RowsWithin(taught, lengths));
  pass.losses.kd +=
      options_.attention * pass.Add(options_.attention * loss_.vocab.kd, MeanOf(divergence, count));
}

void SpeechStudent::AddTransducer(Pass& pass) const {
  const Units units = UnitsOf(pass.batch, false);
  const SpeechForward::Transitions log_p =
      forward_.Transduce(pass.encoded, Padded(units, -1, -1, kBlankUnit));
  const at::Tensor sum =
      TransducerLoss(log_p.blank, log_p.label, pass.encoded.lengths, LengthsOf(units)).sum();
  pass.losses.transducer += pass.Add(options_.transducer, MeanOf(sum, pass.all.units));
}

SpeechLosses SpeechStudent::AddPass(const SpeechBatch& batch, const SpeechCounts& all,
                                    const StepKey& key) {
  at::manual_seed(HashOfPass(key, RandomStream::kDropout));
  const std::span<const int> keep = loss_.hidden_depths;
  Pass pass{.batch = batch,
            .all = all,
            .encoded = forward_.Encode(batch.features, batch.lengths, ContextOf(key),
                                       options_.dropout, keep)};
  for (const int64_t length : pass.encoded.lengths) pass.losses.positions += length;
  if (teacher_ != nullptr) pass.taught = teacher_->Encode(batch.features, batch.lengths, keep);
  if (options_.ctc > 0) AddCtc(pass);
  if (options_.attention > 0 && options_.task != SpeechTask::kTranslate) AddDecoder(pass, false);
  if (options_.attention > 0 && options_.task != SpeechTask::kTranscribe) AddDecoder(pass, true);
  if (options_.transducer > 0) AddTransducer(pass);
  if (loss_.hidden > 0) {
    const double share =
        static_cast<double>(pass.losses.positions) / static_cast<double>(all.positions);
    pass.losses.hidden = pass.Add(loss_.hidden, share * HiddenError(pass.encoded, pass.taught));
  }
  pass.losses.total = pass.total.item<double>();
  torch::autograd::backward({pass.total}, {});
  return pass.losses;
}

SpeechLosses SpeechStudent::AddStep(std::span<const SpeechBatch> passes, StepKey key) {
  SpeechCounts all;
  for (const SpeechBatch& batch : passes) all.Add(batch, shape_.config);
  SpeechLosses sum;
  for (const SpeechBatch& batch : passes) {
    sum.Add(AddPass(batch, all, key));
    ++key.micro;
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
