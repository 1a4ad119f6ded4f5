// `rondo train` is the program rondo-train: the only one that needs LibTorch, in the same folder.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/signals.h"
#include "cli/options.h"
#include "rondo/error.h"

namespace rondo::cli {

int RunTrain(const std::vector<std::string>& arguments) {
  const auto program =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "rondo-train";
  std::vector<char*> argv = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  ReleaseSignals();
  execv(program.c_str(), argv.data());
  throw Error(
      {.function = "RunTrain",
       .problem = std::strerror(errno),
       .expected = "the trainer beside rondo; it is built where LibTorch is found (make build)",
       .file = program.string()});
}

}  // namespace rondo::cli
