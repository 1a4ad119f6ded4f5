#include "eval/task_record.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/jinja/jinja_library.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

using nlohmann::json;

struct Question {
  std::string text;
  std::vector<std::string> choices;
  int answer = 0;
};

std::string Strip(const std::string& text) {
  return jinja::StripText(text, jinja::Value(jinja::None{}), true, true);
}

// An index among `count` choices, written as a number or as digits.
int AnswerIndex(JsonObject& record, std::string_view key, std::optional<int> label, size_t count,
                int first = 0) {
  int answer = -1;
  if (label) {
    answer = *label;
  } else if (const json* value = record.Find(key); value != nullptr && value->is_string()) {
    const std::string text = Strip(value->get<std::string>());
    if (text.size() == 1 && text[0] >= '0' && text[0] <= '9') answer = text[0] - '0';
    if (answer < 0) record.Fail(key, JsonExcerpt(*value), "the number of a choice");
  } else {
    answer = record.Int(key);
  }
  if (answer < first || static_cast<size_t>(answer - first) >= count) {
    record.Fail(
        key, "value " + std::to_string(answer),
        std::to_string(first) + " to " + std::to_string(first + static_cast<int>(count) - 1));
  }
  return answer - first;
}

int IndexOfKey(JsonObject& record, const std::vector<std::string>& labels) {
  const std::string key = Strip(record.String("answerKey"));
  const auto found = std::ranges::find(labels, key);
  if (found == labels.end()) record.Fail("answerKey", "'" + key + "'", "a label of the choices");
  return static_cast<int>(found - labels.begin());
}

// The three forms in which ARC and OpenBookQA are passed on: {"question", "choices": […], "label"};
// Hugging Face's {"question" or "question_stem", "choices": {"text", "label"}, "answerKey"}; and
// AI2's own {"question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}.
Question ReadQuestion(JsonObject& record) {
  Question question;
  std::vector<std::string> labels;
  if (const json* nested = record.Find("question"); nested != nullptr && nested->is_object()) {
    JsonObject inner = record.Object("question");
    question.text = inner.String("stem");
    const json* choices = inner.Find("choices");
    if (choices == nullptr || !choices->is_array()) inner.Fail("choices", "no array", "an array");
    for (const json& entry : *choices) {
      JsonObject choice(entry, "ReadQuestion", record.file(), "question.choices");
      question.choices.push_back(choice.String("text"));
      labels.push_back(choice.String("label"));
    }
    question.answer = IndexOfKey(record, labels);
    return question;
  }
  question.text = record.String(record.Contains("question_stem") ? "question_stem" : "question");
  if (const json* choices = record.Find("choices"); choices != nullptr && choices->is_object()) {
    JsonObject inner = record.Object("choices");
    question.choices = inner.Strings("text");
    question.answer = IndexOfKey(record, inner.Strings("label"));
  } else {
    question.choices = record.Strings("choices");
    question.answer = AnswerIndex(record, "label", {}, question.choices.size());
  }
  return question;
}

// The harness leaves the answer's place out altogether when the answer is empty.
std::string Shot(const std::string& question, const std::string& answer) {
  return answer.empty() ? question : question + " " + answer + "\n\n";
}

TaskRecord FromChoices(const std::string& context, std::vector<std::string> choices, int answer) {
  TaskRecord out;
  out.answer = answer;
  out.shot = Shot(context, choices[static_cast<size_t>(answer)]);
  for (const std::string& choice : choices) out.requests.push_back({context, " " + choice});
  out.choices = std::move(choices);
  return out;
}

}  // namespace

std::string CleanHellaSwag(const std::string& text) {
  const std::string titled = ReplaceAll(Strip(text), " [title]", ". ");
  // Python's re.sub(r"\[.*?\]", ""), whose dot stops at the end of a line.
  std::string out;
  for (size_t i = 0; i < titled.size();) {
    const size_t end = titled[i] == '[' ? titled.find_first_of("]\n", i) : std::string::npos;
    if (end != std::string::npos && titled[end] == ']') {
      i = end + 1;
    } else {
      out += titled[i++];
    }
  }
  return ReplaceAll(out, "  ", " ");
}

TaskRecord ReadLambada(JsonObject& record, std::optional<int>) {
  const std::string text = record.String("text");
  const size_t last = text.rfind(' ');
  const bool one_word = last == std::string::npos;
  TaskRecord out;
  const std::string context = one_word ? "" : text.substr(0, last);
  const std::string word = " " + (one_word ? text : text.substr(last + 1));
  out.requests = {{context, word}};
  // Two spaces: the harness puts its own before a word that has one already.
  out.shot = Shot(context, word);
  return out;
}

TaskRecord ReadHellaSwag(JsonObject& record, std::optional<int> label) {
  std::string context;
  if (record.Contains("activity_label")) {
    context = record.String("activity_label") + ": " + record.String("ctx_a") + " " +
              jinja::Capitalize(record.String("ctx_b"));
  } else {
    context = record.String("ctx");  // joined already
  }
  std::vector<std::string> endings = record.Strings("endings");
  const int answer = AnswerIndex(record, "label", label, endings.size());
  for (std::string& ending : endings) ending = CleanHellaSwag(ending);
  return FromChoices(CleanHellaSwag(context), std::move(endings), answer);
}

TaskRecord ReadPiqa(JsonObject& record, std::optional<int> label) {
  std::vector<std::string> solutions = {record.String("sol1"), record.String("sol2")};
  const int answer = AnswerIndex(record, "label", label, solutions.size());
  return FromChoices("Question: " + record.String("goal") + "\nAnswer:", std::move(solutions),
                     answer);
}

TaskRecord ReadWinoGrande(JsonObject& record, std::optional<int> label) {
  const bool original = record.Contains("sentence");
  const char* field = original ? "sentence" : "question";
  const std::string sentence = record.String(field);
  std::vector<std::string> options;
  if (original) {
    options = {record.String("option1"), record.String("option2")};
  } else {
    options = record.Strings("choices");
  }
  TaskRecord out;
  out.answer = original ? AnswerIndex(record, "answer", label, options.size(), 1)
                        : AnswerIndex(record, "label", label, options.size());
  const size_t blank = sentence.find('_');
  if (blank == std::string::npos) record.Fail(field, JsonExcerpt(sentence), "a blank, '_'");
  // Partial evaluation (Trinh and Le, 2018): the options stand in the context, the rest of the
  // sentence is scored.
  const std::string rest = Strip(sentence.substr(blank + 1));
  for (const std::string& option : options) {
    out.choices.push_back(sentence.substr(0, blank) + option);
    out.requests.push_back({out.choices.back(), " " + rest});
  }
  out.shot = Shot(out.choices[static_cast<size_t>(out.answer)], rest);
  return out;
}

TaskRecord ReadArc(JsonObject& record, std::optional<int>) {
  Question question = ReadQuestion(record);
  return FromChoices("Question: " + question.text + "\nAnswer:", std::move(question.choices),
                     question.answer);
}

TaskRecord ReadOpenBookQa(JsonObject& record, std::optional<int>) {
  Question question = ReadQuestion(record);
  return FromChoices(question.text, std::move(question.choices), question.answer);
}

}  // namespace rondo
