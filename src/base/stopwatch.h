// Elapsed time.
//
//   const Stopwatch watch;
//   Work();
//   watch.Seconds();
#pragma once

#include <chrono>

namespace rondo {

// Runs from its construction or the last Restart(), on a clock that never goes back.
class Stopwatch {
 public:
  double Seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  void Restart() { start_ = Clock::now(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

}  // namespace rondo
