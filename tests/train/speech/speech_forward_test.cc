// The forward pass of training against the one that runs models, and gradients.
#include "train/speech/speech_forward.h"

#include <gtest/gtest.h>

#include "rondo/thread_pool.h"
#include "speech/decoder.h"
#include "speech/encoder.h"
#include "speech/heads.h"
#include "speech/random_speech_model.h"
#include "train/finite_differences.h"
#include "train/speech/speech_step.h"
#include "train/train_testing.h"

namespace rondo {
namespace {

std::vector<float> RandomFeatures(int64_t frames, int64_t bins, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(static_cast<size_t>(frames * bins));
  for (float& value : values) value = static_cast<float>(rng.Normal());
  return values;
}

// The example normalises features as the model does.
at::Tensor Normalized(const SpeechModel& model, const std::vector<float>& features) {
  const auto bins = static_cast<int64_t>(model.config.front.mel_bins);
  const at::Tensor x = at::tensor(features).view({-1, bins});
  return (x - ToTorch(model.heads.Get("front.shift"))) * ToTorch(model.heads.Get("front.scale"));
}

// Rows of unequal length in one batch.
struct Batch {
  std::vector<std::vector<float>> features;
  std::vector<int64_t> lengths;
  at::Tensor padded;
};

Batch MakeRows(const SpeechModel& model, const std::vector<int64_t>& lengths) {
  Batch batch{.lengths = lengths};
  const int64_t bins = model.config.front.mel_bins, longest = std::ranges::max(lengths);
  batch.padded = at::zeros({static_cast<int64_t>(lengths.size()), longest, bins});
  for (size_t i = 0; i < lengths.size(); ++i) {
    batch.features.push_back(RandomFeatures(lengths[i], bins, i + 1));
    batch.padded[static_cast<int64_t>(i)]
        .narrow(0, 0, lengths[i])
        .copy_(Normalized(model, batch.features.back()));
  }
  batch.padded = batch.padded.transpose(1, 2).contiguous();
  return batch;
}

// Sums of the same products in another order, through six layers whose norms scale values to 1:
// some hundred roundings of 2^-24 each, amplified by the branches.
constexpr double kTolerance = 2e-4;

void ExpectNear(const at::Tensor& a, std::span<const float> b) {
  ASSERT_EQ(a.numel(), static_cast<int64_t>(b.size()));
  const at::Tensor flat = a.contiguous().flatten();
  double largest = 0;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    largest = std::max<double>(
        largest, std::abs(flat.const_data_ptr<float>()[i] - b[static_cast<size_t>(i)]));
  }
  EXPECT_LT(largest, kTolerance);
}

TEST(SpeechForwardTest, EncodersComputeWhatRunsLater) {
  const at::NoGradGuard no_grad;
  ThreadPool pool(1);
  for (const SpeechShape& shape :
       {SpeechShape{}, SpeechShape{.share = 1}, SpeechShape{.positions = PositionKind::kRope},
        SpeechShape{.layers = 3, .conv_kernel = 5},
        SpeechShape{.layers = 3, .conv_kernel = 7, .positions = PositionKind::kRope}}) {
    const SpeechModel model = RandomSpeechModel(shape);
    const Params params = Params::Frozen(AsParameters(model));
    const SpeechForward forward(model, params, ComputeType::kF32);
    const SpeechEncoder encoder(model, {}, pool);
    const Batch batch = MakeRows(model, {90, 61, 4, 1});
    for (const AttentionContext& context : {AttentionContext{}, AttentionContext{.chunk = 4},
                                            AttentionContext{.chunk = 5, .left_chunks = 1}}) {
      const EncodedRows encoded = forward.Encode(batch.padded, batch.lengths, context, 0);
      for (size_t row = 0; row < batch.lengths.size(); ++row) {
        const int64_t length = encoded.lengths[row];
        EXPECT_EQ(length, model.config.Positions(batch.lengths[row]));
        ExpectNear(encoded.hidden[static_cast<int64_t>(row)].narrow(0, 0, length),
                   encoder.Run(batch.features[row], context));
      }
    }
  }
}

TEST(SpeechForwardTest, HeadsComputeWhatRunsLater) {
  const at::NoGradGuard no_grad;
  ThreadPool pool(1);
  const SpeechModel model = RandomSpeechModel({.layers = 3, .decoder = true, .transducer = true});
  const Params params = Params::Frozen(AsParameters(model));
  const SpeechForward forward(model, params, ComputeType::kF32);
  const Batch batch = MakeRows(model, {70, 33});
  const EncodedRows encoded = forward.Encode(batch.padded, batch.lengths, {}, 0);
  const at::Tensor units = at::tensor({5, 6, 6, 8, 7, 5}, at::kLong).view({2, 3});
  const at::Tensor ctc = at::log_softmax(forward.Ctc(encoded), -1);
  const at::Tensor logits = forward.Decode(encoded, units, 0);
  const SpeechForward::Transitions steps = forward.Transduce(encoded, units);

  const SpeechEncoder encoder(model, {}, pool);
  const SpeechHeads heads(model, {}, pool);
  const SpeechDecoder decoder(model, {}, pool);
  for (int64_t row = 0; row < 2; ++row) {
    const auto at = static_cast<size_t>(row);
    const int64_t length = encoded.lengths[at];
    const std::vector<float> hidden = encoder.Run(batch.features[at], {});
    ExpectNear(ctc[row].narrow(0, 0, length), heads.Ctc(hidden));

    std::vector<int32_t> text;
    for (int64_t i = 0; i < 3; ++i) text.push_back(units[row][i].item<int32_t>());
    DecoderText state = decoder.Begin();
    ExpectNear(logits[row], decoder.Run(decoder.Remember(hidden), state, text, /*all=*/true));

    const std::vector<float> inputs = heads.JoinerInput(hidden);
    for (int64_t t = 0; t < length; ++t) {
      for (size_t u = 0; u <= text.size(); ++u) {
        const auto width = static_cast<size_t>(heads.width());
        const std::vector<float> log_p =
            heads.Join(std::span(inputs).subspan(static_cast<size_t>(t) * width, width),
                       heads.Predict(std::span(text).first(u)));
        const auto v = static_cast<int64_t>(u);
        EXPECT_NEAR(steps.blank[row][t][v].item<float>(), log_p[kBlankUnit], kTolerance);
        if (u < text.size()) {
          EXPECT_NEAR(steps.label[row][t][v].item<float>(), log_p[static_cast<size_t>(text[u])],
                      kTolerance);
        }
      }
    }
  }
}

TEST(SpeechStudentTest, GradientsInBf16AreNearThoseInF32) {
  const SpeechModel model =
      RandomSpeechModel({.layers = 3, .conv_kernel = 3, .decoder = true, .transducer = true});
  SpeechSection options;
  options.attention = 0.5;
  options.transducer = 0.3;
  options.dropout = 0;
  SpeechExample one{.units = {5, 6, 8}}, two{.units = {6, 6}};
  const Batch rows = MakeRows(model, {40, 29});
  const SpeechBatch batch{
      .features = rows.padded, .lengths = rows.lengths, .examples = {&one, &two}};
  ExpectBf16Near(AsParameters(model), [&](Params& params, ComputeType compute) {
    SpeechStudent(model, params, options, compute).AddStep({&batch, 1}, {});
    return params.grad();
  });
}

// Every parameter of every kind of model: CTC, decoder (two tasks) and transducer together,
// residual factors and diagonals, convolutions, cross-attention.
TEST(SpeechStudentTest, GradientsAreThoseOfFiniteDifferences) {
  for (const int conv_kernel : {0, 3}) {
    const SpeechModel model = RandomSpeechModel(
        {.layers = 2, .share = 2, .conv_kernel = conv_kernel, .decoder = true, .transducer = true});
    const TrainGroup all[] = {{"encoder.*"},   {"decoder.*"}, {"ctc.*"},    {"joiner.*"},
                              {"predictor.*"}, {"front.0.*"}, {"front.1.*"}};
    Params params(AsParameters(model), all);
    SpeechSection options;
    options.attention = 0.5;
    options.transducer = 0.3;
    options.task = SpeechTask::kBoth;
    options.dropout = 0;
    SpeechStudent student(model, params, options, ComputeType::kF32);
    SpeechExample one{.units = {5, 6, 8}, .translation = {7, 8}},
        two{.units = {6, 6}, .translation = {5, 5, 6}};
    const Batch rows = MakeRows(model, {40, 29});
    const SpeechBatch batch{
        .features = rows.padded, .lengths = rows.lengths, .examples = {&one, &two}};
    const int compared = ExpectDerivatives(params, [&] {
      return student.AddStep({&batch, 1}, {}).total;
    });
    EXPECT_GT(compared, 40);
  }
}

// Passes of other numbers and lengths of texts are one batch with all of their rows, whatever the
// losses: each is averaged over what it counts in the whole step.
class PassesOfAStep : public testing::Test {
 protected:
  PassesOfAStep() { options_.dropout = 0; }

