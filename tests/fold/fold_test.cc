#include "rondo/fold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "fold/random_model.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

constexpr double kEps32 = 0x1.0p-24;
constexpr int kFull = 1 << 20;  // clipped to full rank

FoldOptions Options(const std::string& order, int loops, int rank) {
  FoldOptions options;
  for (TieOrder& o : options.order) o = {.order = order, .loops = loops};
  options.rank = rank;
  return options;
}

Model FoldBy(const Model& model, const FoldOptions& options, int threads = 2) {
  ThreadPool pool(threads);
  return Fold(model, MakePlan(model.config, options), options, pool);
}

Model UnrollOf(const Model& model) {
  ThreadPool pool(2);
  return Unroll(model, pool);
}

std::vector<float> Values(const Model& model, int depth, Module m, const char* part = "weight") {
  return ToF32(model.weights.Get(BlockTensor(depth, m, part)));
}

double Largest(const std::vector<float>& values) {
  double worst = 0;
  for (const float v : values) worst = std::max(worst, std::abs(double{v}));
  return worst;
}

// The linears of `model` with the norms before them multiplied in.
std::vector<float> Absorbed(const Model& model, int depth, Module m) {
  std::vector<float> weight = Values(model, depth, m);
  const bool attention = GroupOf(m) == ModuleGroup::kAttention;
  if (m == Module::kO || m == Module::kDown) return weight;
  const std::vector<float> gain =
      Values(model, depth, attention ? Module::kAttnNorm : Module::kFfnNorm);
  for (size_t i = 0; i < weight.size(); ++i) weight[i] *= gain[i % gain.size()];
  return weight;
}

// Merging S' + b·a in f32 rounds each of `rank` products and the stored factors; with orthonormal
// rows of a, Σ|b||a| is at most the length of a row of the difference, below row·(|W| + |S'|).
double Tolerance(const std::vector<float>& weight, const ModelConfig& config, Module m) {
  const Shape shape = config.ModuleShape(m);
  const double rank = static_cast<double>(std::min(shape[0], shape[1]));
  return (rank + 8) * kEps32 * 2 * std::sqrt(static_cast<double>(shape[1])) *
         (Largest(weight) + 0.1);
}

struct ExactCase {
  const char* name;
  ModelConfig config;
};

class FullRankTest : public testing::TestWithParam<ExactCase> {};

void ExpectSameFunction(const Model& model, const Model& unrolled, bool absorb) {
  const ModelConfig& config = model.config;
  for (const Module m : kAllModules) {
    if (!config.HasModule(m)) continue;
    const bool gone = absorb && (m == Module::kAttnNorm || m == Module::kFfnNorm);
    for (int d = 0; d < config.layers; ++d) {
      const std::vector<float> got = Values(unrolled, d, m);
      if (gone) {
        EXPECT_THAT(got, testing::Each(1.0f));
      } else if (IsLinear(m)) {
        const std::vector<float> want = absorb ? Absorbed(model, d, m) : Values(model, d, m);
        EXPECT_LE(MaxAbsDifference(got, want), Tolerance(want, config, m)) << Name(m) << " " << d;
      } else {
        EXPECT_EQ(got, Values(model, d, m)) << Name(m) << " " << d;
      }
    }
  }
}

TEST_P(FullRankTest, EveryOrderAndInitialisationGivesTheOriginalBack) {
  const Model model = RandomModel(GetParam().config, 1);
  for (const char* order : {"cycle", "sequence", "middle-cycle", "middle-sequence"}) {
    for (const InitKind init : {InitKind::kStepwise, InitKind::kAverage, InitKind::kLower,
                                InitKind::kUpper, InitKind::kRandom}) {
      for (const NormPolicy norms : {NormPolicy::kOwn, NormPolicy::kAbsorb}) {
        FoldOptions options = Options(order, 2, kFull);
        options.init = init;
        options.norms = norms;
        SCOPED_TRACE(std::string(order) + " init " + std::to_string(static_cast<int>(init)));
        const Model folded = FoldBy(model, options);
        EXPECT_TRUE(folded.plan.SharesAnything());
        ExpectSameFunction(model, UnrollOf(folded), norms == NormPolicy::kAbsorb);
      }
    }
  }
}

