#include "base/signals.h"
#include "cli/command_line.h"
#include "cli/commands.h"

int main(int argc, char** argv) {
  rondo::HandleSignals("rondo");
  return rondo::cli::Guarded("rondo", [&] { return rondo::cli::ParseAndRun(argc, argv); });
}
