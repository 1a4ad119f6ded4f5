#include "eval/task_metrics.h"

#include <gtest/gtest.h>

#include "rondo/thread_pool.h"

namespace rondo {
namespace {

// Expected values were printed by the harness's api/metrics.py.
TEST(TaskMetricsTest, StandardErrorsAreThoseOfTheHarness) {
  const Statistic accuracy = MeanOf(std::vector<double>{1, 0, 0, 1, 1});
  EXPECT_DOUBLE_EQ(accuracy.value, 0.6);
  EXPECT_DOUBLE_EQ(accuracy.standard_error.value(), 0.24494897427831783);
  ThreadPool pool(2);
  const Statistic perplexity = PerplexityOf(std::vector<double>{-1.5, -0.25, -3.0, -2.0}, pool);
  EXPECT_DOUBLE_EQ(perplexity.value, 5.405948925141167);
  // 100,000 squares are added up, here and there in one order.
  EXPECT_NEAR(perplexity.standard_error.value(), 3.0800494472557642, 1e-10);
  EXPECT_FALSE(MeanOf(std::vector<double>{1}).standard_error);
  EXPECT_FALSE(PerplexityOf(std::vector<double>{-1}, pool).standard_error);
}

TEST(TaskMetricsTest, LikelihoodsAreRankedAsTheyAreAndByLength) {
  TaskRecord record;
  record.choices = {"no", "maybe", "évidé"};  // 2, 5 and 5 characters; 2, 5 and 7 bytes
  record.requests.resize(3);
  const std::vector<ExampleScores> scores = {{{{-3, false}, {-5, false}, {-5, false}}},
                                             {{{-3, false}, {-5.2, false}, {-5.1, false}}},
                                             {{{-4, false}, {-7.5, false}, {-11, false}}}};
  const auto score = [&](const char* task, size_t example, int answer) {
    record.answer = answer;
    ThreadPool pool(1);
    return ScoreTask(*ParseTask(task).spec, {&record, 1}, {&scores[example], 1}, 0, pool);
  };
  EXPECT_EQ(score("piqa", 0, 0).acc.value, 1);
  EXPECT_EQ(score("piqa", 0, 1).acc_norm->value, 1);   // the first of equals
  EXPECT_EQ(score("piqa", 0, 2).acc_bytes->value, 1);  // -1.5, -1, -0.71
  EXPECT_EQ(score("piqa", 1, 2).acc_norm->value, 1);
  EXPECT_EQ(score("piqa", 2, 1).acc_norm->value, 1);   // -2, -1.5, -2.2
  EXPECT_EQ(score("piqa", 2, 1).acc_bytes->value, 1);  // -2, -1.5, -1.57
  EXPECT_FALSE(score("winogrande", 0, 0).acc_norm);
  EXPECT_FALSE(score("piqa", 0, 0).perplexity);
}

}  // namespace
}  // namespace rondo