TEST_P(FullRankTest, EveryResidualOfFullRankGivesTheOriginalBack) {
  const Model model = RandomModel(GetParam().config, 2);
  for (const ResidualKind kind :
       {ResidualKind::kLoraDiag, ResidualKind::kDora, ResidualKind::kKronecker}) {
    FoldOptions options = Options("cycle", 3, kFull);
    options.residual = kind;
    SCOPED_TRACE(Name(kind));
    ExpectSameFunction(model, UnrollOf(FoldBy(model, options)), false);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, FullRankTest,
                         testing::Values(ExactCase{"llama", LlamaConfig(6)},
                                         ExactCase{"pythia", PythiaConfig(6)},
                                         ExactCase{"gemma", GemmaConfig(6)}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(FoldTest, RankZeroIsPlainRecursion) {
  const Model model = RandomModel(LlamaConfig(6), 3);
  for (const InitKind init : {InitKind::kStepwise, InitKind::kAverage}) {
    FoldOptions options = Options("cycle", 2, 0);
    options.init = init;
    const Model folded = FoldBy(model, options);
    const Model unrolled = UnrollOf(folded);
    for (int d = 0; d < 6; ++d) {
      for (const Module m : {Module::kQ, Module::kDown}) {
        EXPECT_EQ(Values(unrolled, d, m), Values(folded, d % 3, m));
      }
    }
  }
}

TEST(FoldTest, StepwiseCopiesItsLayersAndAverageIsTheMean) {
  const Model model = RandomModel(LlamaConfig(6), 4);
  FoldOptions options = Options("cycle", 2, 4);
  options.init = InitKind::kStepwise;
  const Model stepwise = FoldBy(model, options);
  const int picks[] = {0, 2, 5};
  for (int k = 0; k < 3; ++k) {
    EXPECT_EQ(Values(stepwise, k, Module::kUp), Values(model, picks[k], Module::kUp));
  }
  options.init = InitKind::kAverage;
  const std::vector<float> mean = Values(FoldBy(model, options), 1, Module::kUp);
  const std::vector<float> a = Values(model, 1, Module::kUp), b = Values(model, 4, Module::kUp);
  for (size_t i = 0; i < mean.size(); ++i) EXPECT_EQ(mean[i], (a[i] + b[i]) / 2);
}

TEST(FoldTest, ResidualsOfAnAveragedPairAreOpposite) {
  const Model model = RandomModel(LlamaConfig(6), 5);
  const Model folded = FoldBy(model, Options("cycle", 2, 4));
  for (const Module m : {Module::kQ, Module::kK, Module::kDown}) {
    for (int d = 0; d < 3; ++d) {
      std::vector<float> b = ToF32(folded.weights.Get(ResidualTensor(d, m, "b")));
      for (float& value : b) value = -value;
      EXPECT_EQ(b, ToF32(folded.weights.Get(ResidualTensor(d + 3, m, "b"))));
      EXPECT_EQ(ToF32(folded.weights.Get(ResidualTensor(d, m, "a"))),
                ToF32(folded.weights.Get(ResidualTensor(d + 3, m, "a"))));
    }
  }
}

TEST(FoldTest, MiddleOrdersKeepTheirEndsExactly) {
  const Model model = RandomModel(PythiaConfig(7), 6);
  FoldOptions options = Options("middle-sequence", 2, 0);
  options.order[0].keep_first = options.order[1].keep_first = 2;
  for (const InitKind init : {InitKind::kAverage, InitKind::kRandom}) {
    options.init = init;
    const Model unrolled = UnrollOf(FoldBy(model, options));
    for (const int d : {0, 1, 6}) {
      for (const Module m : {Module::kV, Module::kDown}) {
        EXPECT_EQ(Values(unrolled, d, m), Values(model, d, m));
        EXPECT_EQ(Values(unrolled, d, m, "bias"), Values(model, d, m, "bias"));
      }
    }
  }
}

TEST(FoldTest, BiasesAreOwnOrTied) {
  const Model model = RandomModel(PythiaConfig(4), 7);
  FoldOptions options = Options("cycle", 2, 4);
  const Model own = UnrollOf(FoldBy(model, options));
  EXPECT_EQ(Values(own, 3, Module::kUp, "bias"), Values(model, 3, Module::kUp, "bias"));
  options.tie_biases = true;
  const Model tied = UnrollOf(FoldBy(model, options));
  const std::vector<float> a = Values(model, 1, Module::kUp, "bias");
  const std::vector<float> b = Values(model, 3, Module::kUp, "bias");
  const std::vector<float> got = Values(tied, 3, Module::kUp, "bias");
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], (a[i] + b[i]) / 2);
}

// W (γ ⊙ x̂ + β) + b must not change for any x̂.
TEST(FoldTest, AbsorbedLayerNormBiasMovesIntoTheLinear) {
  const Model model = RandomModel(PythiaConfig(4), 8);
  FoldOptions options = Options("cycle", 2, kFull);
  options.norms = NormPolicy::kAbsorb;
  const Model unrolled = UnrollOf(FoldBy(model, options));
  EXPECT_THAT(Values(unrolled, 2, Module::kAttnNorm, "bias"), testing::Each(0.0f));
  const std::vector<float> w = Values(model, 2, Module::kK);
  const std::vector<float> beta = Values(model, 2, Module::kAttnNorm, "bias");
  const std::vector<float> b = Values(model, 2, Module::kK, "bias");
  const std::vector<float> got = Values(unrolled, 2, Module::kK, "bias");
  for (size_t i = 0; i < b.size(); ++i) {
    double want = b[i];
    for (size_t j = 0; j < beta.size(); ++j) want += double{w[i * beta.size() + j]} * beta[j];
    EXPECT_NEAR(got[i], want, kEps32 * (std::abs(want) + 1));
  }
}

TEST(FoldTest, TiedNormsFollowTheInitialisation) {
  const Model model = RandomModel(GemmaConfig(4), 9);
  FoldOptions options = Options("sequence", 2, 4);
  options.norms = NormPolicy::kTied;
  const Model folded = FoldBy(model, options);
  const std::vector<float> got = Values(folded, 1, Module::kPostFfnNorm);
  const std::vector<float> a = Values(model, 2, Module::kPostFfnNorm);
  const std::vector<float> b = Values(model, 3, Module::kPostFfnNorm);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], (a[i] + b[i]) / 2);
}

