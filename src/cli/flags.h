// Command-line parsing: the only file of the room that includes CLI11 is flags.cc.
#pragma once

namespace rondo::cli {

// Parses, runs the chosen command and returns the exit code. Throws rondo::Error from the command.
int ParseAndRun(int argc, char** argv);

}  // namespace rondo::cli
