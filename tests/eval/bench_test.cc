#include "eval/bench.h"

#include <gmock/gmock.h>

#include <string>

#include "engine/random_model.h"
#include "rondo/error.h"
#include "rondo/thread_pool.h"

namespace rondo {
namespace {

void ExpectOrdered(const Rates& rates) {
  EXPECT_GT(rates.min, 0);
  EXPECT_LE(rates.min, rates.median);
  EXPECT_LE(rates.median, rates.max);
}

class BenchTest : public testing::Test {
 protected:
  BenchTest() : model_(RandomModel(SmallConfig())), engine_(model_, {}, pool_) {}

  ThreadPool pool_{2};
  Model model_;
  Engine engine_;
};

TEST_F(BenchTest, MeasuresBothPhasesAndWhatTheyRead) {
  const BenchOptions options{.prefill = 20, .decode = 8, .batch = 3, .context = 5, .repeat = 4};
  const BenchResult result = Bench(engine_, options, pool_);
  ExpectOrdered(result.prefill);
  ExpectOrdered(result.decode);
  // The model is far smaller than any cache: no weight is read from memory.
  uint64_t step_bytes = 0;
  for (const WeightRead& read : engine_.ReadOrder()) step_bytes += read.bytes;
  EXPECT_DOUBLE_EQ(result.traffic.cached_weights, static_cast<double>(step_bytes) / 3);
  EXPECT_EQ(result.traffic.memory_weights, 0);
  // Mean length 5 + 4. A position holds two vectors of kv_heads · head_dim floats for every depth,
  // padded to whole panels of 16.
  const ModelConfig& config = model_.config;
  const double position = 2.0 * config.kv_heads * config.head_dim * 4 * config.layers;
  EXPECT_GE(result.traffic.kv, 9 * position);
  EXPECT_LE(result.traffic.kv, 9 * position * 16 / config.head_dim);
  EXPECT_GT(result.CeilingTokensPerSecond(), 0);
  EXPECT_GT(result.peak_memory_bytes, 0);
}

TEST_F(BenchTest, APhaseOfZeroTokensIsLeftOut) {
  const BenchResult prefill = Bench(engine_, {.prefill = 4, .decode = 0, .repeat = 1}, pool_);
  ExpectOrdered(prefill.prefill);
  EXPECT_EQ(prefill.decode.max, 0);
  EXPECT_EQ(prefill.CeilingTokensPerSecond(), 0);
  const BenchResult decode = Bench(engine_, {.prefill = 0, .decode = 4, .repeat = 1}, pool_);
  EXPECT_EQ(decode.prefill.max, 0);
  ExpectOrdered(decode.decode);
}

TEST_F(BenchTest, RefusesWhatMakesNoSense) {
  struct Case {
    BenchOptions options;
    const char* field;
  };
  const int most = model_.config.max_positions;
  for (const Case& c :
       {Case{{.prefill = -1}, "prefill"}, Case{{.prefill = 0, .decode = 0}, "decode"},
        Case{{.prefill = most + 1}, "prefill"},
        Case{{.prefill = 1, .decode = most, .context = 1}, "decode"},
        Case{{.prefill = 1, .decode = 1, .batch = 0}, "batch"},
        Case{{.prefill = 1, .decode = 1, .batch = 1 << 30}, "batch"},
        Case{{.prefill = 1, .decode = 1, .context = -1}, "context"},
        Case{{.prefill = 1, .decode = 1, .repeat = 0}, "repeat"}}) {
    try {
      Bench(engine_, c.options, pool_);
      ADD_FAILURE() << c.field << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.info().field, c.field);
    }
  }
}

}  // namespace
}  // namespace rondo
