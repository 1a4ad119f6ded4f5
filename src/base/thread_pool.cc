#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace rondo {
namespace {

thread_local bool inside_pool = false;

// A short spin keeps the hand-over of one small layer to the next in the microseconds; after it the
// thread sleeps, so an idle pool costs nothing.
constexpr int kSpins = 4000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

struct ThreadPool::State {
  std::mutex callers;  // one job at a time
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> job{0};
  std::atomic<bool> stop{false};
  std::atomic<int64_t> next{0};
  std::atomic<int> running{0};
  int64_t count = 0;
  const std::function<void(int64_t)>* item = nullptr;
  std::exception_ptr failure;
  std::vector<std::thread> workers;

  void Drain() {
    inside_pool = true;
    try {
      for (int64_t i = next++; i < count; i = next++) (*item)(i);
    } catch (...) {
      next = count;
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
    inside_pool = false;
  }

  void Work() {
    uint64_t seen = 0;
    while (true) {
      for (int spin = 0; spin < kSpins && job.load() == seen && !stop; ++spin) Pause();
      if (job.load() == seen && !stop) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return job.load() != seen || stop; });
      }
      if (stop) return;
      seen = job.load();
      Drain();
      --running;
    }
  }
};

ThreadPool::ThreadPool(int threads)
    : threads_(threads > 0 ? threads : AvailableCpus()), state_(std::make_unique<State>()) {
  for (int i = 1; i < threads_; ++i) state_->workers.emplace_back([this] { state_->Work(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (std::thread& worker : state_->workers) worker.join();
}

void ThreadPool::ParallelFor(int64_t count, const std::function<void(int64_t)>& item) {
  if (inside_pool || threads_ == 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) item(i);
    return;
  }
  State& s = *state_;
  std::lock_guard callers(s.callers);
  {
    std::lock_guard lock(s.mutex);
    s.count = count;
    s.item = &item;
    s.failure = nullptr;
    s.next = 0;
    s.running = threads_ - 1;
    ++s.job;
  }
  s.wake.notify_all();
  s.Drain();
  for (int spin = 0; s.running.load() > 0; ++spin) {
    if (spin < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (s.failure) std::rethrow_exception(s.failure);
}

void ThreadPool::ParallelRanges(int64_t count, int64_t grain,
                                const std::function<void(int64_t, int64_t)>& range) {
  grain = std::max<int64_t>(grain, 1);
  const int64_t grains = (count + grain - 1) / grain;
  const int64_t parts = std::min<int64_t>(threads_, grains);
  ParallelFor(parts, [&](int64_t part) {
    const int64_t begin = grains * part / parts * grain;
    const int64_t end = std::min(count, grains * (part + 1) / parts * grain);
    if (begin < end) range(begin, end);
  });
}

int AvailableCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace rondo
