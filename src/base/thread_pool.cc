#include "rondo/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
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
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A job's number and its next item in one word: a thread that comes late, to a job already done,
// cannot take an item of the next one by mistake, so nobody needs to wait for late threads.
constexpr int kItemBits = 32;
constexpr uint64_t kItemMask = (uint64_t{1} << kItemBits) - 1;
constexpr int64_t kMaxItems = kItemMask - 1;

uint64_t JobOf(uint64_t ticket) { return ticket >> kItemBits; }

}  // namespace

struct ThreadPool::State {
  std::mutex callers;  // one job at a time
  alignas(64) std::atomic<uint64_t> ticket{kItemMask};
  std::atomic<int64_t> count{0};
  std::atomic<const std::function<void(int64_t)>*> item{nullptr};
  alignas(64) std::atomic<int64_t> done{0};  // items
  std::atomic<bool> failed{false};
  alignas(64) std::atomic<int> sleeping{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::exception_ptr failure;
  std::vector<std::thread> workers;

  void RunItem(int64_t i) {
    if (failed.load(std::memory_order_relaxed)) return;
    try {
      (*item.load(std::memory_order_relaxed))(i);
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }

  // Takes items until there are none; returns the ticket seen last.
  uint64_t Drain() {
    int64_t taken = 0;
    inside_pool = true;
    uint64_t seen = ticket.load();
    while (static_cast<int64_t>(seen & kItemMask) < count.load()) {
      if (!ticket.compare_exchange_weak(seen, seen + 1)) continue;
      RunItem(static_cast<int64_t>(seen & kItemMask));
      ++taken;
      seen = ticket.load();
    }
    inside_pool = false;
    if (taken > 0) done += taken;
    return seen;
  }

  void Publish(int64_t items, const std::function<void(int64_t)>& f) {
    const uint64_t job = JobOf(ticket.load()) + 1;
    ticket = ticket.load() | kItemMask;  // closed while the rest changes
    count = items;
    item = &f;
    done = 0;
    failed = false;
    ticket = job << kItemBits;
    // A thread counts itself as sleeping before it looks at the ticket a last time.
    const int64_t asleep = std::min<int64_t>(sleeping.load(), items - 1);
    if (asleep <= 0) return;
    { std::lock_guard lock(mutex); }
    for (int64_t i = 0; i < asleep; ++i) wake.notify_one();
  }

  void Work() {
    uint64_t seen = 0;  // the first job may be there before its threads
    while (!stop) {
      for (int spin = 0; spin < kSpins && JobOf(ticket.load()) == seen && !stop; ++spin) Pause();
      if (JobOf(ticket.load()) == seen && !stop) {
        std::unique_lock lock(mutex);
        ++sleeping;
        wake.wait(lock, [&] { return JobOf(ticket.load()) != seen || stop; });
        --sleeping;
      }
      seen = JobOf(Drain());
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
  if (inside_pool || threads_ == 1 || count <= 1 || count > kMaxItems) {
    for (int64_t i = 0; i < count; ++i) item(i);
    return;
  }
  State& s = *state_;
  std::lock_guard callers(s.callers);
  s.Publish(count, item);
  s.Drain();
  for (int spin = 0; s.done.load() < count; ++spin) {
    if (spin < kSpins) {
      Pause();
    } else {
      std::this_thread::yield();
    }
  }
  if (s.failed) std::rethrow_exception(std::exchange(s.failure, nullptr));
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
