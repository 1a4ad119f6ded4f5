#include "base/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace rondo {

using Clock = std::chrono::steady_clock;

Progress::Progress(std::string label, int64_t total, bool quiet)
    : label_(std::move(label)),
      total_(std::max<int64_t>(total, 1)),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()) {
  if (!quiet_) Draw(0, false);
}

Progress::~Progress() {
  if (!quiet_ && terminal_) {
    Draw(done_, true);
    std::fputc('\n', stderr);
  }
}

void Progress::Add(int64_t done) {
  const int64_t now_done = done_ += done;
  if (quiet_) return;
  std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  const int64_t tenth = now_done * 10 / total_;
  const auto waited = now - last_draw_;
  const bool due = terminal_ ? waited > std::chrono::milliseconds(100)
                             : (tenth > last_tenth_ && now - start_ > std::chrono::seconds(2)) ||
                                   waited > std::chrono::seconds(30);
  if (!due) return;
  last_draw_ = now;
  last_tenth_ = tenth;
  Draw(now_done, false);
}

void Progress::Draw(int64_t done, bool last) {
  constexpr int kWidth = 30;
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  const int filled = static_cast<int>(share * kWidth);
  std::string bar(static_cast<size_t>(filled), '#');
  bar.resize(kWidth, '.');
  const double left = share > 0 && !last ? elapsed / share - elapsed : 0;
  char rest[40] = "";
  if (left > 0) std::snprintf(rest, sizeof(rest), ", %.0fs left", left);
  std::fprintf(stderr, "%s%s [%s] %3.0f%% %.1fs%s%s", terminal_ ? "\r" : "", label_.c_str(),
               bar.c_str(), share * 100, elapsed, rest,
               !terminal_ ? "\n"
               : last     ? "              "
                          : "   ");
  std::fflush(stderr);
}

}  // namespace rondo
