#include "train/recipe/speech_recipe.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "rondo/speech_units.h"
#include "train/recipe/place.h"
#include "train/recipe/resolved.h"

namespace rondo {
namespace {

void CheckLosses(const Recipe& recipe, const Place& place) {
  const SpeechSection& s = *recipe.speech;
  if (s.speeds.empty()) place.Fail("speeds", "an empty list", "[1.0] or more");
  if (s.task != SpeechTask::kTranscribe && s.attention == 0) {
    place.Fail("attention", "0", "above 0: translations are read from a decoder");
  }
  const bool hidden =
      std::ranges::all_of(recipe.stages, [](const StageOptions& o) { return o.hidden > 0; });
  if (s.ctc == 0 && s.attention == 0 && s.transducer == 0 && !hidden) {
    place.Fail("ctc", "no loss", "ctc, attention or transducer above 0, or every stage's `hidden`");
  }
}

std::vector<TrainGroup> ReachedBy(const SpeechSection& s) {
  std::vector<TrainGroup> groups = {{"encoder.*"}, {"front.*"}};
  if (s.ctc > 0) groups.push_back({"ctc.*"});
  if (s.attention > 0) groups.push_back({"decoder.*"});
  if (s.transducer > 0) {
    groups.push_back({"predictor.*"});
    groups.push_back({"joiner.*"});
  }
  return groups;
}

// Whether units mean the same to both.
bool SameUnits(const SpeechModel& a, const SpeechModel& b) {
  if (a.config.units != b.config.units) return false;
  if (a.config.units.kind != UnitKind::kSentencePiece) return true;
  const auto tokenizer = [](const SpeechModel& model) {
    return ReadTextFile(model.path + "/tokenizer.model");
  };
  return tokenizer(a) == tokenizer(b);
}

}  // namespace

void CheckSpeechRecipe(const Recipe& recipe) {
  CheckRunSection(recipe);
  const Place root = {recipe.file, ""}, place = {recipe.file, "speech"};
  if (recipe.init) root.Fail("init", "beside [speech]", "[speech] alone, or model");
  if (recipe.tying) root.Fail("tying", "beside [speech]", "[speech] alone");
  CheckLosses(recipe, place);
}

Stage ResolveSpeechStage(const Recipe& recipe, size_t index, const ModelConfig& encoder) {
  Recipe plain = recipe;
  StageOptions& o = plain.stages[index];
  // Hidden states may be matched behind the last depth alone, which ResolveStage refuses.
  const double hidden = std::exchange(o.hidden, 0);
  Stage stage = ResolveStage(plain, index, encoder);
  if (hidden > 0 && recipe.teacher.empty()) {
    Place{recipe.file, ""}.Fail("teacher", "none, but stage '" + o.name + "' learns from one",
                                "a speech model, or hidden = 0");
  }
  stage.loss.hidden = hidden;
  if (hidden == 0) stage.loss.hidden_depths.clear();
  if (o.parameters.empty()) stage.groups = ReachedBy(*recipe.speech);
  return stage;
}

void CheckSpeechModelOf(const Recipe& recipe, const SpeechModel& model) {
  const SpeechSection& s = *recipe.speech;
  const Place place = {recipe.file, "speech"};
  const bool texts = model.config.units.kind != UnitKind::kTokenizer;
  const auto check = [&](bool has, const char* field, double weight, const char* head) {
    if (weight == 0 || (has && texts)) return;
    place.Check(false, field, weight,
                has ? "0: Whisper learns from a teacher's encoder, not from texts" : head);
  };
  check(model.config.ctc, "ctc", s.ctc, "0: the model has no such head");
  check(model.decoder.has_value(), "attention", s.attention, "0: the model has no decoder");
  check(model.config.transducer.has_value(), "transducer", s.transducer,
        "0: the model has no such head");
}

void CheckSpeechTeacher(const Recipe& recipe, const SpeechModel& model,
                        const SpeechModel& teacher) {
  const SpeechSection& s = *recipe.speech;
  const auto fail = [&](const char* got, const char* expected) {
    Place{recipe.file, ""}.Fail("teacher", got, expected);
  };
  if (teacher.config.front != model.config.front) {
    fail("another front end", "the model's features and strides");
  }
  bool used = false;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const LossOptions loss = ResolveSpeechStage(recipe, i, model.encoder.config).loss;
    const bool heads = loss.vocab.kd > 0 && (s.ctc > 0 || s.attention > 0);
    used |= heads || loss.hidden > 0;
    if (loss.hidden > 0 && teacher.encoder.config.d_model != model.encoder.config.d_model) {
      fail("an encoder of another width", "the model's, as hidden states are compared");
    }
    if (!loss.hidden_depths.empty() &&
        teacher.encoder.config.layers != model.encoder.config.layers) {
      fail("an encoder of another depth", "the model's, as `hidden_depths` are compared");
    }
    if (!heads) continue;
    if (!SameUnits(model, teacher)) fail("other units of text", "the model's, or kd = 0");
    if (s.ctc > 0 && !teacher.config.ctc) fail("no CTC head", "one, or kd = 0");
    if (s.attention > 0 && !teacher.decoder) fail("no attention decoder", "one, or kd = 0");
  }
  if (!used) fail("a teacher that nothing is learnt from", "kd or hidden above 0, or none");
}

void CheckSameNormalisation(const Recipe& recipe, const GlobalCmvn& model,
                            const GlobalCmvn& teacher) {
  if (model.shift == teacher.shift && model.scale == teacher.scale) return;
  Place{recipe.file, ""}.Fail("teacher", "features normalised by other statistics",
                              "the model's: a teacher trained on the same data");
}

}  // namespace rondo
