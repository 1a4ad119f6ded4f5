#include "report/run_report.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>

#include "base/temp_dir.h"
#include "report/run_curves.h"
#include "report/run_table.h"
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

// One run that ties beside one that does not: not a line for every setting of tying.
TEST_F(Runs, ASectionThatARunLacksIsOneEntry) {
  const std::string tying = "[tying]\na = 1\nb = 2\nc = 3\nd = ";
  const auto runs =
      LoadRuns({Make("a", 4, "lr = 1.0\n"), Make("b", 4, "lr = 1.0\n" + tying + "4\n"),
                Make("c", 4, "lr = 1.0\n" + tying + "5\n")});
  EXPECT_THAT(RecipeDifferences(runs),
              ElementsAre(Pair("tying", ElementsAre("", "4 keys", "4 keys")),
                          Pair("tying.d", ElementsAre("", "4", "5"))));
}

TEST_F(Runs, PerplexitiesOfDifferentTextsAreMarked) {
  const auto recipe = [](const std::string& text, int context) {
    return "[valid]\ntext = \"" + text + "\"\ncontext = " + std::to_string(context) + "\n";
  };
  const std::string a = Make("a", 4, recipe("x.txt", 512)),
                    same = Make("b", 4, recipe("x.txt", 512));
  const std::string other = Make("c", 4, recipe("y.txt", 256)), without = Make("d", 4, "");
  EXPECT_THAT(ValidationDifferences(LoadRuns({a, same, without})), IsEmpty());
  EXPECT_THAT(RunReportHtml(LoadRuns({a, same})), Not(HasSubstr("cannot be compared")));
  const auto runs = LoadRuns({a, other});
  EXPECT_THAT(ValidationDifferences(runs), ElementsAre("valid.text", "valid.context"));
  const std::string page = RunReportHtml(runs);
  EXPECT_THAT(page, HasSubstr("<td>60 *</td>"));
  EXPECT_THAT(page, HasSubstr("cannot be compared: the runs differ in valid.text, valid.context"));
}

TEST_F(Runs, WhatComputedThemIsShown) {
  const std::string path = Make("a", 4, "");
  RunLog log = RunLog::Resume(path + "/metrics.jsonl", 4);
  log.Append(
      {.step = 4, .names = {{"commit", "abc"}, {"cpu", "one"}}, .event = "run", .text = "r"});
  log.Append(
      {.step = 4, .names = {{"commit", "def"}, {"cpu", "one"}}, .event = "run", .text = "r"});
  const auto runs = LoadRuns({path, Make("b", 4, "")});
  EXPECT_THAT(Provenances(runs), ElementsAre(Pair("commit", ElementsAre("abc, then def", "")),
                                             Pair("cpu", ElementsAre("one", ""))));
  EXPECT_THAT(RunReportHtml(runs), HasSubstr("<td>abc, then def</td>"));
}

TEST_F(Runs, StepsAreCountedInWholeNumbersAndTitlesAreWords) {
  const std::string path = Make("a", 604, "");
  RunLog log = RunLog::Resume(path + "/metrics.jsonl", 604);
  log.Append(
      {.step = 604, .more = {{"agent_loss", 1}, {"gate_loss_2", 1}, {"stored_parameters", 1}}});
  std::string all;
  for (const std::string& picture : RunCurves(LoadRuns({path}), RunAxis::kSteps)) all += picture;
  EXPECT_THAT(all, AllOf(HasSubstr(">200<"), HasSubstr(">400<"), HasSubstr(">600<")));
  EXPECT_THAT(all, Not(HasSubstr(">121.6<")));  // a fifth of the way from 1 to 604
  EXPECT_THAT(all, AllOf(HasSubstr(">loss of the agent that ties<"),
                         HasSubstr(">loss of the exit gate 2<"), HasSubstr(">stored parameters<")));
}

TEST_F(Runs, ATableHasARowForEveryLine) {
  const std::string path = Make("a, b", 2, "");
  RunLog log = RunLog::Resume(path + "/metrics.jsonl", 2);
  log.Append({.step = 2, .event = "sample", .text = "He said \"no\",\nand left."});
  EXPECT_EQ(RunsCsv(LoadRuns({path})),
            "run,step,tokens,seconds,alpha,loss,resident_bytes,tokens_per_s,valid_perplexity,event,"
            "text\n"
            "\"a, b\",1,1000,6,1,4.5,1073742848,101,50,,\n"
            "\"a, b\",2,2000,12,0.5,4,1073741824,102,60,,\n"
            "\"a, b\",2,0,0,,,,,,sample,\"He said \"\"no\"\",\nand left.\"\n");
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
