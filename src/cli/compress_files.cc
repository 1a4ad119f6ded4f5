#include "cli/compress_files.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "report/line_plot.h"
#include "rondo/error.h"
#include "text/unicode/text_source.h"

namespace rondo::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

[[noreturn]] void Fail(std::string problem, std::string expected, std::string file,
                       std::string field = {}) {
  throw Error({.function = "RunCompress",
               .problem = std::move(problem),
               .expected = std::move(expected),
               .file = std::move(file),
               .field = std::move(field)});
}

// The end of the first line at or behind `at`.
size_t LineBreak(std::string_view text, size_t at) {
  const size_t found = text.find('\n', std::min(at, text.size()));
  return found == text.npos ? text.size() : found + 1;
}

std::string Fixed(double value, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, value);
  return buffer;
}

}  // namespace

void OpenCompression(const std::string& out, const std::string& settings, bool force) {
  const std::string file = out + "/settings.json";
  if (IsRegularFile(file) && !force) {
    const Json before = Json::parse(ReadTextFile(file)), now = Json::parse(settings);
    for (const auto& [key, value] : now.items()) {
      if (before.contains(key) && before[key] == value) continue;
      Fail("begun with " + (before.contains(key) ? before[key].dump() : "nothing") + ", now " +
               value.dump(),
           "the same settings to go on, another --out, or --force to begin anew", file, key);
    }
    return;
  }
  if (IsDirectory(out) && !fs::is_empty(out) && !force) {
    Fail("holds files that no compression wrote", "an empty or new directory, or --force", out,
         "--out");
  }
  if (force) fs::remove_all(out);
  fs::create_directories(out + "/work");
  WriteTextFile(file, settings + "\n");
}

TextParts SplitText(const std::string& text, const std::string& work) {
  const TextParts parts = {work + "/train.txt", work + "/valid.txt", work + "/held_out.txt"};
  if (IsRegularFile(parts.held_out)) return parts;  // written last
  const std::string whole = ReadText(text);
  constexpr size_t kMost = 400000;  // bytes of the smaller parts
  const size_t part = std::min(kMost, whole.size() / 10);
  if (part < 1000) {
    Fail(std::to_string(whole.size()) + " bytes", "at least 10,000 bytes of text", text, "--text");
  }
  const std::string_view view = whole;
  const size_t held = LineBreak(view, whole.size() - part);
  const size_t valid = LineBreak(view, held < 2 * part ? 0 : held - part);
  if (held >= whole.size() || valid >= held) {
    Fail("no line ends in the last tenths of it", "text in lines", text, "--text");
  }
  WriteTextFile(parts.train, view.substr(0, valid));
  WriteTextFile(parts.valid, view.substr(valid, held - valid));
  WriteTextFile(parts.held_out, view.substr(held));
  return parts;
}

std::vector<CompressStep> ReadSteps(const std::string& file) {
  std::vector<CompressStep> steps;
  if (!IsRegularFile(file)) return steps;
  const std::string text = ReadTextFile(file);
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n', begin)) {
    const nlohmann::json line =
        ParseJsonChecked(std::string_view(text).substr(begin, end - begin), file);
    JsonObject object(line, "ReadSteps", file);
    steps.push_back({.name = object.String("step"),
                     .cost = object.Number("cost"),
                     .kl = object.Number("kl"),
                     .nll = object.Number("nll")});
    begin = end + 1;
  }
  if (begin < text.size()) fs::resize_file(file, begin);
  return steps;
}

void AppendStep(const std::string& file, const CompressStep& step) {
  Json line;
  line["step"] = step.name;
  line["cost"] = step.cost;
  line["kl"] = step.kl;
  line["nll"] = step.nll;
  const std::string text = line.dump() + "\n";
  const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const bool written = fd >= 0 &&
                       write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) close(fd);
  if (!written) Fail(std::strerror(error), "a file that can be written", file);
}

std::string TableText(const std::vector<CompressRow>& rows) {
  std::string text =
      "| model | bytes | non-embedding parameters | perplexity, held-out text | decode tok/s |\n"
      "|---|---|---|---|---|\n";
  for (const CompressRow& row : rows) {
    text += "| " + row.name + " | " + WithThousands(row.bytes) + " | " +
            WithThousands(row.parameters) + " | " + Fixed(row.perplexity, 2) + " | " +
            Fixed(row.decode_tok_per_s, 0) + " |\n";
  }
  return text;
}