  SpeechBatch Take(int64_t first, std::vector<const SpeechExample*> examples) const {
    const auto count = std::ssize(examples);
    return {.features = rows_.padded.narrow(0, first, count),
            .lengths = {rows_.lengths.begin() + first, rows_.lengths.begin() + first + count},
            .examples = std::move(examples)};
  }
  std::pair<SpeechLosses, at::Tensor> Step(const std::vector<SpeechBatch>& passes) {
    const TrainGroup all[] = {{"*"}};
    Params params(AsParameters(model_), all);
    const LossOptions loss{.vocab = {.kd = 0.6f}};
    SpeechStudent student(model_, params, options_, ComputeType::kF32, loss, &teacher_);
    const SpeechLosses losses = student.AddStep(passes, {});
    return {losses, params.grad().clone()};
  }
  void ExpectOneBatch() {
    const SpeechExample one{.units = {5, 6, 8, 7, 5}, .translation = {7}},
        two{.units = {6, 6}, .translation = {5, 5, 6, 8}}, three{.units = {7}};
    const auto [whole, gradient] = Step({Take(0, {&one, &two, &three})});
    const auto [parts, sum] = Step({Take(0, {&one}), Take(1, {&two, &three})});
    // Sums of the same terms in another order.
    EXPECT_NEAR(parts.total, whole.total, 1e-5 * whole.total);
    EXPECT_NEAR(parts.ctc, whole.ctc, 1e-5 * whole.ctc);
    EXPECT_NEAR(parts.attention, whole.attention, 1e-5 * whole.attention);
    EXPECT_NEAR(parts.transducer, whole.transducer, 1e-5 * whole.transducer);
    EXPECT_NEAR(parts.kd, whole.kd, 1e-5 * whole.kd);
    EXPECT_EQ(parts.positions, whole.positions);
    EXPECT_LT((gradient - sum).norm().item<float>(), 1e-5f * gradient.norm().item<float>());
    EXPECT_GT(whole.total, 0);
  }

