#include "speech/manifest.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
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

std::string Lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

// As manifests of Windows and of home directories name files.
std::string PlainName(std::string name) {
  std::ranges::replace(name, '\\', '/');
  while (name.starts_with("./")) name.erase(0, 2);
  return name;
}

bool IsSoundName(const fs::path& path) {
  static const std::set<std::string> kSound = {".wav", ".flac", ".ogg",  ".oga",  ".opus", ".mp3",
                                               ".mp2", ".aiff", ".aif",  ".aifc", ".au",   ".snd",
                                               ".caf", ".w64",  ".rf64", ".sph",  ".voc",  ".spx"};
  return kSound.contains(Lower(path.extension().string()));
}

// Sound by its name without folders and extension, in small letters.
class SoundIndex {
 public:
  // `name` is relative to where the sound lies.
  void Add(const std::string& name) {
    if (IsSoundName(name)) by_stem_[Lower(fs::path(name).stem().string())].push_back(name);
  }
  // All that `name` may mean: with or without folders in front and an extension. Small and capital
  // letters count where they tell files apart.
  std::vector<std::string> Find(const std::string& name) const {
    const bool extension = IsSoundName(name);
    const fs::path path(name);
    const auto found = by_stem_.find(Lower((extension ? path.stem() : path.filename()).string()));
    if (found == by_stem_.end()) return {};
    std::vector<std::string> same, alike;
    for (const std::string& candidate : found->second) {
      const fs::path bare = fs::path(candidate).replace_extension();
      const std::string whole = extension ? candidate : bare.string();
      if (EndsIn(whole, name)) same.push_back(candidate);
      if (EndsIn(Lower(whole), Lower(name))) alike.push_back(candidate);
    }
    return same.empty() ? alike : same;
  }

 private:
  static bool EndsIn(std::string_view path, std::string_view name) {
    if (!path.ends_with(name)) return false;
    return path.size() == name.size() || path[path.size() - name.size() - 1] == '/';
  }
  std::map<std::string, std::vector<std::string>> by_stem_;
};

// Where the audio of a manifest is looked up.
class Lookup {
 public:
  Lookup(const std::string& manifest, const std::string& audio) {
    root_ = audio.empty() ? Default(manifest) : fs::path(audio);
    tar_ = Lower(root_.extension().string()) == ".tar";
    if (tar_) {
      for (const std::string& member : AudioStore().Members(root_.string())) {
        members_.insert(member);
        index_.Add(member);
      }
    } else if (IsDirectory(root_)) {
      // Only the folder itself; those in it when something is not found.
      for (const fs::path& file : ListDirectory(root_)) {
        if (IsRegularFile(file)) index_.Add(file.filename().string());
      }
    } else {
      throw Error({.function = "ReadManifest",
                   .problem = "neither a directory nor a .tar",
                   .expected = "where the audio lies",
                   .file = root_.string()});
    }
  }

  // The audio of that name; throws when there is none, or several.
  std::string Find(const std::string& given) {
    const std::string name = PlainName(given);
    const fs::path file = (tar_ ? root_.parent_path() : root_) / name;
    if (tar_ && members_.contains(name)) return Name(name);
    const size_t colon = file.string().find(".tar:");
    const std::string on_disk =
        colon == std::string::npos ? file.string() : file.string().substr(0, colon + 4);
    if (IsRegularFile(on_disk)) return file.string();
    std::vector<std::string> found = index_.Find(name);
    if (found.empty() && !tar_) found = Folders().Find(name);
    if (found.size() == 1) return Name(found.front());
    if (found.empty()) {
      throw Error({.function = "ReadManifest",
                   .problem = "no audio '" + given + "'",
                   .expected = "audio in " + root_.string()});
    }
    throw Error({.function = "ReadManifest",
                 .problem = "'" + given + "' may be " + found[0] + " or " + found[1],
                 .expected = "a name with as many folders as it takes to tell"});
  }

 private:
  std::string Name(const std::string& relative) const {
    return tar_ ? root_.string() + ":" + relative : (root_ / relative).string();
  }
  // Everything below the root.
  const SoundIndex& Folders() {
    if (folders_) return *folders_;
    folders_.emplace();
    constexpr auto kSkip = fs::directory_options::skip_permission_denied;
    std::error_code error;
    for (fs::recursive_directory_iterator at(root_, kSkip, error), end; !error && at != end;
         at.increment(error)) {
      if (at->is_regular_file(error)) {
        folders_->Add(at->path().lexically_relative(root_).generic_string());
      }
    }
    return *folders_;
  }
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
  bool tar_ = false;
  std::set<std::string> members_;  // of the archive
  SoundIndex index_;
  std::optional<SoundIndex> folders_;
};

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
      if (Lower(std::string(Trim(columns[i]))) == name) return static_cast<int>(i);
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
  Lookup lookup(path, audio);
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
    if (!IsValidUtf8(line)) fail("not UTF-8", "text in UTF-8");
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
