// Lists of utterances: which recording holds which words.
//
//   AudioStore store;
//   for (const Utterance& u : ReadManifest("speech.tsv")) Use(store.Read(u.audio, 16000), u.text);
#pragma once

#include <string>
#include <vector>

namespace rondo {

// One line of a manifest.
struct Utterance {
  std::string id;
  std::string audio;        // name for AudioStore
  std::string text;         // what is said
  std::string translation;  // may be empty
};

// Reads a list of utterances, plain, .xz or .zst.
//   .tsv    id <tab> text [<tab> translation], no header line
//   .jsonl  {"audio": …, "text": …, "translation": …, "id": …}; only "audio" is needed
// The id of a TSV line, and a relative "audio", name a file beside the manifest, or a member of
// `audio`, a directory or .tar. By default `audio` is the .tar beside the manifest with the same
// name or a leading part of it ("set.tar" for "set.train.tsv"), else the manifest's directory.
// Members may be named without folders and extension. Throws naming file and line for malformed
// lines, repeated ids, and audio that is not there.
std::vector<Utterance> ReadManifest(const std::string& path, const std::string& audio = {});

}  // namespace rondo
