#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "base/machine.h"
#include "base/memory_error.h"
#include "base/memory_limit.h"
#include "base/stopwatch.h"
#include "base/strings.h"
#include "cli/command_line.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/stop_request.h"
#include "cli/transcript_printer.h"
#include "rondo/error.h"
#include "rondo/transcribe.h"

namespace rondo::cli {
namespace {

TranscribeOptions ToOptions(const TranscribeCommandOptions& options) {
  TranscribeOptions result = options.transcribe;
  result.words = !options.no_words;
  result.timestamps = !options.no_timestamps;
  result.silence_db = options.silence;
  result.partial_seconds = options.stream ? options.partial : 0;
  return result;
}

struct Totals {
  double audio = 0, work = 0;
  double first_text = -1;  // seconds of work until the first segment of all
};

// What does not go together.
std::unique_ptr<AudioSource> Open(const std::string& audio, int pcm_rate, int sample_rate,
                                  const StopRequest* stop) {
  if (audio == "-") {
    return OpenPipe(0, "standard input", pcm_rate, sample_rate, stop ? stop->descriptor() : -1);
  }
  auto source = AudioStore().Open(audio, sample_rate);
  return stop ? stop->Until(std::move(source)) : std::move(source);
}

// Prints what is said in one recording, and returns the seconds of sound in it. `stop` may be null.
double TranscribeOne(const std::string& audio, const TranscribeCommandOptions& options,
                     Transcriber& transcriber, TranscriptPrinter& printer, const StopRequest* stop,
                     Totals& totals) {
  const Stopwatch watch;
  const auto source = Open(audio, options.pcm_rate, transcriber.sample_rate(), stop);
  TranscribeEvents events;
  events.segment = [&](const Segment& segment) { printer.OnSegment(segment); };
  events.partial = [&](double seconds, const std::string& so_far) {
    printer.OnPartial(seconds, so_far);
  };
  const double seconds = transcriber.Run(*source, events);
  totals.audio += seconds;
  totals.work += watch.Seconds();
  return seconds;
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

// Sound libraries do not say that they got no memory. They ask for less than this at once, so that
// with more left an error of theirs is about the sound.
constexpr uint64_t kLibraryBytes = 16 * kMiB;

// TranscribeOne() within a limit of memory, of which an error says how much would suffice.
double TranscribeWithin(MemoryLimit& limit, const std::string& audio,
                        const TranscribeCommandOptions& options, Transcriber& transcriber,
                        TranscriptPrinter& printer, const StopRequest* stop, Totals& totals) {
  try {
    return TranscribeOne(audio, options, transcriber, printer, stop, totals);
  } catch (const std::bad_alloc&) {
    FailFull(limit, audio, MeasureMemory(audio, transcriber, limit));
  } catch (const MemoryError&) {
    FailFull(limit, audio, MeasureMemory(audio, transcriber, limit));
  } catch (const Error&) {
    if (limit.peak() + kLibraryBytes < limit.bytes()) throw;
    const uint64_t needed = MeasureMemory(audio, transcriber, limit);
    if (needed <= limit.bytes()) throw;
    FailFull(limit, audio, needed);
  }
}

}  // namespace

int RunTranscribe(const TranscribeCommandOptions& options, const CommonOptions& common) {
  if (options.format != TranscriptFormat::kText && common.json) {
    throw UsageError({.function = "RunTranscribe",
                      .problem = "subtitles in JSON",
                      .expected = "--format text, or no --json",
                      .file = {},
                      .field = "--format"});
  }
  const TranscribeOptions transcribe = ToOptions(options);
  UseOneHeap();
  ThreadPool pool(common.threads);
  const Stopwatch loading;
  Transcriber transcriber(LoadSpeechModel(options.model), transcribe, pool);
  const double load_seconds = loading.Seconds();
  const TranscriptFormat format = options.format;
  TranscriptPrinter printer({.json = common.json, .stream = options.stream, .format = format});
  Totals totals;
  std::vector<Output> files;
  bool failed = false;
  const bool name_them = options.audio.size() > 1 && !common.json;
  // A microphone is ended by Ctrl-C.
  std::optional<StopRequest> stop;
  if (options.stream || std::ranges::count(options.audio, "-") > 0) stop.emplace();
  const uint64_t most = static_cast<uint64_t>(options.memory_mib) * kMiB;
  uint64_t peak = 0;
  {
    MemoryLimit limit(most);
    for (const std::string& audio : options.audio) {
      if (stop && stop->asked()) break;
      Output& report = files.emplace_back();
      report.Add("audio", audio);
      printer.BeginFile(name_them ? audio + ":" : "");
      try {
        report.Add("seconds", TranscribeWithin(limit, audio, options, transcriber, printer,
                                               stop ? &*stop : nullptr, totals));
      } catch (const Error& error) {  // one bad file does not end the others
        failed = true;
        std::fprintf(stderr, "rondo: %s\n", UserText(error).c_str());
        report.Add("error", UserText(error));
      }
      printer.EndFile(&report);
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
  if (format != TranscriptFormat::kText) {  // standard output holds subtitles alone
    if (!common.quiet) std::fputs(out.Text().c_str(), stderr);
    return failed ? 1 : 0;
  }
  if (!common.json) std::printf("\n");
  out.Print(common.json);
  return failed ? 1 : 0;
}

}  // namespace rondo::cli
