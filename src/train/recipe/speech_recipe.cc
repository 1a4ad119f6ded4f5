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

// The values of keys, to compare them.
struct Values {
  std::vector<std::pair<std::string, std::string>> list;
  void operator()(const char* key, const std::string& value, const char*) {
    list.emplace_back(key, value);
  }
  void operator()(const char* key, const std::vector<int>& values, const char*) {
    std::string text;
    for (const int value : values) text += std::to_string(value) + " ";
    list.emplace_back(key, text);
  }
  template <typename Number>
  void operator()(const char* key, Number value, const char*) {
    list.emplace_back(key, std::to_string(value));
  }
};

// A model's shape is its own: a recipe that names one and says another would be misread.
void CheckShapeIsLeftOut(const SpeechSection& section, const Place& place) {
  SpeechSection said = section, standard;
  Values given, defaults;
  VisitSpeechShape(said, given);
  VisitSpeechShape(standard, defaults);
  const auto [key, other] = std::ranges::mismatch(given.list, defaults.list);
  if (key == given.list.end()) return;
  place.Fail(key->first.c_str(), key->second + " beside `model`",
             "left out: the model has its own");
}

void CheckData(const SpeechSection& s, const Place& place) {
  place.Check(s.dropout >= 0 && s.dropout < 1, "dropout", s.dropout, "0 to below 1");
  place.Check(s.label_smoothing >= 0 && s.label_smoothing < 1, "label_smoothing", s.label_smoothing,
              "0 to below 1");
  for (const auto& [field, number] :
       {std::pair("frequency_masks", s.frequency_masks),
        std::pair("frequency_width", s.frequency_width), std::pair("time_masks", s.time_masks),
        std::pair("time_width", s.time_width)}) {
    place.Check(number >= 0, field, number, "0 or more");
  }
  place.Check(s.batch_frames >= 1, "batch_frames", s.batch_frames, "1 or more");
  if (s.speeds.empty()) place.Fail("speeds", "an empty list", "[1.0] or more");
  for (const double speed : s.speeds) {
    place.Check(speed > 0.1 && speed < 10, "speeds", speed, "0.1 to 10");
  }
}

void CheckLosses(const Recipe& recipe, const Place& place) {
  const SpeechSection& s = *recipe.speech;
  if (s.task != "transcribe" && s.task != "translate" && s.task != "both") {
    place.Fail("task", "'" + s.task + "'", "transcribe, translate or both");
  }
  place.Check(s.ctc >= 0, "ctc", s.ctc, "0 or more");
  place.Check(s.attention >= 0, "attention", s.attention, "0 or more");
  place.Check(s.transducer >= 0, "transducer", s.transducer, "0 or more");
  if (s.task != "transcribe" && s.attention == 0) {
    place.Fail("attention", "0", "above 0: translations are read from a decoder");
  }
  const bool hidden =
      std::ranges::all_of(recipe.stages, [](const StageOptions& o) { return o.hidden > 0; });
  if (s.ctc == 0 && s.attention == 0 && s.transducer == 0 && !hidden) {
    place.Fail("ctc", "no loss", "ctc, attention or transducer above 0, or every stage's `hidden`");
  }
}

// What stages of language models can do and this one would leave out silently.
void CheckStage(const StageOptions& o, const Place& place) {
  const auto refuse = [&](bool asked, const char* field) {
    if (asked) place.Fail(field, "a value for language models", "none with [speech]");
  };
  refuse(o.kind != "distill", "kind");
  refuse(o.batch != StageOptions().batch, "batch");
  refuse(o.exits != "none", "exits");
  refuse(o.gate != 0, "gate");
  refuse(o.layer_dropout != 0, "layer_dropout");
  refuse(o.mixture != 0, "mixture");
  refuse(o.consistency != 0, "consistency");
  refuse(!o.widths.empty(), "widths");
  refuse(o.fade != "none", "fade");
  refuse(o.checkpoint != "none", "checkpoint");
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
  if (recipe.run.device != "auto" && recipe.run.device != "cpu") {
    root.Fail("run.device", "'" + recipe.run.device + "'", "auto or cpu: speech trains on the CPU");
  }
  if (recipe.init) root.Fail("init", "beside [speech]", "[speech] alone, or model");
  if (recipe.tying) root.Fail("tying", "beside [speech]", "[speech] alone");
  if (!recipe.data.files.empty()) root.Fail("data", "beside [speech]", "[speech] alone");
  if (!recipe.teacher_cache.empty()) {
    root.Fail("teacher_cache", "beside [speech]", "none: features are drawn anew every epoch");
  }
  if (!recipe.model.empty()) CheckShapeIsLeftOut(*recipe.speech, place);
  CheckData(*recipe.speech, place);
  CheckLosses(recipe, place);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    CheckStage(recipe.stages[i], {recipe.file, "stages." + std::to_string(i)});
  }
}

Stage ResolveSpeechStage(const Recipe& recipe, size_t index, const ModelConfig& encoder) {
  Recipe plain = recipe;
  StageOptions& o = plain.stages[index];
  const double hidden = std::exchange(o.hidden, 0);
  if (recipe.teacher.empty()) o.kd = 0;
  Stage stage = ResolveStage(plain, index, encoder);
  const Place place = {recipe.file, "stages." + std::to_string(index)};
  place.Check(hidden >= 0, "hidden", hidden, "0 or more");
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
