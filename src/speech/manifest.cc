#include "speech/manifest.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/json.h"
#include "base/strings.h"
#include "corpus/document_reader.h"
#include "rondo/error.h"
#include "speech/audio_lookup.h"

namespace rondo {
namespace {

// What columns of a header line, and keys of a record, are called elsewhere: by Common Voice, NeMo,
// CoVoST and data sets of audio folders.
constexpr std::array<std::string_view, 9> kAudioNames = {
    "audio", "path", "audio_filepath", "audio_path", "file", "filename", "file_name", "wav", "id"};
constexpr std::array<std::string_view, 6> kTextNames = {
    "text", "sentence", "transcript", "transcription", "normalized_text", "raw_text"};

// The first of the names that is among the columns; -1 when none is.
template <size_t n>
int FindColumn(const std::vector<std::string>& columns,
               const std::array<std::string_view, n>& names) {
  for (const std::string_view name : names) {
    for (size_t i = 0; i < columns.size(); ++i) {
      if (LowerAscii(std::string(Trim(columns[i]))) == name) return static_cast<int>(i);
    }
  }
  return -1;
}

// Lines with tabs between their columns.
class Tsv {
 public:
  // False for a header line. Whether the first line is one is told by its names.
  bool Read(std::string_view line, bool first, Utterance* utterance) {
    const std::vector<std::string> columns = Split(line, '\t');
    if (first && IsHeader(columns)) return false;
    if (columns.size() < least_ || columns.size() > most_) {
      throw Error({.function = "ReadManifest",
                   .problem = std::to_string(columns.size()) + " columns",
                   .expected = expected_});
    }
    *utterance = {.id = columns[audio_], .audio = columns[audio_], .text = columns[text_]};
    if (id_ >= 0) utterance->id = columns[static_cast<size_t>(id_)];
    const auto translation = static_cast<size_t>(translation_);
    if (translation_ >= 0 && translation < columns.size()) {
      utterance->translation = columns[translation];
    }
    return true;
  }

 private:
  bool IsHeader(const std::vector<std::string>& columns) {
    const int audio = FindColumn(columns, kAudioNames), text = FindColumn(columns, kTextNames);
    if (audio < 0 || text < 0) return false;
    audio_ = static_cast<size_t>(audio);
    text_ = static_cast<size_t>(text);
    translation_ = FindColumn(columns, std::array<std::string_view, 1>{"translation"});
    id_ = FindColumn(columns, std::array<std::string_view, 1>{"id"});
    least_ = most_ = columns.size();
    expected_ = "as many as the header line, " + std::to_string(columns.size());
    return true;
  }

  size_t audio_ = 0, text_ = 1, least_ = 2, most_ = 3;
  int id_ = -1, translation_ = 2;
  std::string expected_ =
      "id, text and perhaps translation with tabs between, or a first line with names of columns, "
      "as path and sentence";
};

Utterance FromJson(std::string_view line, const std::string& path) {
  const nlohmann::json record = ParseJsonChecked(line, path);
  JsonObject object(record, "ReadManifest", path);
  std::vector<std::string> keys = object.Keys();
  const auto key = [&](const auto& names, const char* own) {
    const int found = FindColumn(keys, names);
    return found < 0 ? std::string(own) : keys[static_cast<size_t>(found)];
  };
  Utterance utterance;
  const bool own = object.Contains("audio");
  const std::string audio = own ? "audio" : key(kAudioNames, "audio");
  utterance.audio = object.String(audio == "id" ? "audio" : audio);
  utterance.text = object.String(own ? "text" : key(kTextNames, "text"), "");
  utterance.translation = object.String("translation", "");
  utterance.id = object.String("id", utterance.audio);
  if (object.Number("offset", 0) != 0) {
    object.Fail("offset", "a part of a recording", "whole recordings");
  }
  // Records of other programs say more than is asked for.
  if (own) object.RefuseUnknownKeys();
  return utterance;
}

}  // namespace

std::vector<Utterance> ReadManifest(const std::string& path, const std::string& audio) {
  LineReader lines(path);
  AudioLookup lookup(path, audio);
  Tsv tsv;
  bool first = true, jsonl = false;
  std::vector<Utterance> utterances;
  std::set<std::string> ids;
  for (std::string_view line; lines.Next(&line);) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (Trim(line).empty()) continue;
    const auto fail = [&](std::string problem, std::string expected) {
      throw Error({.function = "ReadManifest",
                   .problem = std::move(problem),
                   .expected = std::move(expected),
                   .file = path,
                   .field = "line " + std::to_string(lines.number())});
    };
    if (first) jsonl = Trim(line).starts_with('{');
    if (first && Trim(line).starts_with('[')) fail("a JSON array", "one JSON object a line");
    Utterance utterance;
    try {
      if (jsonl) {
        utterance = FromJson(line, path);
      } else if (!tsv.Read(line, std::exchange(first, false), &utterance)) {
        continue;
      }
      first = false;
      utterance.audio = lookup.Find(utterance.audio);
    } catch (const Error& error) {
      const std::string field = error.info().field;
      fail((field.empty() ? "" : field + ": ") + error.info().problem, error.info().expected);
    }
    if (!ids.insert(utterance.id).second) fail("id '" + utterance.id + "' again", "one line an id");
    utterances.push_back(std::move(utterance));
  }
  if (utterances.empty()) {
    throw Error({.function = "ReadManifest",
                 .problem = "no utterances",
                 .expected = "a line for each",
                 .file = path});
  }
  return utterances;
}

}  // namespace rondo
