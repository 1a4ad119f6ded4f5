// A progress bar on standard error for long work, with the time that is left: rewritten in place on
// a terminal. Otherwise lines: one at the beginning, then, of work that takes longer than two
// seconds, one every ten percent and where half a minute has passed. Nothing when quiet. Add() may
// be called from several threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace rondo {

class Progress {
 public:
  Progress(std::string label, int64_t total, bool quiet = false);
  ~Progress();
  void Add(int64_t done = 1);

 private:
  void Draw(int64_t done, bool last);
  std::string label_;
  int64_t total_;
  bool quiet_;
  bool terminal_;
  std::chrono::steady_clock::time_point start_;
  std::atomic<int64_t> done_{0};
  std::mutex mutex_;
  std::chrono::steady_clock::time_point last_draw_ = start_;
  int64_t last_tenth_ = 0;
};

}  // namespace rondo
