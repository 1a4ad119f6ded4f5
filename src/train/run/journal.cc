#include "train/run/journal.h"

#include "rondo/error.h"

namespace rondo {

void Journal::Open(const std::string& path, bool resume, int64_t step) {
  if (silent_) return;
  log_ = std::make_unique<RunLog>(resume ? RunLog::Resume(path, step) : RunLog::Start(path));
}

void Journal::Write(const RunMetrics& metrics) {
  if (log_ == nullptr) return;
  const bool waited = !unwritten_.empty();
  unwritten_.push_back(metrics);
  try {
    WriteWaiting();
  } catch (const Error& error) {
    if (!waited) Warn(std::string("metrics wait to be written: ") + error.what());
  }
}

void Journal::WriteWaiting() {
  while (!unwritten_.empty()) {
    log_->Append(unwritten_.front());
    unwritten_.erase(unwritten_.begin());
  }
}

void Journal::Warn(const std::string& message) {
  if (!silent_) line_.Warn(message);
}

void Journal::WarnOnce(const std::string& message) {
  if (warned_.insert(message).second) Warn(message);
}

void Journal::Sync() {
  if (log_ == nullptr) return;
  WriteWaiting();  // says what is wrong
  log_->Sync();
}

}  // namespace rondo
