#include "base/run_log.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "base/file.h"
#include "base/file_size_limit.h"
#include "base/temp_dir.h"
#include "rondo/error.h"

namespace rondo {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

RunMetrics Line(int64_t step) {
  return {.step = step, .tokens = step * 100, .seconds = 0.1 * static_cast<double>(step)};
}

std::vector<int64_t> Steps(const std::string& path) {
  std::vector<int64_t> steps;
  for (const RunMetrics& line : ReadRunLog(path)) steps.push_back(line.step);
  return steps;
}

void Add(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::app) << text;
}

TEST(RunLog, GivesBackEveryField) {
  TempDir dir;
  const RunMetrics full = {.step = 3,
                           .tokens = 6'000'000'000,
                           .seconds = 0.1,
                           .loss = 1.0 / 3,
                           .ce = 2,
                           .kd = -1e-300,
                           .lr = 5e-4,
                           .grad_norm = 1e30,
                           .tokens_per_s = 170.5,
                           .resident_bytes = int64_t{1} << 40,
                           .valid_perplexity = 18.85,
                           .more = {{"alpha", 0.5}, {"hidden", 2}},
                           .names = {{"cpu", "a \"processor\""}},
                           .event = "sample",
                           .text = "two\nlines, \"quoted\" café"};
  RunLog log = RunLog::Start(dir.File("m"));
  log.Append(Line(0));
  log.Append(full);
  EXPECT_EQ(ReadRunLog(dir.File("m")), (std::vector<RunMetrics>{Line(0), full}));
}

TEST(RunLog, ValuesThatAreNotFiniteAreAbsentAndBadBytesAreReplaced) {
  TempDir dir;
  RunMetrics line = Line(1);
  line.loss = std::numeric_limits<double>::quiet_NaN();
  line.grad_norm = std::numeric_limits<double>::infinity();
  line.text = "half a character: \xC3";
  RunLog::Start(dir.File("m")).Append(line);
  const RunMetrics read = ReadRunLog(dir.File("m")).at(0);
  EXPECT_EQ(read.loss, std::nullopt);
  EXPECT_EQ(read.grad_norm, std::nullopt);
  EXPECT_EQ(read.text, "half a character: \uFFFD");
}

TEST(RunLog, StartOverwritesNoRun) {
  TempDir dir;
  RunLog::Start(dir.File("m")).Append(Line(1));
  EXPECT_THAT([&] { RunLog::Start(dir.File("m")); },
              ThrowsMessage<Error>(AllOf(HasSubstr("/m"), HasSubstr("File exists"))));
  EXPECT_EQ(Steps(dir.File("m")), std::vector<int64_t>{1});
}

TEST(RunLog, ResumeCutsLaterStepsAndATornLine) {
  TempDir dir;
  const std::string path = dir.File("m");
  {
    RunLog log = RunLog::Start(path);
    for (const int64_t step : {0, 10, 20, 20, 30, 40}) log.Append(Line(step));
  }
  Add(path, "{\"step\": 50, \"tok");
  EXPECT_EQ(Steps(path).size(), 6u);
  {
    RunLog log = RunLog::Resume(path, 20);
    EXPECT_EQ(Steps(path), (std::vector<int64_t>{0, 10, 20, 20}));
    EXPECT_TRUE(ReadTextFile(path).ends_with("}\n"));
    log.Append({.step = 20, .event = "resume"});
    log.Append(Line(30));
    EXPECT_THAT([&] { log.Append(Line(29)); }, ThrowsMessage<Error>(HasSubstr("step 29")));
  }
  EXPECT_EQ(Steps(path), (std::vector<int64_t>{0, 10, 20, 20, 20, 30}));
  RunLog::Resume(path, 5).Append(Line(7));
  EXPECT_EQ(Steps(path), (std::vector<int64_t>{0, 7}));
  RunLog::Resume(path, -1);
  EXPECT_EQ(ReadTextFile(path), "");
  RunLog::Resume(dir.File("new"), 5).Append(Line(6));
  EXPECT_EQ(Steps(dir.File("new")), std::vector<int64_t>{6});
}

TEST(RunLog, SurvivesBeingKilledAtAnyMoment) {
  TempDir dir;
  const std::string path = dir.File("m");
  int64_t done = 0;
  for (useconds_t round = 0; round < 20; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      RunLog log = RunLog::Resume(path, done);
      for (int64_t step = done + 1; step <= done + 5000; ++step) log.Append(Line(step));
      pause();
    }
    usleep(1000 + 311 * round);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    if (!std::filesystem::exists(path)) continue;
    const auto steps = Steps(path);
    ASSERT_GE(std::ssize(steps), done);
    done = std::ssize(steps);
    for (int64_t i = 0; i < done; ++i) ASSERT_EQ(steps[static_cast<size_t>(i)], i + 1);
  }
  EXPECT_GT(done, 0);
}

TEST(RunLog, FullDiskIsAnErrorAndKeepsTheLogWhole) {
  TempDir dir;
  RunLog log = RunLog::Start(dir.File("m"));
  log.Append(Line(1));
  {
    FileSizeLimit limit(100);
    RunMetrics large = Line(2);
    large.text = std::string(1000, 'x');
    EXPECT_THAT([&] { log.Append(large); },
                ThrowsMessage<Error>(AllOf(HasSubstr("/m"), HasSubstr("cannot write"))));
    EXPECT_TRUE(ReadTextFile(dir.File("m")).ends_with("}\n"));
  }
  log.Append(Line(2));
  log.Sync();
  EXPECT_EQ(Steps(dir.File("m")), (std::vector<int64_t>{1, 2}));
}

TEST(RunLog, MalformedLinesNameFileLineAndField) {
  TempDir dir;
  for (const auto& [line, where, message] :
       {std::tuple{"{\"step\": 1.5}", "line 2: step", "an integer"},
        {"{\"step\": 1, \"loss\": \"low\"}", "line 2: loss", "a number"},
        {"{\"step\": 1, \"event\": 4}", "line 2: event", "a string"},
        {"{\"step\": 1, \"new\": []}", "line 2: new", "a number"},
        {"{\"tokens\": 1}", "line 2", "no step"},
        {"[]", "line 2", "no step"},
        {"{\"step\": 1", "line 2", "JSON"},
        {"", "line 2", "JSON"}}) {
    const std::string path = dir.File("m");
    std::ofstream(path) << "{\"step\": 0}\n" << line << "\n{\"step\": 3}\n";
    EXPECT_THAT([&] { ReadRunLog(path); },
                ThrowsMessage<Error>(AllOf(HasSubstr("/m"), HasSubstr(where), HasSubstr(message))))
        << line;
    EXPECT_THROW(RunLog::Resume(path, 0), Error);
  }
  EXPECT_THROW(ReadRunLog(dir.File("missing")), Error);
  RunMetrics line = Line(1);
  line.more["loss"] = 1;
  RunLog log = RunLog::Start(dir.File("n"));
  EXPECT_THAT([&] { log.Append(line); }, ThrowsMessage<Error>(HasSubstr("'loss'")));
  line = Line(1);
  line.more["alpha"] = 1;
  line.names["alpha"] = "one";
  EXPECT_THAT([&] { log.Append(line); }, ThrowsMessage<Error>(HasSubstr("'alpha'")));
}

}  // namespace
}  // namespace rondo
