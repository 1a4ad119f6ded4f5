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

// Reads a list of utterances, plain, .xz or .zst. Its kind is told by its first line:
//   id <tab> text [<tab> translation]
//   names of columns with tabs between (path, sentence and others, as Common Voice has them)
//   {"audio": …, "text": …, "translation": …, "id": …}; only "audio" is needed
//   {"audio_filepath": …, "text": …, "duration": …}, as NeMo has it; other keys are passed over
// The id of a TSV line, and a relative "audio", name a file beside the manifest or in folders
// there, or a member of `audio`, a directory or .tar. By default `audio` is the .tar beside the
// manifest with the same name or a leading part of it ("set.tar" for "set.train.tsv"), else the
// manifest's directory. Files and members may be named with or without folders in front and
// extension, in capitals or not, as long as only one is meant. Throws naming file and line for
// malformed lines, repeated ids, and audio that is not there or may be one of several.
std::vector<Utterance> ReadManifest(const std::string& path, const std::string& audio = {});

}  // namespace rondo