std::string SummaryText(const CompressResult& result, const std::vector<CompressRow>& rows,
                        const std::string& budget) {
  std::map<std::string, int> counts;
  for (const CompressStep& step : result.steps) {
    for (std::string_view names = step.name; !names.empty();) {  // "drop 3; bits ffn 7 q3_0"
      const size_t end = std::min(names.find("; "), names.size());
      ++counts[std::string(names.substr(0, std::min(names.find(' '), end)))];
      names.remove_prefix(std::min(end + 2, names.size()));
    }
  }
  std::string text = "Asked for: " + budget + ".\n";
  const bool only_bits = counts.size() == 1 && counts.contains("bits");
  if (counts.empty()) text += "The model fits as it is: nothing was changed.\n";
  for (const std::string& name : CompressOperators()) {
    if (!counts.contains(name)) continue;
    text += "Chosen: " + std::to_string(counts[name]) + " steps of " + name + ".\n";
  }
  if (only_bits) text += "Rounding alone was the best: no layer was dropped, tied or narrowed.\n";
  std::string left;
  for (const std::string& name : CompressOperators()) {
    if (counts.contains(name) || name == "return") continue;
    left += (left.empty() ? "" : ", ") + name;
  }
  if (!left.empty()) {
    text += "Measured at every step, or left out by --only, and not chosen: " + left + ".\n";
  }
  if (result.returns > 0) {
    text += std::to_string(result.returns) + " gone depths return as passes through kept ones.\n";
  }
  if (!only_bits && !counts.empty()) {
    text += result.repaired
                ? "The repair in closed form lowered the loss and stayed.\n"
                : "The repair in closed form did not lower the loss and was left out.\n";
  }
  for (const CompressRow& row : rows) {
    text += row.name + ": " + HumanBytes(static_cast<uint64_t>(row.bytes)) + ", perplexity " +
            Fixed(row.perplexity, 2) + ", " + Fixed(row.decode_tok_per_s, 0) + " tok/s.\n";
  }
  return text;
}

std::string CurveSvg(const std::vector<CompressStep>& steps, std::string_view axis) {
  PlotLine line{.name = "search", .points = {}};
  for (const CompressStep& step : steps) {
    line.points.push_back({step.cost, std::exp(step.nll), step.name});
  }
  return LinePlotSvg("What each step costs", {line},
                     {.x_axis = std::string(axis),
                      .y_axis = "perplexity of the search text, before repair and training",
                      .logarithmic_y = true});
}

std::string RecipeText(const TrainingPlace& place) {
  const auto quoted = [](const std::string& text) { return Json(text).dump(); };
  std::string text =
      "model = " + quoted(place.model) + "\nteacher = " + quoted(place.teacher) + "\n";
  if (!place.rounded.empty()) text += "rounded = " + quoted(place.rounded) + "\n";
  text +=
      "\n[data]\nfiles = [" + quoted(place.text.train) + "]\ncache = " + quoted(place.cache) +
      "\nlength = 512\n\n[valid]\ntext = " + quoted(place.text.valid) +
      "\ncontext = 512\nmax_tokens = 8192\nevery_minutes = 5\n\n[run]\nout = " + quoted(place.out) +
      "\n";
  if (place.threads > 0) text += "threads = " + std::to_string(place.threads) + "\n";
  text +=
      "\n[train]\nbatch = 2\nlr = 2e-4\nbeta2 = 0.99\nce = 0.1\nkd = 0.9\nwarmup = 0.03\n"
      "final_lr = 0.03\nspike = 3.0\nweight_decay = 0.0\n"
      "\n[[stages]]\nname = \"distil\"\nminutes = " +
      Fixed(place.minutes, 3) + "\n";
  return text;
}

void RunTrainer(const std::string& recipe, bool resume, bool quiet) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "rondo-train";
  if (!IsRegularFile(program.string())) {
    Fail("not found", "the trainer beside rondo; it is built where LibTorch is found (make build)",
         program.string());
  }
  const pid_t child = fork();
  if (child == 0) {
    std::vector<const char*> arguments = {program.c_str(), recipe.c_str()};
    if (resume) arguments.push_back("--resume");
    if (quiet) arguments.push_back("--quiet");
    arguments.push_back(nullptr);
    dup2(STDERR_FILENO, STDOUT_FILENO);  // standard output is for the report
    execv(program.c_str(), const_cast<char* const*>(arguments.data()));
    _exit(127);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    Fail("the training stopped", "a run that ends; the same command goes on with it", recipe);
  }
}

}  // namespace rondo::cli
