// What a file is, told by its first bytes: names and extensions say little, since stores give their
// files names of their own (Ollama's blobs, Hugging Face's cache).
#pragma once

#include <string>
#include <vector>

namespace rondo {

enum class FileKind { kUnknown, kGguf, kSafetensors, kJson, kForeign };

struct FileContent {
  FileKind kind = FileKind::kUnknown;
  std::string what;  // kForeign: "a Python pickle, as PyTorch writes it"
  std::string hint;  // kForeign: what to do about it
};

// Throws naming `path` when it cannot be read. kForeign are formats of other programs that people
// take for models, and what a failed download leaves.
FileContent ContentOf(const std::string& path);

// Files of a directory that hold a model's weights in a form of other programs, with what to do
// about them; "" if there are none.
std::string ForeignWeightsIn(const std::string& directory);

}  // namespace rondo