  const SpeechModel model_ =
      RandomSpeechModel({.layers = 2, .share = 2, .decoder = true, .transducer = true});
  const SpeechTeacher teacher_{
      RandomSpeechModel({.layers = 2, .share = 1, .decoder = true, .transducer = true}),
      ComputeType::kF32};
  const Batch rows_ = MakeRows(model_, {40, 29, 33});
  SpeechSection options_;
};

TEST_F(PassesOfAStep, MakeOneBatchWithCtc) {
  options_.ctc = 0.7;
  ExpectOneBatch();
}

TEST_F(PassesOfAStep, MakeOneBatchWithADecoder) {
  options_.ctc = 0;
  options_.attention = 1;
  ExpectOneBatch();
}

TEST_F(PassesOfAStep, MakeOneBatchWithATransducer) {
  options_.ctc = 0;
  options_.transducer = 1;
  ExpectOneBatch();
}

TEST_F(PassesOfAStep, MakeOneBatchWithEveryHead) {
  options_.ctc = 0.7;
  options_.attention = 0.5;
  options_.transducer = 0.3;
  for (const SpeechTask task :
       {SpeechTask::kTranscribe, SpeechTask::kTranslate, SpeechTask::kBoth}) {
    SCOPED_TRACE(static_cast<int>(task));
    options_.task = task;
    ExpectOneBatch();
  }
}

// What a student learns from a teacher of another plan: hidden states, CTC and both texts of the
// decoder, with the smooth divergences.
TEST(SpeechStudentTest, GradientsOfATeachersLossesAreThoseOfFiniteDifferences) {
  const SpeechShape shape{.layers = 2, .share = 2, .decoder = true};
  const SpeechModel model = RandomSpeechModel(shape);
  SpeechModel other = RandomSpeechModel({.layers = 2, .share = 1, .decoder = true});
  other.config.attention = {.chunk = 4, .left_chunks = 1};
  const SpeechTeacher teacher(other, ComputeType::kF32);
  const TrainGroup all[] = {{"encoder.*"}, {"decoder.*"}, {"ctc.*"}, {"front.0.*"}};
  SpeechSection options;
  options.attention = 0.5;
  options.task = SpeechTask::kBoth;
  options.dropout = 0;
  SpeechExample one{.units = {5, 6, 8}, .translation = {7, 8}},
      two{.units = {6, 6}, .translation = {5, 5, 6}};
  const Batch rows = MakeRows(model, {40, 29});
  const SpeechBatch batch{
      .features = rows.padded, .lengths = rows.lengths, .examples = {&one, &two}};
  for (const KdKind kind : {KdKind::kForwardKl, KdKind::kReverseKl, KdKind::kJensenShannon}) {
    Params params(AsParameters(model), all);
    const LossOptions loss{.vocab = {.kd = 0.7f, .kind = kind, .temperature = 1.5f},
                           .hidden = 0.8,
                           .hidden_depths = {0}};
    SpeechStudent student(model, params, options, ComputeType::kF32, loss, &teacher);
    SpeechLosses losses;
    const int compared = ExpectDerivatives(params, [&] {
      losses = student.AddStep({&batch, 1}, {});
      return losses.total;
    });
    EXPECT_GT(compared, 20);
    EXPECT_NEAR(losses.total,
                losses.ctc + 0.5 * losses.attention + 0.7 * losses.kd + 0.8 * losses.hidden, 1e-4);
  }
}

// Divergences of a row of logits by hand, and none from itself; hidden states beyond a row's end
// count nowhere.
TEST(SpeechTeacherTest, DivergencesAreTheirDefinitions) {
  const at::Tensor s = at::tensor({0.3f, -1.2f, 0.8f}).view({1, 3});
  const at::Tensor t = at::tensor({-0.4f, 0.9f, 0.1f}).view({1, 3});
  const at::Tensor p = at::softmax(t, -1), q = at::softmax(s, -1), m = 0.25 * p + 0.75 * q;
  const auto kl = [](const at::Tensor& a, const at::Tensor& b) {
    return (a * (a / b).log()).sum().item<double>();
  };
  const auto measured = [&](KdKind kind) {
    return SumOfDivergences({.kind = kind, .js_lambda = 0.25f}, s, t).item<double>();
  };
  EXPECT_NEAR(measured(KdKind::kForwardKl), kl(p, q), 1e-6);
  EXPECT_NEAR(measured(KdKind::kReverseKl), kl(q, p), 1e-6);
  EXPECT_NEAR(measured(KdKind::kJensenShannon), 0.25 * kl(p, m) + 0.75 * kl(q, m), 1e-6);
  EXPECT_NEAR(measured(KdKind::kTotalVariation), 0.5 * (p - q).abs().sum().item<double>(), 1e-6);
  EXPECT_NEAR(SumOfDivergences({}, t, t).item<double>(), 0, 1e-7);

  EncodedRows teacher, student;
  teacher.hidden = at::ones({2, 5, 3});
  student.hidden = at::ones({2, 5, 3}) * 1.5;
  teacher.lengths = student.lengths = {5, 2};
  student.hidden[1].narrow(0, 2, 3).fill_(99);
  EXPECT_NEAR(HiddenError(student, teacher).item<double>(), 0.25, 1e-6);
}

TEST(SpeechStudentTest, DrawsChunksByStep) {
  const SpeechModel model = RandomSpeechModel({});
  const TrainGroup all[] = {{"*"}};
  Params params(AsParameters(model), all);
  SpeechSection options;
  options.dynamic_chunk = 10;
  const SpeechStudent student(model, params, options, ComputeType::kF32);
  int whole = 0;
  for (int step = 0; step < 200; ++step) {
    const AttentionContext context = student.ContextOf({.seed = 1, .step = step});
    EXPECT_EQ(context, student.ContextOf({.seed = 1, .step = step}));
    EXPECT_LE(context.chunk, 10);
    whole += context.chunk == 0;
  }
  EXPECT_GT(whole, 60);
  EXPECT_LT(whole, 140);
}

}  // namespace
}  // namespace rondo
