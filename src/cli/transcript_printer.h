// Shows what is heard: as lines with times, as subtitles, or as JSON.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "cli/output.h"
#include "rondo/transcribe.h"

namespace rondo::cli {

enum class TranscriptFormat { kText, kSrt, kVtt };

// A segment as a subtitle: SubRip's with its number, or WebVTT's.
std::string Subtitle(const Segment& segment, TranscriptFormat format, int64_t number);

class TranscriptPrinter {
 public:
  struct Options {
    bool json = false;
    bool stream = false;  // text that may still change, too; what was printed long ago is forgotten
    TranscriptFormat format = TranscriptFormat::kText;
  };
  explicit TranscriptPrinter(const Options& options);

  void BeginFile(const std::string& heading);  // empty: none
  void OnSegment(const Segment& segment);
  // Where it can be overwritten it is, on a terminal.
  void OnPartial(double seconds, const std::string& text);
  // Adds "text", "segments" and, where there are any, the number of "segments_forgotten" of the
  // file to its report.
  void EndFile(Output* report);

 private:
  struct Kept {
    Output segment;
    std::string text;
  };
  void Print(const Segment& segment);
  void Erase() const;

  Options options_;
  bool terminal_;
  std::deque<Kept> kept_;
  int64_t count_ = 0;  // segments of the file
};

}  // namespace rondo::cli
