#include "eval/task_record.h"

#include <gtest/gtest.h>

#include "eval/task_shots.h"
#include "eval/task_spec.h"
#include "rondo/error.h"

namespace rondo {
namespace {

// Expected texts were printed by the harness's tasks/hellaswag/utils.py.
TEST(CleanHellaSwagTest, RemovesMarksAsTheHarnessDoes) {
  EXPECT_EQ(CleanHellaSwag(" [header] How to  mow [title] Find   it. [step] Go"),
            " How to mow. Find  it. Go");
  EXPECT_EQ(CleanHellaSwag("a [b\nc] d]"), "a [b\nc] d]");
  EXPECT_EQ(CleanHellaSwag("\u00a0x [title][y]\u2003"), "x. ");
  EXPECT_EQ(CleanHellaSwag("[[a]b] c"), "b] c");
}

std::vector<TaskRecord> Letters(const std::string& letters) {
  std::vector<TaskRecord> records;
  for (const char letter : letters) {
    records.push_back({.shot = std::string(1, letter), .identity = std::string(1, letter)});
  }
  return records;
}

// Expected draws were printed by the harness's ContextSampler.
TEST(ShotSamplerTest, DrawsAsTheHarness) {
  const auto records = Letters("abcdefgh");
  ShotSampler sampler(records, 2, 7, /*draws_one_more=*/false);
  for (const char* expected : {"fb", "gf", "ah", "bc"}) {
    EXPECT_EQ(sampler.Draw(records[0]), expected);
  }
}

TEST(ShotSamplerTest, LeavesTheRecordItselfOutAsTheHarness) {
  const auto records = Letters("aabacaad"), asked = Letters("abzad");
  ShotSampler sampler(records, 3, 1234, /*draws_one_more=*/true);
  const char* expected[] = {"dbc", "aad", "ada", "bdc", "aca"};
  for (size_t i = 0; i < asked.size(); ++i) EXPECT_EQ(sampler.Draw(asked[i]), expected[i]) << i;
}

TEST(ShotSamplerTest, RefusesMoreThanThereAre) {
  const auto records = Letters("abc");
  EXPECT_NO_THROW(ShotSampler(records, 3, 1, false));
  EXPECT_THROW(ShotSampler(records, 3, 1, true), Error);
  EXPECT_EQ(ShotSampler({}, 0, 1, true).Draw(records[0]), "");
}

TEST(ParseTaskTest, KnowsNamesAndSplits) {
  EXPECT_EQ(ParseTask("lambada").spec->name, "lambada_openai");
  EXPECT_EQ(ParseTask("arc_easy").split, TaskSplit::kTest);
  EXPECT_FALSE(ParseTask("arc_easy").draws_one_more);
  EXPECT_EQ(ParseTask("arc_easy:train").split, TaskSplit::kTrain);
  EXPECT_TRUE(ParseTask("arc_easy:train").draws_one_more);
  EXPECT_EQ(ParseTask("piqa").split, TaskSplit::kValidation);
  for (const char* bad : {"", "arc", "arc_easy:", "arc_easy:dev", "mmlu"}) {
    EXPECT_THROW(ParseTask(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace rondo
