// A fixed set of threads, passed as an argument and never global.
//
//   ThreadPool pool(2);
//   std::vector<float> squares(1000);
//   pool.ParallelFor(1000, [&](int64_t i) { squares[i] = i * i; });      // items one at a time
//   pool.ParallelRanges(1000, 1, [&](int64_t begin, int64_t end) {       // one range per thread
//     for (int64_t i = begin; i < end; ++i) squares[i] = i * i;
//   });
//
// Calls from inside a running item execute inline on the calling thread, so nesting is safe. One
// ParallelFor runs at a time; concurrent callers wait. The caller gets the first exception.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace rondo {

class ThreadPool {
 public:
  // `threads` includes the calling thread; 0 means one per CPU this process may use.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls item(i) for every i in [0, count).
  void ParallelFor(int64_t count, const std::function<void(int64_t)>& item);

  // Splits [0, count) into at most threads() contiguous ranges whose borders are multiples of
  // `grain`.
  void ParallelRanges(int64_t count, int64_t grain,
                      const std::function<void(int64_t begin, int64_t end)>& range);

 private:
  struct State;
  int threads_;
  std::unique_ptr<State> state_;
};

// CPUs this process may run on.
int AvailableCpus();

}  // namespace rondo
