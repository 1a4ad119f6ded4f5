// The one exception type of rondo: a plain value, which may be copied to any thread.
//
//   throw Error({.function = "ReadGguf", .problem = "tensor count 9223372036854775807",
//                .expected = "at most 65536", .file = path, .field = "tensor_count"});
//
// what() reads "model.gguf: tensor_count: tensor count 922… (expected at most 65536) [ReadGguf]".
// It is caught once in each main() and at each server request; nothing else swallows it.
#pragma once

#include <stdexcept>
#include <string>

namespace rondo {

struct ErrorInfo {
  std::string function = {};  // where it was noticed
  std::string problem = {};   // what was wrong, with the offending value
  std::string expected = {};  // what would have been accepted; may be empty
  std::string file = {};      // the file it came from; may be empty
  std::string field = {};     // key, tensor or flag inside that file; may be empty
};

class Error : public std::runtime_error {
 public:
  explicit Error(ErrorInfo info);
  const ErrorInfo& info() const { return info_; }

 private:
  ErrorInfo info_;
};

}  // namespace rondo
