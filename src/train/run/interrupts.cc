#include "train/run/interrupts.h"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <ctime>

namespace rondo {
namespace {

std::atomic<bool> end_requested = false;
std::atomic<int64_t> suspended_ns = 0;

int64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void RequestEnd(int number) {
  end_requested = true;
  std::signal(number, SIG_DFL);  // a second one ends at once
}

// SIGSTOP stops all threads, this one included, until SIGCONT.
void Suspend(int) {
  const int64_t start = MonotonicNs();
  std::raise(SIGSTOP);
  suspended_ns += MonotonicNs() - start;
}

}  // namespace

void HandleInterrupts() {
  static const bool installed = [] {
    for (const int number : {SIGINT, SIGTERM, SIGTSTP}) {
      struct sigaction action {};
      action.sa_handler = number == SIGTSTP ? Suspend : RequestEnd;
      action.sa_flags = SA_RESTART;
      sigaction(number, &action, nullptr);
    }
    return true;
  }();
  static_cast<void>(installed);
}

bool EndRequested() { return end_requested; }

double RunningSeconds() { return static_cast<double>(MonotonicNs() - suspended_ns) * 1e-9; }

}  // namespace rondo
