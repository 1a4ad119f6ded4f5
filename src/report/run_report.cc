#include "report/run_report.h"

#include <algorithm>

#include "base/strings.h"
#include "report/run_curves.h"
#include "report/svg.h"
#include "report/tie_picture.h"

namespace rondo {
namespace {

using svg::Escape;

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>rondo: training runs</title>
<style>
body { font-family: sans-serif; color: #222; margin: 1.5em; }
table { border-collapse: collapse; margin-bottom: 1em; }
th, td { border: 1px solid #ccc; padding: 0.25em 0.6em; text-align: right; }
th:first-child, td:first-child, table.recipe td { text-align: left; }
pre { background: #f6f6f6; padding: 0.6em; white-space: pre-wrap; max-width: 60em; }
.plots { display: none; flex-wrap: wrap; gap: 0.5em; margin-top: 0.5em; }
#by-steps:checked ~ .steps, #by-tokens:checked ~ .tokens,
#by-minutes:checked ~ .minutes { display: flex; }
</style>
</head>
<body>
<h1>Training runs</h1>
)";

std::string Row(const char* cell, const std::vector<std::string>& values) {
  std::string row = "<tr>";
  for (const std::string& value : values) {
    row += std::string("<") + cell + ">" + Escape(value) + "</" + cell + ">";
  }
  return row + "</tr>\n";
}

std::string Number(const std::optional<double>& value, const char* format) {
  return value ? svg::Format(format, *value) : "";
}

std::string EventCounts(const RunSummary& summary) {
  std::vector<std::string> counts;
  for (const auto& [event, count] : summary.events) {
    counts.push_back(std::to_string(count) + " × " + event);
  }
  return Join(counts, ", ");
}

std::string FinalFigures(const std::vector<RunData>& runs) {
  const std::vector<std::string> differing = ValidationDifferences(runs);
  const char* mark = differing.empty() ? "" : " *";
  const auto perplexity = [&](const std::optional<double>& value) {
    return value ? Number(value, "%.4g") + mark : "";
  };
  std::string out =
      "<h2>Final figures</h2>\n<table class=\"figures\">\n" +
      Row("th", {"run", "steps", "tokens", "minutes", "loss (end)", "validation perplexity",
                 "lowest", "tokens/s (median)", "peak memory", "events"});
  for (const RunData& run : runs) {
    const RunSummary s = Summarise(run);
    out += Row(
        "td", {run.name, WithThousands(s.steps), WithThousands(s.tokens),
               svg::Format("%.1f", s.seconds / 60), Number(s.loss, "%.4f"),
               perplexity(s.valid_perplexity), perplexity(s.best_valid_perplexity),
               Number(s.tokens_per_s, "%.0f"),
               s.peak_resident_bytes
                   ? HumanBytes(static_cast<uint64_t>(std::max<int64_t>(*s.peak_resident_bytes, 0)))
                   : "",
               EventCounts(s)});
  }
  out += "</table>\n";
  if (differing.empty()) return out;
  return out + "<p>* These perplexities cannot be compared: the runs differ in " +
         Escape(Join(differing, ", ")) + ".</p>\n";
}

// A table of values by run.
std::string Compared(const std::vector<RunData>& runs, const char* title, const char* key_title,
                     const std::map<std::string, std::vector<std::string>>& rows) {
  if (rows.empty()) return {};
  std::vector<std::string> header = {key_title};
  for (const RunData& run : runs) header.push_back(run.name);
  std::string out = std::string("<h2>") + title + "</h2>\n<table class=\"recipe\">\n";
  out += Row("th", header);
  for (const auto& [key, values] : rows) {
    std::vector<std::string> row = {key};
    row.insert(row.end(), values.begin(), values.end());
    out += Row("td", row);
  }
  return out + "</table>\n";
}

// Radio buttons choose the axis by style sheet alone.
std::string Curves(const std::vector<RunData>& runs) {
  struct Choice {
    RunAxis axis;
    const char *name, *label;
  };
  constexpr Choice kChoices[] = {{RunAxis::kSteps, "steps", "steps"},
                                 {RunAxis::kTokens, "tokens", "tokens"},
                                 {RunAxis::kMinutes, "minutes", "minutes"}};
  std::string buttons, plots;
  for (const Choice& choice : kChoices) {
    const std::string id = std::string("by-") + choice.name;
    buttons += "<input type=\"radio\" name=\"axis\" id=\"" + id + "\"" +
               (choice.axis == RunAxis::kSteps ? " checked" : "") + "><label for=\"" + id +
               "\">over " + choice.label + "</label>\n";
    plots += std::string("<div class=\"plots ") + choice.name + "\">\n" +
             Join(RunCurves(runs, choice.axis), "") + "</div>\n";
  }
  return "<h2>Curves</h2>\n" + buttons + plots;
}

std::string EventText(const RunMetrics& line) {
  return "step " + WithThousands(line.step) + ", " + svg::Format("%.1f", line.seconds / 60) +
         " min";
}

// Samples newest first, the newest open.
std::string Samples(const RunData& run) {
  std::string out;
  for (auto line = run.lines.rbegin(); line != run.lines.rend(); ++line) {
    if (line->event != "sample") continue;
    out += std::string("<details") + (out.empty() ? " open" : "") + "><summary>sample at " +
           Escape(EventText(*line)) + "</summary><pre>" + Escape(line->text) + "</pre></details>\n";
  }
  return out;
}

std::string OtherEvents(const RunData& run) {
  std::string out;
  for (const RunMetrics& line : run.lines) {
    // Decisions about ties are drawn.
    const bool tie = line.event == "tie" || line.event == "reward";
    if (line.event.empty() || line.event == "sample" || tie) continue;
    out +=
        "<li>" +
        Escape(EventText(line) + ": " + line.event + (line.text.empty() ? "" : ": " + line.text)) +
        "</li>\n";
  }
  return out.empty() ? out : "<ul>\n" + out + "</ul>\n";
}

}  // namespace

std::string RunReportHtml(const std::vector<RunData>& runs) {
  std::string page =
      kHead + FinalFigures(runs) +
      Compared(runs, "What differs in the recipes", "recipe key", RecipeDifferences(runs)) +
      Compared(runs, "What computed them", "", Provenances(runs)) + Curves(runs);
  for (const RunData& run : runs) {
    const std::string events = Join(TiePictures(run), "") + OtherEvents(run) + Samples(run);
    if (!events.empty()) page += "<h2>" + Escape(run.name) + "</h2>\n" + events;
  }
  return page + "</body>\n</html>\n";
}

}  // namespace rondo
