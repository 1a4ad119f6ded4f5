#include "train/run/progress_line.h"

#include <unistd.h>

#include <cstdio>

#include "base/strings.h"

namespace rondo {
namespace {

std::string Minutes(double seconds) {
  char text[32];
  const auto whole = static_cast<long long>(seconds);
  std::snprintf(text, sizeof text, "%lld:%02lld", whole / 60, whole % 60);
  return text;
}

}  // namespace

ProgressLine::ProgressLine(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressLine::EndLine() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

void ProgressLine::Show(const std::string& stage, double progress, double seconds,
                        const RunMetrics& m) {
  if (quiet_) return;
  const double left = progress > 0 ? seconds * (1 - progress) / progress : 0;
  std::string parts;
  if (m.ce) {
    char text[64];
    std::snprintf(text, sizeof text, " (ce %.4f, kd %.4f)", *m.ce, m.kd.value_or(0));
    parts = text;
  }
  std::fprintf(stderr,
               "%s%s: step %lld, %.1f%%, loss %.4f%s, lr %.2e, norm %.3g, %.0f tok/s, %s, "
               "%s left%s",
               terminal_ ? "\r\033[K" : "", stage.c_str(), static_cast<long long>(m.step),
               100 * progress, m.loss.value_or(0), parts.c_str(), m.lr.value_or(0),
               m.grad_norm.value_or(0), m.tokens_per_s.value_or(0),
               HumanBytes(static_cast<uint64_t>(m.resident_bytes.value_or(0))).c_str(),
               Minutes(left).c_str(), terminal_ ? "" : "\n");
  open_ = terminal_;
}

void ProgressLine::ShowMeasurement(const RunMetrics& m, const std::string& summary) {
  if (quiet_) return;
  EndLine();
  std::fprintf(stderr, "step %lld, %s of training: %s\n", static_cast<long long>(m.step),
               Minutes(m.seconds).c_str(), summary.c_str());
}

void ProgressLine::ShowSample(const std::string& text) {
  if (quiet_) return;
  EndLine();
  std::fprintf(stderr, "  %s\n", text.c_str());
}

void ProgressLine::Say(const std::string& message) {
  if (quiet_) return;
  EndLine();
  std::fprintf(stderr, "%s\n", message.c_str());
}

void ProgressLine::Warn(const std::string& message) {
  EndLine();
  std::fprintf(stderr, "rondo-train: %s\n", message.c_str());
}

}  // namespace rondo
