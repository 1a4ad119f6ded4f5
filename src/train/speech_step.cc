#include "train/speech_step.h"

#include <algorithm>

#include "base/rng.h"
#include "train/transducer_loss.h"

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

SpeechStudent::SpeechStudent(const SpeechModel& shape, Params& params, const SpeechSection& options,
                             ComputeType compute)
    : shape_(shape), options_(options), forward_(shape, params, compute) {}

AttentionContext SpeechStudent::ContextOf(const StepKey& key) const {
  const AttentionContext own = shape_.config.attention;
  if (options_.dynamic_chunk <= 0) return own;
  Rng rng(HashOfPass(key, Choice::kChunk));
  if (rng.Next() % 2 == 0) return {};
  return {.chunk = 1 + static_cast<int>(rng.Next() % static_cast<uint64_t>(options_.dynamic_chunk)),
          .left_chunks = own.left_chunks};
}

at::Tensor SpeechStudent::CtcLoss(const EncodedRows& encoded, const SpeechBatch& batch,
                                  SpeechLosses& losses) const {
  const Units units = UnitsOf(batch, false);
  for (size_t r = 0; r < units.size(); ++r) {
    if (CtcNeeds(*units[r]) > encoded.lengths[r]) ++losses.infeasible;
  }
  return at::ctc_loss(forward_.Ctc(encoded).transpose(0, 1), Padded(units, -1, -1, 0),
                      encoded.lengths, LengthsOf(units), kBlankUnit, at::Reduction::Sum,
                      /*zero_infinity=*/true) /
         CountOf(units);
}

at::Tensor SpeechStudent::DecoderLoss(const EncodedRows& encoded, const SpeechBatch& batch,
                                      bool translate) const {
  const Units units = UnitsOf(batch, translate);
  const int64_t first = translate ? kTranslateUnit : kTranscribeUnit;
  const at::Tensor logits =
      forward_.Decode(encoded, Padded(units, first, -1, kEndUnit, kDecoderStep), options_.dropout);
  const at::Tensor targets = Padded(units, -1, kEndUnit, kNoTarget, kDecoderStep);
  return at::cross_entropy_loss(logits.flatten(0, 1), targets.flatten(), {}, at::Reduction::Mean,
                                kNoTarget, options_.label_smoothing);
}

at::Tensor SpeechStudent::TransducerLossOf(const EncodedRows& encoded,
                                           const SpeechBatch& batch) const {
  const Units units = UnitsOf(batch, false);
  const SpeechForward::Transitions log_p =
      forward_.Transduce(encoded, Padded(units, -1, -1, kBlankUnit));
  return TransducerLoss(log_p.blank, log_p.label, encoded.lengths, LengthsOf(units)).sum() /
         CountOf(units);
}

SpeechLosses SpeechStudent::AddGradients(const SpeechBatch& batch, double scale,
                                         const StepKey& key) {
  at::manual_seed(HashOfPass(key, Choice::kDropout));
  const EncodedRows encoded =
      forward_.Encode(batch.features, batch.lengths, ContextOf(key), options_.dropout);
  SpeechLosses losses;
  for (const int64_t length : encoded.lengths) losses.positions += length;
  at::Tensor total;
  const auto add = [&](double weight, const at::Tensor& loss, double& value) {
    value += loss.item<double>();
    total = total.defined() ? total + weight * loss : weight * loss;
  };
  if (options_.ctc > 0) add(options_.ctc, CtcLoss(encoded, batch, losses), losses.ctc);
  if (options_.attention > 0 && options_.task != "translate") {
    add(options_.attention, DecoderLoss(encoded, batch, false), losses.attention);
  }
  if (options_.attention > 0 && options_.task != "transcribe") {
    add(options_.attention, DecoderLoss(encoded, batch, true), losses.attention);
  }
  if (options_.transducer > 0) {
    add(options_.transducer, TransducerLossOf(encoded, batch), losses.transducer);
  }
  losses.total = total.item<double>();
  torch::autograd::backward({total * scale}, {});
  return losses;
}

}  // namespace rondo
