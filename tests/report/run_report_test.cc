#include "report/run_report.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "report/run_curves.h"
#include "report/tie_picture.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing::ThrowsMessage;

class Runs : public testing::Test {
 protected:
  // A run of `steps` lines whose loss falls from 5 to 4.
  std::string Make(const std::string& name, int steps, const std::string& recipe) {
    const std::string path = dir_.File(name);
    fs::create_directories(path);
    RunLog log = RunLog::Start(path + "/metrics.jsonl");
    for (int i = 1; i <= steps; ++i) {
      RunMetrics line = {.step = i, .tokens = i * 1000, .seconds = i * 6.0};
      line.loss = 5 - static_cast<double>(i) / steps;
      line.tokens_per_s = 100 + i % 3;
      line.resident_bytes = (int64_t{1} << 30) + (i == steps / 2 ? 1024 : 0);
      if (i % (steps / 2) == 0) line.valid_perplexity = i == steps ? 60 : 50;
      line.more["alpha"] = 1.0 / i;
      log.Append(line);
    }
    if (!recipe.empty()) std::ofstream(path + "/resolved.toml") << recipe;
    return path;
  }
  TempDir dir_;
};

TEST_F(Runs, SummariesAreOfTheWholeRun) {
  const auto runs = LoadRuns({Make("a", 100, "") + "/"});
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].name, "a");
  const RunSummary s = Summarise(runs[0]);
  EXPECT_EQ(s.steps, 100);
  EXPECT_EQ(s.tokens, 100'000);
  EXPECT_EQ(s.seconds, 600);
  EXPECT_NEAR(*s.loss, 5 - 0.98, 1e-12);  // mean of steps 96 to 100
  EXPECT_EQ(s.valid_perplexity, 60);
  EXPECT_EQ(s.best_valid_perplexity, 50);
  EXPECT_EQ(s.tokens_per_s, 101);
  EXPECT_EQ(s.peak_resident_bytes, (int64_t{1} << 30) + 1024);
}

TEST_F(Runs, RecipesAreComparedKeyByKey) {
  const auto runs = LoadRuns(
      {Make("a", 4,
            "lr = 5e-4\nname = \"x\"\n[data]\nfiles = [\"f\", \"g\"]\n[[stages]]\nkd = true\n"),
       Make("b", 4,
            "lr = 0.25\nname = \"x\"\n[data]\nfiles = [\"f\"]\n[[stages]]\nkd = false\n"
            "[[stages]]\nkd = true\n"),
       Make("c", 4, "")});
  EXPECT_THAT(RecipeDifferences(runs),
              ElementsAre(Pair("data.files", ElementsAre("['f', 'g']", "['f']", "")),
                          Pair("lr", ElementsAre("0.0005", "0.25", "")),
                          Pair("stages[0].kd", ElementsAre("true", "false", "")),
                          Pair("stages[1].kd", ElementsAre("", "true", ""))));
  EXPECT_THAT(RecipeDifferences({runs[0], runs[0]}), IsEmpty());
}

TEST_F(Runs, RunsOfOneNameAreToldApart) {
  const auto runs = LoadRuns({Make("x/run", 4, ""), Make("y/run", 4, ""), Make("z", 4, "")});
  EXPECT_THAT(runs[0].name, AllOf(HasSubstr("1 "), HasSubstr("x/run")));
  EXPECT_THAT(runs[1].name, AllOf(HasSubstr("2 "), HasSubstr("y/run")));
  EXPECT_EQ(runs[2].name, "z");
}

TEST_F(Runs, BadRunsAreErrorsNamingTheFile) {
  EXPECT_THAT([&] { LoadRuns({dir_.File("none")}); }, ThrowsMessage<Error>(HasSubstr("none")));
  const std::string path = Make("a", 4, "lr = \n");
  EXPECT_THAT([&] { LoadRuns({path}); },
              ThrowsMessage<Error>(AllOf(HasSubstr("resolved.toml"), HasSubstr("line 1"))));
  std::ofstream(dir_.File("empty.jsonl")).flush();
  EXPECT_THAT([&] { LoadRuns({dir_.File("empty.jsonl")}); },
              ThrowsMessage<Error>(AllOf(HasSubstr("empty.jsonl"), HasSubstr("no complete line"))));
}

TEST_F(Runs, EveryMetricThatARunHasIsACurve) {
  const auto runs = LoadRuns({Make("a", 1000, ""), Make("b", 30, "")});
  for (const RunAxis axis : {RunAxis::kSteps, RunAxis::kTokens, RunAxis::kMinutes}) {
    std::string all;
    const auto pictures = RunCurves(runs, axis);
    for (const std::string& picture : pictures) all += picture;
    EXPECT_EQ(pictures.size(), 5u);
    for (const char* title :
         {">loss<", ">validation perplexity<", ">speed<", ">resident memory<", ">alpha<"}) {
      EXPECT_THAT(all, HasSubstr(title));
    }
    EXPECT_THAT(all, Not(HasSubstr("learning rate")));
  }
}

TEST_F(Runs, TextOfRunsIsEscapedAndKeepsItsLines) {
  const std::string path = Make("a", 4, "");
  RunLog log = RunLog::Resume(path + "/metrics.jsonl", 4);
  log.Append({.step = 4, .event = "sample", .text = "<script>alert(1)</script>\nnext & last"});
  log.Append({.step = 4, .event = "spike", .text = "loss 9 > 3"});
  const std::string page = RunReportHtml(LoadRuns({path}));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;\nnext &amp; last</pre>"));
  EXPECT_THAT(page, HasSubstr("spike: loss 9 &gt; 3"));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
}

// One rectangle for as long as a layer uses the same weights; decisions are no events of the list.
TEST_F(Runs, TiesOfLayersAreDrawn) {
  const std::string path = dir_.File("ties");
  fs::create_directories(path);
  RunLog log = RunLog::Start(path + "/metrics.jsonl");
  const std::vector<std::pair<int, std::string>> ties = {
      {0, "layer: 0 . ."}, {4, "layer: 0 0 ."}, {8, "layer: 0 0 2"}, {12, "layer: 0 1 2"}};
  for (const auto& [step, text] : ties) {
    RunMetrics line = {.step = step, .event = "tie", .text = text};
    line.more = {{"decision", step / 4.0}, {"epsilon", 1.0}};
    log.Append(line);
  }
  log.Append({.step = 20, .loss = 3});
  const auto runs = LoadRuns({path});
  const auto pictures = TiePictures(runs[0]);
  ASSERT_EQ(pictures.size(), 1u);
  const std::string& svg = pictures[0];
  EXPECT_THAT(svg, HasSubstr("layer 0 uses layer 0, steps 0 to 20"));
  EXPECT_THAT(svg, HasSubstr("layer 1 uses layer 0, steps 4 to 12"));
  EXPECT_THAT(svg, HasSubstr("layer 1 uses layer 1, steps 12 to 20"));
  EXPECT_THAT(svg, HasSubstr("layer 2 uses layer 2, steps 8 to 20"));
  EXPECT_THAT(svg, Not(HasSubstr("layer 2 uses layer 2, steps 0")));
  const std::string page = RunReportHtml(runs);
  EXPECT_THAT(page, HasSubstr("layer 1 uses layer 0"));
  EXPECT_THAT(page, HasSubstr("epsilon"));
  EXPECT_THAT(page, Not(HasSubstr("decision</")));
  EXPECT_THAT(page, Not(HasSubstr(": tie:")));
}

}  // namespace
}  // namespace rondo
