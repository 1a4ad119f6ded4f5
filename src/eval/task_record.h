// One record of a multiple-choice task, or of LAMBADA, as the texts whose likelihoods decide.
//
// Prompts are those of lm-evaluation-harness 0.4 (EleutherAI), whose scores these are to equal: the
// task files lambada_openai, hellaswag, piqa, winogrande, arc_easy and openbookqa there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace rondo {

// How likely is `continuation` after `context`?
struct ContinuationText {
  std::string context;
  std::string continuation;
};

struct TaskRecord {
  std::vector<ContinuationText> requests;  // one for each choice; LAMBADA has one only
  std::vector<std::string> choices;        // texts whose lengths normalise the likelihoods
  int answer = 0;                          // index of the right choice
  std::string shot;                        // as a worked example: question, answer, blank line
  std::string identity;                    // equal only for equal records
};

// Readers throw rondo::Error naming the record's place and field. `label` is the answer where a
// separate file holds it.
using RecordReader = TaskRecord (*)(JsonObject& record, std::optional<int> label);

TaskRecord ReadLambada(JsonObject& record, std::optional<int> label);
TaskRecord ReadHellaSwag(JsonObject& record, std::optional<int> label);
TaskRecord ReadPiqa(JsonObject& record, std::optional<int> label);
TaskRecord ReadWinoGrande(JsonObject& record, std::optional<int> label);
TaskRecord ReadArc(JsonObject& record, std::optional<int> label);
TaskRecord ReadOpenBookQa(JsonObject& record, std::optional<int> label);

// HellaSwag's texts from WikiHow carry marks in brackets: " [title]" becomes ". ", others go.
std::string CleanHellaSwag(const std::string& text);

}  // namespace rondo
