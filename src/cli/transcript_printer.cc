#include "cli/transcript_printer.h"

#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "base/choice.h"

namespace rondo::cli {
namespace {

// Segments that the report of a stream ends with, so that its memory does not grow.
constexpr size_t kKept = 1000;

std::string Clock(double seconds) {
  char text[32];
  const auto minutes = static_cast<int64_t>(seconds / 60);
  std::snprintf(text, sizeof(text), "%lld:%05.2f", static_cast<long long>(minutes),
                seconds - 60 * static_cast<double>(minutes));
  return text;
}

// "00:01:02,345"
std::string Stamp(double seconds, char point) {
  const long long ms = std::llround(seconds * 1000);
  char text[48];
  std::snprintf(text, sizeof(text), "%02lld:%02lld:%02lld%c%03lld", ms / 3600000, ms / 60000 % 60,
                ms / 1000 % 60, point, ms % 1000);
  return text;
}

std::string EscapeVtt(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  }
  return escaped;
}

Output ToOutput(const Segment& segment) {
  Output out;
  out.Add("begin", segment.begin);
  out.Add("end", segment.end);
  out.Add("text", segment.text);
  std::vector<Output> words;
  for (const Word& word : segment.words) {
    Output& entry = words.emplace_back();
    entry.Add("text", word.text);
    entry.Add("begin", word.begin);
    entry.Add("end", word.end);
  }
  out.AddJson("words", JsonArray(words));
  return out;
}

void PrintLine(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);  // a reader at the other end of a pipe waits for it
}

}  // namespace

std::string Subtitle(const Segment& segment, TranscriptFormat format, int64_t number) {
  const bool srt = format == TranscriptFormat::kSrt;
  const char point = srt ? ',' : '.';
  return (srt ? std::to_string(number) + "\n" : "") + Stamp(segment.begin, point) + " --> " +
         Stamp(segment.end, point) + "\n" + (srt ? segment.text : EscapeVtt(segment.text)) + "\n";
}

TranscriptPrinter::TranscriptPrinter(const Options& options)
    : options_(options), terminal_(isatty(1) != 0) {}

void TranscriptPrinter::BeginFile(const std::string& heading) {
  kept_.clear();
  count_ = 0;
  if (!heading.empty()) PrintLine(heading);
  if (options_.format == TranscriptFormat::kVtt) PrintLine("WEBVTT\n");
}

void TranscriptPrinter::OnSegment(const Segment& segment) {
  ++count_;
  kept_.push_back({ToOutput(segment), segment.text});
  if (options_.stream && kept_.size() > kKept) kept_.pop_front();
  if (!options_.json) return Print(segment);
  if (options_.stream) PrintLine("{\"segment\": " + kept_.back().segment.Json() + "}");
}

void TranscriptPrinter::Print(const Segment& segment) {
  if (options_.format != TranscriptFormat::kText) {
    return PrintLine(Subtitle(segment, options_.format, count_));
  }
  Erase();
  PrintLine(Clock(segment.begin) + " - " + Clock(segment.end) + "  " + segment.text);
}

void TranscriptPrinter::OnPartial(double seconds, const std::string& text) {
  Output out;
  out.Add("seconds", seconds);
  out.Add("text", text);
  if (options_.json) return PrintLine("{\"partial\": " + out.Json() + "}");
  if (options_.format != TranscriptFormat::kText) return;
  if (!terminal_) return PrintLine("... " + text);
  Erase();
  std::printf("%s", text.c_str());
  std::fflush(stdout);
}

void TranscriptPrinter::EndFile(Output* report) {
  std::string text;
  std::vector<Output> segments;
  for (Kept& kept : kept_) {
    text += (text.empty() ? "" : " ") + kept.text;
    segments.push_back(std::move(kept.segment));
  }
  report->Add("text", text);
  report->AddJson("segments", JsonArray(segments));
  const int64_t forgotten = count_ - std::ssize(kept_);
  if (forgotten > 0) report->Add("segments_forgotten", forgotten);
  kept_.clear();
}

void TranscriptPrinter::Erase() const {
  if (options_.stream && terminal_) std::printf("\r\033[K");
}

}  // namespace rondo::cli
