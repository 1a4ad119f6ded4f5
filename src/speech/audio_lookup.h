// Where the audio of a manifest is looked up: by names with or without folders in front and
// extension, in small letters or capitals, as long as they mean one file.
//
//   AudioLookup lookup("set.tsv", "");                // set.tar beside it, or its folder
//   lookup.Find("DR1/FCJF0/SA1");                     // ".../TRAIN/DR1/FCJF0/SA1.WAV"
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace rondo {

// A to Z in small letters; other characters stay.
std::string LowerAscii(std::string text);

// Sound by its name without folders and extension, in small letters.
class SoundIndex {
 public:
  // `name` is relative to where the sound lies; names of other files are passed over.
  void Add(const std::string& name);
  // All that `name` may mean. Small and capital letters count where they tell files apart.
  std::vector<std::string> Find(const std::string& name) const;

 private:
  std::map<std::string, std::vector<std::string>> by_stem_;
};

class AudioLookup {
 public:
  // `audio` is a directory or .tar; empty: the .tar beside the manifest with the same name or a
  // leading part of it, else the manifest's directory. Throws when it is neither.
  AudioLookup(const std::string& manifest, const std::string& audio);

  // The name for AudioStore; throws when there is no such audio, or several.
  std::string Find(const std::string& name);

 private:
  std::string FullName(const std::string& relative) const;
  const SoundIndex& Folders();  // everything below the root

  std::filesystem::path root_;
  bool tar_;
  std::set<std::string> members_;  // of the archive
  SoundIndex index_;               // of the archive, or of the directory itself
  std::optional<SoundIndex> folders_;
};

}  // namespace rondo
