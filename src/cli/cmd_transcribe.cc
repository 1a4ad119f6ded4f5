#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "base/machine.h"
#include "base/memory_limit.h"
#include "base/stopwatch.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "rondo/transcribe.h"

namespace rondo::cli {
namespace {

std::string Clock(double seconds) {
  char text[32];
  std::snprintf(text, sizeof(text), "%d:%05.2f", static_cast<int>(seconds) / 60,
                seconds - 60 * (static_cast<int>(seconds) / 60));
  return text;
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

// Shows segments as they come, and text that may still change where it can be overwritten.
class Printer {
 public:
  Printer(bool json, bool stream) : json_(json), stream_(stream), terminal_(isatty(1) != 0) {}

  void OnSegment(const Segment& segment) {
    segments_.push_back(ToOutput(segment));
    if (json_ && stream_) {
      PrintLine("{\"segment\": " + segments_.back().Json() + "}");
    } else if (!json_) {
      Erase();
      PrintLine(Clock(segment.begin) + " - " + Clock(segment.end) + "  " + segment.text);
    }
  }
  void OnPartial(double seconds, const std::string& text) {
    Output out;
    out.Add("seconds", seconds);
    out.Add("text", text);
    if (json_) return PrintLine("{\"partial\": " + out.Json() + "}");
    if (!terminal_) return PrintLine("... " + text);
    Erase();
    std::printf("%s", text.c_str());
    std::fflush(stdout);
  }
  std::vector<Output> TakeSegments() { return std::exchange(segments_, {}); }

 private:
  void Erase() const {
    if (stream_ && terminal_) std::printf("\r\033[K");
  }
  bool json_, stream_, terminal_;
  std::vector<Output> segments_;
};

TranscribeOptions ToOptions(const TranscribeCommandOptions& options) {
  TranscribeOptions result = options.transcribe;
  result.words = !options.no_words;
  result.timestamps = !options.no_timestamps;
  result.partial_seconds = options.stream ? options.partial : 0;
  return result;
}

struct Totals {
  double audio = 0, work = 0;
  double first_text = -1;  // seconds of work until the first segment of all
};

Output TranscribeOne(const std::string& audio, const TranscribeCommandOptions& options,
                     Transcriber& transcriber, Printer& printer, bool name_it, Totals& totals) {
  const Stopwatch watch;
  AudioStore store;
  const bool pipe = audio == "-";
  const auto source =
      pipe ? OpenPcm(0, "standard input", options.pcm_rate, transcriber.sample_rate())
           : store.Open(audio, transcriber.sample_rate());
  if (name_it) PrintLine(audio + ":");
  std::string text;
  TranscribeEvents events;
  events.segment = [&](const Segment& segment) {
    text += (text.empty() ? "" : " ") + segment.text;
    printer.OnSegment(segment);
  };
  events.partial = [&](double seconds, const std::string& so_far) {
    printer.OnPartial(seconds, so_far);
  };
  const double seconds = transcriber.Run(*source, events);
  totals.audio += seconds;
  totals.work += watch.Seconds();
  Output out;
  out.Add("audio", audio);
  out.Add("seconds", seconds);
  out.Add("text", text);
  out.AddJson("segments", JsonArray(printer.TakeSegments()));
  return out;
}

constexpr uint64_t kMiB = uint64_t{1} << 20;

// The first minute of another source.
class FirstMinute : public AudioSource {
 public:
  explicit FirstMinute(std::unique_ptr<AudioSource> source)
      : source_(std::move(source)),
        left_(size_t{60} * static_cast<size_t>(source_->sample_rate())) {}
  int sample_rate() const override { return source_->sample_rate(); }
  size_t Read(std::span<float> out) override {
    if (left_ == 0) return 0;
    const size_t got = source_->Read(out.first(std::min(left_, out.size())));
    left_ -= got;
    return got;
  }

 private:
  std::unique_ptr<AudioSource> source_;
  size_t left_;
};

// Peak of the first minute's memory, which must leave half of what the machine has for others.
// What has been read from a pipe cannot be read again.
uint64_t MeasureMemory(const std::string& audio, Transcriber& transcriber, MemoryLimit& limit) {
  const uint64_t before = limit.bytes();
  if (audio != "-") {
    limit.Set(std::max(before, static_cast<uint64_t>(AvailableMemoryBytes()) / 2));
    try {
      AudioStore store;
      FirstMinute source(store.Open(audio, transcriber.sample_rate()));
      transcriber.Run(source, {});
    } catch (const std::exception&) {
      // What it is about was said the first time; the peak says whether it was memory.
    }
  }
  const uint64_t peak = limit.peak();
  limit.Set(before);
  return peak;
}

[[noreturn]] void FailFull(const MemoryLimit& limit, const std::string& audio, uint64_t needed) {
  const uint64_t given = limit.bytes() / kMiB;
  throw Error(
      {.function = "RunTranscribe",
       .problem = "the " + std::to_string(given) + " MiB do not suffice",
       .expected = needed > limit.bytes() ? std::to_string(needed / kMiB + 1) + " or more" : "more",
       .file = audio,
       .field = "--memory"});
}

}  // namespace

int RunTranscribe(const TranscribeCommandOptions& options, const CommonOptions& common) {
  const TranscribeOptions transcribe = ToOptions(options);
  UseOneHeap();
  ThreadPool pool(common.threads);
  const Stopwatch loading;
  Transcriber transcriber(LoadSpeechModel(options.model), transcribe, pool);
  const double load_seconds = loading.Seconds();
  Printer printer(common.json, options.stream);
  Totals totals;
  std::vector<Output> files;
  const bool name_them = options.audio.size() > 1 && !common.json;
  const uint64_t most = static_cast<uint64_t>(options.memory_mib) * kMiB;
  uint64_t peak = 0;
  {
    MemoryLimit limit(most);
    for (const std::string& audio : options.audio) {
      try {
        files.push_back(TranscribeOne(audio, options, transcriber, printer, name_them, totals));
      } catch (const std::bad_alloc&) {
        FailFull(limit, audio, MeasureMemory(audio, transcriber, limit));
      } catch (const Error&) {
        // A buffer's, or a sound library's that got no memory; anything else is what it says.
        const uint64_t needed = MeasureMemory(audio, transcriber, limit);
        if (needed <= limit.bytes()) throw;
        FailFull(limit, audio, needed);
      }
    }
    peak = limit.peak();
  }
  Output out;
  out.AddJson("files", JsonArray(files));
  out.Add("audio_seconds", totals.audio);
  out.Add("seconds", totals.work);
  // Time of work for a second of audio; reading from a microphone, it waits for the audio.
  out.Add("real_time_factor", totals.audio > 0 ? totals.work / totals.audio : 0.0);
  out.Add("load_seconds", load_seconds);
  out.Add("weight_bytes", static_cast<int64_t>(transcriber.weight_bytes()));
  // What working may take beside weights and code, and how much it took.
  out.Add("arena_bytes", static_cast<int64_t>(most));
  out.Add("arena_peak_bytes", static_cast<int64_t>(peak));
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  if (!common.json) std::printf("\n");
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
