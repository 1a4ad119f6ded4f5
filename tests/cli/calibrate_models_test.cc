// Calibrated folding of real trained models, on text they wrote themselves.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/rng.h"
#include "rondo/calibrate.h"
#include "rondo/eval.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Samples from the model's own distribution: several texts of 128 tokens, one after the other.
std::vector<int32_t> OwnText(const Model& model, int texts, uint64_t seed, ThreadPool& pool) {
  const Engine engine(model, {}, pool);
  Rng rng(seed);
  std::vector<int32_t> tokens;
  for (int text = 0; text < texts; ++text) {
    KvCache cache = engine.NewCache(128);
    int32_t token = 1;
    for (int i = 0; i < 128; ++i) {
      tokens.push_back(token);
      const std::vector<float> logits = engine.Prefill(cache, {&token, 1});
      double sum = 0;
      for (const float l : logits) sum += std::exp(double{l});
      double left = rng.Uniform() * sum;
      for (token = 0; token + 1 < static_cast<int32_t>(logits.size()); ++token) {
        left -= std::exp(double{logits[static_cast<size_t>(token)]});
        if (left <= 0) break;
      }
    }
  }
  return tokens;
}

double Kl(const Model& a, const Model& b, std::span<const int32_t> tokens, ThreadPool& pool) {
  const Engine first(a, {}, pool), second(b, {}, pool);
  return Compare(first, second, tokens, {.context = 128}).kl;
}

class CalibratedModels : public testing::TestWithParam<std::string> {};

TEST_P(CalibratedModels, CalibrationHelpsOnHeldOutText) {
  ThreadPool pool(2);
  const Model model = LoadModel(std::string(RONDO_TEST_DATA) + "/models/" + GetParam());
  const std::vector<int32_t> train = OwnText(model, 20, 1, pool);
  const std::vector<int32_t> held_out = OwnText(model, 3, 2, pool);
  for (const char* order : {"cycle", "middle-sequence"}) {
    for (const int rank : {0, 8}) {
      FoldOptions fold;
      for (TieOrder& tie : fold.order) tie.order = order;
      fold.rank = rank;
      if (rank == 0) fold.residual = ResidualKind::kNone;
      const SharingPlan plan = MakePlan(model.config, fold);
      const double free = Kl(model, Fold(model, plan, fold, pool), held_out, pool);
      const double fitted = Kl(
          model, FoldCalibrated(model, plan, fold, train, {.context = 128}, pool), held_out, pool);
      EXPECT_LT(fitted, free) << order << " rank " << rank;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Real, CalibratedModels,
                         testing::Values("stories260K/stories260K.bin",
                                         "babyllama105/model5000.bin"),
                         [](const auto& param) { return param.param.substr(0, 7); });

}  // namespace
}  // namespace rondo
