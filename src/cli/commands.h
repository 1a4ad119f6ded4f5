// The commands of rondo.
#pragma once

namespace rondo::cli {

// Reads the command line, runs the chosen command and returns the exit code. Throws rondo::Error
// from the command.
int ParseAndRun(int argc, const char* const* argv);

}  // namespace rondo::cli
