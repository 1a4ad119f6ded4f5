#include <algorithm>

#include "base/file.h"
#include "base/glob.h"
#include "base/machine.h"
#include "base/progress.h"
#include "cli/output.h"
#include "cli/session.h"
#include "rondo/error.h"
#include "speech/manifest.h"
#include "speech/speech_eval.h"

namespace rondo::cli {
namespace {

// Every utterance has a translation, where those are compared; of transcripts some may be empty.
void CheckReferences(std::span<const Utterance> utterances, const SpeechFlags& flags) {
  const auto reference = flags.search.translate ? &Utterance::translation : &Utterance::text;
  const auto missing =
      std::ranges::count_if(utterances, [&](const Utterance& u) { return (u.*reference).empty(); });
  if (missing == 0 || (!flags.search.translate && missing < std::ssize(utterances))) return;
  throw Error({.function = "rondo eval",
               .problem = std::to_string(missing) + " utterances have none",
               .expected = "what is compared with",
               .file = flags.manifest,
               .field = flags.search.translate ? "translation" : "text"});
}

std::vector<Utterance> Select(const SpeechFlags& flags) {
  std::vector<Utterance> all = ReadManifest(flags.manifest, flags.audio);
  if (!flags.ids.empty()) {
    std::erase_if(all, [&](const Utterance& u) {
      return std::ranges::none_of(flags.ids,
                                  [&](const std::string& p) { return GlobMatch(p, u.id); });
    });
  }
  if (all.empty()) {
    throw Error({.function = "rondo eval",
                 .problem = "no utterance has such an id",
                 .expected = "patterns as *_0",
                 .file = flags.manifest,
                 .field = "--ids"});
  }
  const auto limit =
      flags.limit > 0 ? std::min<size_t>(static_cast<size_t>(flags.limit), all.size()) : all.size();
  std::vector<Utterance> some;
  for (size_t i = 0; i < limit; ++i) some.push_back(all[i * all.size() / limit]);
  CheckReferences(some, flags);
  return some;
}

SpeechEvalOptions OptionsOf(const SpeechFlags& flags) {
  SpeechEvalOptions options{.search = flags.search, .plain = flags.plain};
  if (flags.chunk) {
    options.search.context = {.chunk = *flags.chunk, .left_chunks = flags.left_chunks};
  }
  return options;
}

SpeechEval Evaluate(const SpeechModel& model, std::optional<DType> type,
                    std::span<const Utterance> utterances, const SpeechEvalOptions& options,
                    ThreadPool& pool) {
  if (model.config.front.features == FeatureKind::kWhisper) {
    Transcriber transcriber(model, {.type = type, .words = false, .search = options.search}, pool);
    return EvaluateSpeech(transcriber, utterances, options);
  }
  const Recognizer recognizer(model, type, pool);
  return EvaluateSpeech(recognizer, utterances, options);
}

void WriteHypotheses(const std::string& file, std::span<const Utterance> utterances,
                     const SpeechEval& result) {
  std::string text;
  for (size_t i = 0; i < utterances.size(); ++i) {
    text += utterances[i].id + "\t" + result.references[i] + "\t" + result.hypotheses[i] + "\n";
  }
  WriteTextFile(file, text);
}

}  // namespace

int RunEvalSpeech(const EvalOptions& options, const CommonOptions& common) {
  const SpeechFlags& flags = options.speech;
  ThreadPool pool(common.threads);
  const std::vector<Utterance> utterances = Select(flags);
  const SpeechModel model = LoadSpeechModel(options.model);
  Progress progress("recognising", static_cast<int64_t>(utterances.size()), common.quiet);
  SpeechEvalOptions evaluate = OptionsOf(flags);
  evaluate.on_result = [&](const Utterance&) { progress.Add(); };
  const SpeechEval result = Evaluate(model, options.engine.weights, utterances, evaluate, pool);
  if (!flags.hypotheses.empty()) WriteHypotheses(flags.hypotheses, utterances, result);
  Output out;
  out.Add("utterances", result.utterances);
  out.Add("words", result.words.Reference());
  out.Add("word_error_rate", result.words.Rate());
  out.Add("substitutions", result.words.substitutions);
  out.Add("deletions", result.words.deletions);
  out.Add("insertions", result.words.insertions);
  out.Add("character_error_rate", result.characters.Rate());
  if (flags.search.translate) {
    out.Add("bleu", Bleu(result.references, result.hypotheses));
    out.Add("chrf", ChrF(result.references, result.hypotheses));
  }
  out.Add("audio_seconds", result.audio_seconds);
  out.Add("seconds", result.seconds);
  out.Add("real_time_factor", result.RealTimeFactor());
  out.Add("peak_memory_bytes", PeakMemoryBytes());
  out.Print(common.json);
  return 0;
}

}  // namespace rondo::cli