TEST(FoldTest, CopiedBlocksKeepTheirType) {
  Model model = RandomModel(LlamaConfig(4), 10);
  for (int d = 0; d < 4; ++d) {
    const std::string name = BlockTensor(d, Module::kGate);
    model.weights.Set(name, Cast(model.weights.Get(name), DType::kBF16));
  }
  FoldOptions options = Options("cycle", 2, kFull);
  options.init = InitKind::kUpper;
  const Model folded = FoldBy(model, options);
  EXPECT_EQ(folded.weights.Get(BlockTensor(0, Module::kGate)).dtype(), DType::kBF16);
  ExpectSameFunction(model, UnrollOf(folded), false);
}

bool SameBytes(const Model& a, const Model& b) {
  return std::equal(a.weights.begin(), a.weights.end(), b.weights.begin(), b.weights.end(),
                    [](const auto& x, const auto& y) {
                      return x.first == y.first &&
                             std::ranges::equal(x.second.bytes(), y.second.bytes());
                    });
}

TEST(FoldTest, DoesNotDependOnThreads) {
  const Model model = RandomModel(LlamaConfig(8), 11);
  for (const InitKind init : {InitKind::kAverage, InitKind::kRandom}) {
    FoldOptions options = Options("cycle", 3, 5);
    options.init = init;
    options.residual = ResidualKind::kDora;
    EXPECT_TRUE(SameBytes(FoldBy(model, options, 1), FoldBy(model, options, 4)));
  }
}

TEST(FoldTest, RandomBlocksFollowTheSeedAndDifferFromEachOther) {
  const Model model = RandomModel(LlamaConfig(6), 12);
  FoldOptions options = Options("cycle", 2, 0);
  options.init = InitKind::kRandom;
  const Model first = FoldBy(model, options);
  EXPECT_NE(Values(first, 0, Module::kO), Values(first, 1, Module::kO));
  EXPECT_NE(Values(first, 0, Module::kO), Values(first, 0, Module::kQ));
  options.seed = 1;
  EXPECT_NE(Values(first, 0, Module::kO), Values(FoldBy(model, options), 0, Module::kO));
}

TEST(FoldTest, PrefixVectorsAreSmallFollowTheSeedAndStayWhenUnrolled) {
  const Model model = RandomModel(LlamaConfig(6), 12);
  FoldOptions options = Options("cycle", 2, 0);
  options.prefix = 5;
  const Model folded = FoldBy(model, options);
  const auto values = [](const Model& m, int depth, const char* part) {
    return ToF32(m.weights.Get(PrefixTensor(depth, part)));
  };
  EXPECT_EQ(values(folded, 5, "k").size(), 5u * 8);
  EXPECT_NE(values(folded, 0, "k"), values(folded, 0, "v"));
  EXPECT_NE(values(folded, 0, "k"), values(folded, 3, "k"));
  EXPECT_GT(Largest(values(folded, 0, "k")), 0);
  EXPECT_LT(Largest(values(folded, 0, "k")), 0.1);
  EXPECT_EQ(values(FoldBy(model, options, 1), 4, "v"), values(folded, 4, "v"));
  const Model unrolled = UnrollOf(folded);
  EXPECT_EQ(unrolled.plan.prefix, 5);
  EXPECT_EQ(values(unrolled, 2, "v"), values(folded, 2, "v"));
  EXPECT_THROW(FoldBy(unrolled, options), Error);
  options.seed = 1;
  EXPECT_NE(values(FoldBy(model, options), 4, "v"), values(folded, 4, "v"));
}

