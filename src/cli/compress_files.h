// The files in the output directory of `rondo compress`, by which an interrupted one goes on.
//
//   settings.json   what was asked for; another question needs another directory
//   search.jsonl    every step chosen, a line each
//   work/           the text in parts, the model before rounding, the training run
//   plan.json, table.md, curve.svg, summary.txt, model.gguf   the result
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/options.h"
#include "rondo/compress.h"

namespace rondo::cli {

// The text in three parts, written once.
struct TextParts {
  std::string train, valid, held_out;  // files
};

// Makes the directory, or checks that what is there was made for the same question: throws naming
// the setting that differs. `settings` is JSON.
void OpenCompression(const std::string& out, const std::string& settings, bool force);

TextParts SplitText(const std::string& text, const std::string& work);

// Steps of search.jsonl; a torn last line is passed over.
std::vector<CompressStep> ReadSteps(const std::string& file);
// Adds a line and waits until the disk has it.
void AppendStep(const std::string& file, const CompressStep& step);

// One row of the table.
struct CompressRow {
  std::string name;
  int64_t bytes = 0;
  int64_t parameters = 0;  // all but embedding and head
  double perplexity = 0;   // of the held-out text
  double decode_tok_per_s = 0;
};

std::string TableText(const std::vector<CompressRow>& rows);
// What was chosen and what was left, in sentences.
std::string SummaryText(const CompressResult& result, const std::vector<CompressRow>& rows,
                        const std::string& budget);
// Bytes (or parameters) against the perplexity of the search text, step by step.
std::string CurveSvg(const std::vector<CompressStep>& steps, std::string_view axis);

// The recipe of the training that follows.
struct TrainingPlace {
  std::string model, rounded, teacher;  // rounded empty: no rounding in the loop
  TextParts text;
  std::string cache, out;
  double minutes = 0;
  int threads = 0;
};
std::string RecipeText(const TrainingPlace& place);

// Runs rondo-train on a recipe and waits; goes on where an earlier run stopped.
void RunTrainer(const std::string& recipe, bool resume, bool quiet);

}  // namespace rondo::cli
