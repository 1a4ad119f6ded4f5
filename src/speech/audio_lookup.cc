#include "speech/audio_lookup.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "rondo/audio.h"
#include "rondo/error.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

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
  return kSound.contains(LowerAscii(path.extension().string()));
}

bool EndsIn(std::string_view path, std::string_view name) {
  if (!path.ends_with(name)) return false;
  return path.size() == name.size() || path[path.size() - name.size() - 1] == '/';
}

// "set.train.tsv.xz": set.train.tsv.tar, set.train.tar, set.tar, else the directory.
fs::path DefaultRoot(const std::string& manifest) {
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

}  // namespace

std::string LowerAscii(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

void SoundIndex::Add(const std::string& name) {
  if (IsSoundName(name)) by_stem_[LowerAscii(fs::path(name).stem().string())].push_back(name);
}

std::vector<std::string> SoundIndex::Find(const std::string& name) const {
  const bool extension = IsSoundName(name);
  const fs::path path(name);
  const auto found =
      by_stem_.find(LowerAscii((extension ? path.stem() : path.filename()).string()));
  if (found == by_stem_.end()) return {};
  std::vector<std::string> same, alike;
  for (const std::string& candidate : found->second) {
    const fs::path bare = fs::path(candidate).replace_extension();
    const std::string whole = extension ? candidate : bare.string();
    if (EndsIn(whole, name)) same.push_back(candidate);
    if (EndsIn(LowerAscii(whole), LowerAscii(name))) alike.push_back(candidate);
  }
  return same.empty() ? alike : same;
}

AudioLookup::AudioLookup(const std::string& manifest, const std::string& audio)
    : root_(audio.empty() ? DefaultRoot(manifest) : fs::path(audio)),
      tar_(root_.extension() == ".tar") {
  if (tar_) {
    for (const std::string& member : AudioStore().Members(root_.string())) {
      members_.insert(member);
      index_.Add(member);
    }
  } else if (IsDirectory(root_)) {
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

std::string AudioLookup::Find(const std::string& given) {
  const std::string name = PlainName(given);
  const fs::path file = (tar_ ? root_.parent_path() : root_) / name;
  if (tar_ && members_.contains(name)) return FullName(name);
  const size_t colon = file.string().find(".tar:");
  const std::string on_disk =
      colon == std::string::npos ? file.string() : file.string().substr(0, colon + 4);
  if (IsRegularFile(on_disk)) return file.string();
  std::vector<std::string> found = index_.Find(name);
  if (found.empty() && !tar_) found = Folders().Find(name);
  if (found.size() == 1) return FullName(found.front());
  if (found.empty()) {
    throw Error({.function = "ReadManifest",
                 .problem = "no audio '" + given + "'",
                 .expected = "audio in " + root_.string()});
  }
  throw Error({.function = "ReadManifest",
               .problem = "'" + given + "' may be " + found[0] + " or " + found[1],
               .expected = "a name with as many folders as it takes to tell"});
}

std::string AudioLookup::FullName(const std::string& relative) const {
  return tar_ ? root_.string() + ":" + relative : (root_ / relative).string();
}

const SoundIndex& AudioLookup::Folders() {
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

}  // namespace rondo
