#include <cstdio>
#include <exception>
#include <new>

#include "base/signals.h"
#include "cli/flags.h"

int main(int argc, char** argv) {
  rondo::HandleSignals("rondo");
  try {
    return rondo::cli::ParseAndRun(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "rondo: out of memory\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rondo: %s\n", error.what());
  }
  return 1;
}
