#include "eval/task_state.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/file.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

const ExampleScores kScores = {{{-0.1, true}, {-1.0 / 3, false}}, {{-2, true}, {-1e-300, false}}};

class TaskStateTest : public testing::Test {
 protected:
  std::unique_ptr<TaskState> Open(const std::string& run = "run", std::vector<int> loops = {1, 2}) {
    return std::make_unique<TaskState>(path_, run, loops);
  }
  void Write(const std::string& text) {
    AtomicFile file(path_);
    file.Write(text);
    file.Commit();
  }
  TempDir directory_;
  std::string path_ = directory_.File("state");
};

TEST_F(TaskStateTest, ScoresComeBackBitForBit) {
  auto state = Open();
  EXPECT_EQ(state->Find("a"), nullptr);
  state->Add("piqa", 7, "a", kScores);
  state->Flush();
  state.reset();
  state = Open();
  const ExampleScores* found = state->Find("a");
  ASSERT_NE(found, nullptr);
  for (size_t loop = 0; loop < 2; ++loop) {
    for (size_t row = 0; row < 2; ++row) {
      EXPECT_EQ((*found)[loop][row].log_likelihood, kScores[loop][row].log_likelihood);
      EXPECT_EQ((*found)[loop][row].greedy, kScores[loop][row].greedy);
    }
  }
}

TEST_F(TaskStateTest, WhateverIsLeftAfterAnInterruptionIsRead) {
  auto state = Open();
  state->Add("piqa", 0, "a", kScores);
  state->Add("piqa", 1, "b", kScores);
  state->Flush();
  state.reset();
  const std::string whole = ReadTextFile(path_);
  const size_t second = whole.rfind('\n', whole.size() - 2) + 1;
  const size_t first = whole.find('\n') + 1;
  for (size_t size = 0; size <= whole.size(); ++size) {
    Write(whole.substr(0, size));
    state = Open();
    EXPECT_EQ(state->Find("a") != nullptr, size >= second) << size;
    EXPECT_EQ(state->Find("b") != nullptr, size == whole.size()) << size;
    state->Add("piqa", 2, "c", kScores);
    state->Flush();
    state.reset();
    state = Open();
    EXPECT_NE(state->Find("c"), nullptr) << size;
    EXPECT_EQ(state->Find("a") != nullptr, size >= second) << size;
    state.reset();
  }
  EXPECT_LT(first, second);
}

TEST_F(TaskStateTest, RefusesWhatIsNotItsOwn) {
  auto state = Open();
  EXPECT_THROW(Open(), Error);  // while it is in use
  state.reset();
  EXPECT_THROW(Open("another run"), Error);
  EXPECT_THROW(Open("run", {2}), Error);
  const std::string header = ReadTextFile(path_);
  for (const char* line :
       {"{}", "[]", "nonsense", R"({"tokens": "a"})", R"({"tokens": "a", "scores": [[[1, true]]]})",
        R"({"tokens": "a", "scores": [[[1, 1]], []]})"}) {
    Write(header + line + "\n");
    EXPECT_THROW(Open(), Error) << line;
  }
  for (const char* text : {"notes", "notes\n", "{\"a\": 1}\n"}) {
    Write(text);
    EXPECT_THROW(Open(), Error) << text;
    EXPECT_EQ(ReadTextFile(path_), text);
  }
}

}  // namespace
}  // namespace rondo
