#include "base/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "base/mapped_range.h"
#include "base/temporary.h"

namespace rondo {
namespace {

const char* program_name = "rondo";
sigset_t endings;  // signals that end the program
std::atomic<bool> file_lost = false;

struct Interrupts {
  std::mutex mutex;
  std::function<void()> request;
};

Interrupts& TheInterrupts() {
  static Interrupts* interrupts = new Interrupts;
  return *interrupts;
}

// What the caller ignores, as nohup does, stays ignored.
sigset_t Endings() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action {};
    sigaction(number, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&set, number);
  }
  return set;
}

void Say(const char* text) { static_cast<void>(!write(STDERR_FILENO, text, std::strlen(text))); }

// Only what a handler may call. The waiting thread removes temporaries and ends the program.
void OnBusError(int, siginfo_t* info, void*) {
  if (!file_lost.exchange(true)) {
    const char* path = MappedPathAt(info->si_addr);
    Say(program_name);
    Say(": ");
    Say(path != nullptr ? path : "a file");
    Say(": was cut short, or cannot be read, while it was in use\n");
    kill(getpid(), SIGTERM);
  }
  while (true) pause();
}

bool Request() {
  Interrupts& interrupts = TheInterrupts();
  std::function<void()> request;
  {
    const std::lock_guard lock(interrupts.mutex);
    request = std::exchange(interrupts.request, nullptr);
  }
  if (!request) return false;
  request();
  return true;
}

[[noreturn]] void EndBy(int number) {
  RemoveTemporaries();
  if (file_lost) _exit(EXIT_FAILURE);
  std::signal(number, SIG_DFL);
  ReleaseSignals();
  kill(getpid(), number);
  while (true) pause();
}

void WaitForSignals() {
  while (true) {
    int number = 0;
    if (sigwait(&endings, &number) != 0) continue;
    if (!file_lost && number != SIGHUP && Request()) continue;
    EndBy(number);
  }
}

}  // namespace

void HandleSignals(const char* program) {
  program_name = program;
  endings = Endings();
  pthread_sigmask(SIG_BLOCK, &endings, nullptr);  // threads started later inherit it
  std::thread(WaitForSignals).detach();
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

void ReleaseSignals() { pthread_sigmask(SIG_UNBLOCK, &endings, nullptr); }

InterruptScope::InterruptScope(std::function<void()> request) {
  const std::lock_guard lock(TheInterrupts().mutex);
  TheInterrupts().request = std::move(request);
}

InterruptScope::~InterruptScope() {
  const std::lock_guard lock(TheInterrupts().mutex);
  TheInterrupts().request = nullptr;
}

}  // namespace rondo
