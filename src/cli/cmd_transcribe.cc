#include <algorithm>
#include <cstdio>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "base/machine.h"
#include "base/memory_arena.h"
#include "base/stopwatch.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/stop_request.h"
#include "cli/transcript_printer.h"
#include "rondo/error.h"
#include "rondo/transcribe.h"

namespace rondo::cli {
namespace {

TranscribeOptions ToOptions(const TranscribeCommandOptions& options) {
  TranscribeOptions result;
  result.type = ToEngineOptions(options.type, "auto").weights;
  result.words = !options.no_words;
  result.timestamps = !options.no_timestamps;
  result.silence_db = options.silence;
  result.language = options.language;
  result.partial_seconds = options.stream ? options.partial : 0;
  result.search.kind = SearchKindFromName(options.search);
  result.search.beam = options.beam;
  result.search.translate = options.translate;
  return result;
}

struct Totals {
  double audio = 0, work = 0;
  double first_text = -1;  // seconds of work until the first segment of all
};

// What does not go together.
void Check(const TranscribeCommandOptions& options, bool json) {
  const bool subtitles = TranscriptFormatFromName(options.format) != TranscriptFormat::kText;
  const auto refuse = [&](const char* expected) {
    throw Error({.function = "RunTranscribe",
                 .problem = options.format,
                 .expected = expected,
                 .file = {},
                 .field = "--format"});
  };
  if (subtitles && json) refuse("text with --json");
  if (subtitles && options.audio.size() > 1) refuse("text, or one sound file");
}

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

[[noreturn]] void FailFull(const TranscribeCommandOptions& options, const std::string& audio) {
  throw Error({.function = "RunTranscribe",
               .problem = "the " + std::to_string(options.memory_mib) + " MiB are full",
               .expected = "more",
               .file = audio,
               .field = "--memory"});
}

}  // namespace

int RunTranscribe(const TranscribeCommandOptions& options, const CommonOptions& common) {
  Check(options, common.json);
  const TranscribeOptions transcribe = ToOptions(options);
  ThreadPool pool(common.threads);
  const Stopwatch loading;
  Transcriber transcriber(LoadSpeechModel(options.model), transcribe, pool);
  const double load_seconds = loading.Seconds();
  const TranscriptFormat format = TranscriptFormatFromName(options.format);
  TranscriptPrinter printer({.json = common.json, .stream = options.stream, .format = format});
  Totals totals;
  std::vector<Output> files;
  bool failed = false;
  const bool name_them = options.audio.size() > 1 && !common.json;
  // A microphone is ended by Ctrl-C.
  std::optional<StopRequest> stop;
  if (options.stream || std::ranges::count(options.audio, "-") > 0) stop.emplace();
  MemoryArena& arena = MemoryArena::Create(static_cast<uint64_t>(options.memory_mib) << 20);
  for (const std::string& audio : options.audio) {
    if (stop && stop->asked()) break;
    Output& report = files.emplace_back();
    report.Add("audio", audio);
    printer.BeginFile(name_them ? audio + ":" : "");
    const ArenaScope scope(arena);
    try {
      try {
        report.Add("seconds", TranscribeOne(audio, options, transcriber, printer,
                                            stop ? &*stop : nullptr, totals));
      } catch (const std::bad_alloc&) {
        FailFull(options, audio);
      }
    } catch (const Error& error) {  // one bad file does not end the others
      failed = true;
      std::fprintf(stderr, "rondo: %s\n", error.what());
      report.Add("error", error.what());
    }
    printer.EndFile(&report);
  }
  Output out;
  out.AddJson("files", JsonArray(files));
  out.Add("audio_seconds", totals.audio);
  out.Add("seconds", totals.work);
  // Time of work for a second of audio; reading from a microphone, it waits for the audio.
  out.Add("real_time_factor", totals.audio > 0 ? totals.work / totals.audio : 0.0);
  out.Add("load_seconds", load_seconds);
  out.Add("weight_bytes", static_cast<int64_t>(transcriber.weight_bytes()));
  // What working takes beside weights and code: one region of this size, and how much of it was
  // used.
  out.Add("arena_bytes", static_cast<int64_t>(arena.bytes()));
  out.Add("arena_peak_bytes", static_cast<int64_t>(arena.peak()));
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
