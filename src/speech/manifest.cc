#include "speech/manifest.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/strings.h"
#include "corpus/document_reader.h"
#include "rondo/audio.h"
#include "rondo/error.h"
#include "text/unicode/utf8.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

// Where the audio of a manifest is looked up.
class Lookup {
 public:
  Lookup(const std::string& manifest, const std::string& audio) {
    root_ = audio.empty() ? Default(manifest) : fs::path(audio);
    if (root_.extension() == ".tar") {
      by_stem_ = AudioStore().MembersByStem(root_.string());
    } else if (IsDirectory(root_)) {
      for (const fs::directory_entry& entry : fs::directory_iterator(root_)) {
        if (!entry.is_regular_file()) continue;
        // Text of the same name lies beside the sound; a second sound makes the name ambiguous.
        static const std::set<std::string> kSound = {".wav", ".flac", ".ogg", ".opus",
                                                     ".mp3", ".aiff", ".aif", ".oga"};
        if (!kSound.contains(entry.path().extension().string())) continue;
        const std::string stem = entry.path().stem().string();
        if (!by_stem_.emplace(stem, entry.path().string()).second) ambiguous_.insert(stem);
      }
    } else {
      throw Error({.function = "ReadManifest",
                   .problem = "neither a directory nor a .tar",
                   .expected = "where the audio lies",
                   .file = root_.string()});
    }
    for (const auto& [stem, name] : by_stem_) names_.insert(name);
  }

  // Empty when there is no such audio.
  std::string Find(const std::string& name) const {
    const bool tar = root_.extension() == ".tar";
    if (tar && names_.contains(root_.string() + ":" + name)) return root_.string() + ":" + name;
    const auto found = by_stem_.find(name);
    if (found != by_stem_.end() && !ambiguous_.contains(name)) return found->second;
    const fs::path file = (tar ? root_.parent_path() : root_) / name;
    const size_t colon = file.string().find(".tar:");
    const std::string on_disk =
        colon == std::string::npos ? file.string() : file.string().substr(0, colon + 4);
    return IsRegularFile(on_disk) ? file.string() : "";
  }
  std::string root() const { return root_.string(); }

 private:
  // "set.train.tsv.xz": set.train.tsv.tar, set.train.tar, set.tar, else the directory.
  static fs::path Default(const std::string& manifest) {
    const fs::path folder = fs::path(manifest).parent_path();
    std::string name = fs::path(manifest).filename().string();
    while (!name.empty()) {
      const fs::path tar = folder / (name + ".tar");
      if (IsRegularFile(tar)) return tar;
      const size_t dot = name.rfind('.');
      name.resize(dot == std::string::npos ? 0 : dot);
    }
    return folder.empty() ? fs::path(".") : folder;
  }

  fs::path root_;
  std::map<std::string, std::string> by_stem_;
  std::set<std::string> ambiguous_;
  std::set<std::string> names_;
};

Utterance FromTsv(std::string_view line) {
  const std::vector<std::string> columns = Split(line, '\t');
  if (columns.size() < 2 || columns.size() > 3) {
    throw Error({.function = "ReadManifest",
                 .problem = std::to_string(columns.size()) + " columns",
                 .expected = "id, text and perhaps translation, with tabs between"});
  }
  Utterance utterance{.id = columns[0], .audio = columns[0], .text = columns[1], .translation = {}};
  if (columns.size() == 3) utterance.translation = columns[2];
  return utterance;
}

Utterance FromJson(std::string_view line, const std::string& path) {
  const nlohmann::json record = ParseJsonChecked(line, path);
  JsonObject object(record, "ReadManifest", path);
  Utterance utterance;
  utterance.audio = object.String("audio");
  utterance.text = object.String("text", "");
  utterance.translation = object.String("translation", "");
  utterance.id = object.String("id", utterance.audio);
  object.RefuseUnknownKeys();
  return utterance;
}

bool IsTsv(std::string_view path) {
  for (const std::string_view end : {".xz", ".zst"}) {
    if (path.ends_with(end)) path.remove_suffix(end.size());
  }
  return path.ends_with(".tsv");
}

}  // namespace

std::vector<Utterance> ReadManifest(const std::string& path, const std::string& audio) {
  const bool jsonl = IsJsonl(path);
  if (!jsonl && !IsTsv(path)) {
    throw Error({.function = "ReadManifest",
                 .problem = "unknown kind of manifest",
                 .expected = "a name ending in .tsv or .jsonl, perhaps with .xz or .zst",
                 .file = path});
  }
  LineReader lines(path);
  const Lookup lookup(path, audio);
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
    if (!IsValidUtf8(line)) fail("not UTF-8", "text in UTF-8");
    Utterance utterance;
    try {
      utterance = jsonl ? FromJson(line, path) : FromTsv(line);
    } catch (const Error& error) {
      const std::string field = error.info().field;
      fail((field.empty() ? "" : field + ": ") + error.info().problem, error.info().expected);
    }
    if (!ids.insert(utterance.id).second) fail("id '" + utterance.id + "' again", "one line an id");
    const std::string found = lookup.Find(utterance.audio);
    if (found.empty()) fail("no audio '" + utterance.audio + "'", "audio in " + lookup.root());
    utterance.audio = found;
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