// Whatever the kind, zero residuals leave every depth with the shared matrix.
TEST(FoldTest, ResidualsThatStartAtZeroAddNothing) {
  const Model model = RandomModel(LlamaConfig(6), 14);
  const Model plain = UnrollOf(FoldBy(model, Options("cycle", 2, 0)));
  for (const ResidualKind kind : {ResidualKind::kLora, ResidualKind::kLoraDiag, ResidualKind::kDora,
                                  ResidualKind::kMulDiag, ResidualKind::kKronecker}) {
    FoldOptions options = Options("cycle", 2, 4);
    options.residual = kind;
    options.residual_start = ResidualStart::kZero;
    const Model folded = FoldBy(model, options), unrolled = UnrollOf(folded);
    for (int d = 0; d < 6; ++d) {
      for (const Module m : {Module::kQ, Module::kK, Module::kDown}) {
        const std::vector<float> expected = Values(plain, d, m), found = Values(unrolled, d, m);
        // Only DoRA rounds: a length divided by itself, and the product with it.
        const double bound = kind == ResidualKind::kDora ? 4 * kEps32 * Largest(expected) : 0;
        for (size_t i = 0; i < found.size(); ++i) ASSERT_NEAR(found[i], expected[i], bound);
      }
    }
  }
}

TEST(FoldTest, FactorsThatStartAtZeroCanLearn) {
  const Model model = RandomModel(LlamaConfig(6), 15);
  FoldOptions options = Options("cycle", 2, 4);
  options.residual_start = ResidualStart::kZero;
  const Model folded = FoldBy(model, options);
  const auto factor = [&](const Model& m, int depth, const char* part) {
    return ToF32(m.weights.Get(ResidualTensor(depth, Module::kDown, part)));
  };
  EXPECT_THAT(factor(folded, 0, "b"), testing::Each(0.0f));
  const double largest = Largest(factor(folded, 0, "a"));
  EXPECT_LE(largest, 1 / std::sqrt(40.0));  // d_ff
  EXPECT_GT(largest, 0.9 / std::sqrt(40.0));
  EXPECT_NE(factor(folded, 0, "a"), factor(folded, 3, "a"));
  options.seed = 1;
  EXPECT_NE(factor(folded, 0, "a"), factor(FoldBy(model, options), 0, "a"));
}

TEST(FoldTest, DifferentOrdersForDifferentGroups) {
  const Model model = RandomModel(LlamaConfig(6), 13);
  FoldOptions options = Options("cycle", 2, kFull);
  options.order[1] = {.order = "custom", .blocks = {0, 1, 1, 0, 2, 0}};
  const Model folded = FoldBy(model, options);
  EXPECT_EQ(folded.plan[Module::kQ].BlockCount(), 3);
  EXPECT_THAT(folded.plan[Module::kUp].blocks, testing::ElementsAre(0, 1, 1, 0, 2, 0));
  ExpectSameFunction(model, UnrollOf(folded), false);
}

TEST(FoldTest, IdentityKeepsTheModelAndCanBeFoldedAgain) {
  const Model model = RandomModel(PythiaConfig(4), 14);
  const Model same = FoldBy(model, Options("identity", 2, 8));
  EXPECT_TRUE(SameBytes(model, same));
  EXPECT_NO_THROW(FoldBy(same, Options("cycle", 2, 8)));
}

TEST(FoldTest, RefusesWhatCannotBeFolded) {
  const Model model = RandomModel(LlamaConfig(4), 15);
  const FoldOptions options = Options("cycle", 2, 4);
  const Model folded = FoldBy(model, options);
  EXPECT_THROW(FoldBy(folded, options), Error);
  EXPECT_NO_THROW(FoldBy(UnrollOf(folded), options));

  ThreadPool pool(1);
  const SharingPlan other = MakePlan(LlamaConfig(6), options);
  EXPECT_THROW(Fold(model, other, options, pool), Error);

  Model broken = model;
  broken.weights.Erase(BlockTensor(1, Module::kV));
  EXPECT_THROW(FoldBy(broken, options), Error);

  Model nan = model;
  std::vector<float> values = Values(model, 1, Module::kV);
  values[5] = std::numeric_limits<float>::quiet_NaN();
  nan.weights.Set(BlockTensor(1, Module::kV),
                  Tensor::FromF32(model.config.ModuleShape(Module::kV), values));
  EXPECT_THROW(FoldBy(nan, options), Error);
}

}  // namespace
}  // namespace rondo
