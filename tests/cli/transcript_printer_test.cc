#include "cli/transcript_printer.h"

#include <gmock/gmock.h>

namespace rondo::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

Segment Said(double begin, double end, const std::string& text) {
  return {.begin = begin, .end = end, .text = text, .units = {}, .words = {}};
}

std::string Printed(TranscriptFormat format, const std::vector<Segment>& segments) {
  testing::internal::CaptureStdout();
  TranscriptPrinter printer({.json = false, .stream = false, .format = format});
  printer.BeginFile("");
  for (const Segment& segment : segments) printer.OnSegment(segment);
  printer.OnPartial(1, "may change");
  return testing::internal::GetCapturedStdout();
}

TEST(TranscriptPrinter, WritesSubtitles) {
  const std::vector<Segment> segments = {Said(0, 1.5, "One & <two>."),
                                         Said(3661.0004, 3662, "Three")};
  EXPECT_EQ(Printed(TranscriptFormat::kSrt, segments),
            "1\n00:00:00,000 --> 00:00:01,500\nOne & <two>.\n\n"
            "2\n01:01:01,000 --> 01:01:02,000\nThree\n\n");
  EXPECT_EQ(Printed(TranscriptFormat::kVtt, segments),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nOne &amp; &lt;two&gt;.\n\n"
            "01:01:01.000 --> 01:01:02.000\nThree\n\n");
  EXPECT_EQ(Printed(TranscriptFormat::kSrt, {}), "");
}

TEST(TranscriptPrinter, WritesLinesWithTimes) {
  EXPECT_EQ(Printed(TranscriptFormat::kText, {Said(59, 61.25, "a b")}),
            "0:59.00 - 1:01.25  a b\n... may change\n");
}

std::string Report(bool stream, int segments) {
  testing::internal::CaptureStdout();
  TranscriptPrinter printer({.json = true, .stream = stream});
  printer.BeginFile("");
  for (int i = 0; i < segments; ++i) printer.OnSegment(Said(i, i + 1, "w" + std::to_string(i)));
  Output report;
  printer.EndFile(&report);
  testing::internal::GetCapturedStdout();
  return report.Json();
}

TEST(TranscriptPrinter, StreamsForgetWhatWasPrintedLongAgo) {
  EXPECT_THAT(Report(true, 3), HasSubstr(R"("text": "w0 w1 w2")"));
  EXPECT_THAT(Report(true, 3), Not(HasSubstr("forgotten")));
  const std::string longer = Report(true, 1500);
  EXPECT_THAT(longer, HasSubstr(R"("text": "w500 w501)"));
  EXPECT_THAT(longer, HasSubstr(R"("segments_forgotten": 500)"));
  // Of files everything is reported.
  EXPECT_THAT(Report(false, 1500), HasSubstr(R"("text": "w0 w1)"));
}

}  // namespace
}  // namespace rondo::cli
