#include "speech/speech_config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "base/with_file.h"
#include "rondo/error.h"
#include "speech/speech_names.h"

namespace rondo {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
T Choose(JsonObject& object, const char* key) {
  const std::string name = object.String(key);
  try {
    return ChoiceFromName<T>(name, "ParseSpeechConfig");
  } catch (const Error& error) {
    object.Fail(key, "unknown name '" + name + "'", error.info().expected);
  }
}

Json TransformerToJson(const ModelConfig& c) {
  Json json = {{"layers", c.layers},
               {"d_model", c.d_model},
               {"d_ff", c.d_ff},
               {"heads", c.heads},
               {"activation", ChoiceName(c.activation)},
               {"gated_ffn", c.gated_ffn},
               {"positions", ChoiceName(c.positions)},
               {"max_positions", c.max_positions},
               {"norm_eps", c.norm_eps}};
  if (c.conv_kernel > 0) json["conv_kernel"] = c.conv_kernel;
  if (c.positions == PositionKind::kRope) json["rope_theta"] = c.rope_theta;
  if (c.causal) {
    json["vocab"] = c.vocab;
    json["tied_embeddings"] = c.tied_embeddings;
    json["head_bias"] = c.head_bias;
    json["bos_token"] = c.bos_token;
    json["eos_tokens"] = c.eos_tokens;
  }
  return json;
}

ModelConfig TransformerFromJson(JsonObject object, bool decoder) {
  const int heads = object.Int("heads"), d_model = object.Int("d_model");
  if (heads < 1 || d_model < 1 || d_model % heads != 0) {
    object.Fail("heads", std::to_string(heads),
                "a divisor of d_model (" + std::to_string(d_model) + ")");
  }
  ModelConfig c = EncoderConfig(object.Int("layers"), d_model, object.Int("d_ff"), heads);
  c.activation = Choose<Activation>(object, "activation");
  c.gated_ffn = object.Bool("gated_ffn");
  c.positions = Choose<PositionKind>(object, "positions");
  c.max_positions = object.Int("max_positions");
  c.norm_eps = static_cast<float>(object.Number("norm_eps"));
  c.conv_kernel = object.Int("conv_kernel", 0);
  if (c.positions == PositionKind::kRope) {
    c.rope_theta = static_cast<float>(object.Number("rope_theta"));
    c.rotary_dim = c.head_dim;
  }
  if (decoder) {
    c.family = "decoder";
    c.causal = c.cross_attention = true;
    c.vocab = object.Int("vocab");
    c.tied_embeddings = object.Bool("tied_embeddings");
    c.head_bias = object.Bool("head_bias");
    c.bos_token = object.Int("bos_token");
    c.eos_tokens = object.Ints("eos_tokens");
  }
  object.RefuseUnknownKeys();
  return c;
}

Json FrontToJson(const FrontEnd& front) {
  return {{"features", ChoiceName(front.features)},
          {"sample_rate", front.sample_rate},
          {"mel_bins", front.mel_bins},
          {"normalize", front.normalize},
          {"strides", front.strides}};
}

FrontEnd FrontFromJson(JsonObject object) {
  FrontEnd front;
  front.features = Choose<FeatureKind>(object, "features");
  front.sample_rate = object.Int("sample_rate");
  front.mel_bins = object.Int("mel_bins");
  front.normalize = object.Bool("normalize");
  front.strides = object.Ints("strides");
  object.RefuseUnknownKeys();
  return front;
}

Json UnitsToJson(const UnitConfig& units) {
  Json json = {{"kind", ChoiceName(units.kind)}, {"count", units.count}, {"lower", units.lower}};
  if (units.kind == UnitKind::kCharacters) json["list"] = units.list;
  return json;
}

UnitConfig UnitsFromJson(JsonObject object) {
  UnitConfig units;
  units.kind = Choose<UnitKind>(object, "kind");
  units.count = object.Int("count");
  units.lower = object.Bool("lower");
  if (units.kind == UnitKind::kCharacters) units.list = object.Strings("list");
  object.RefuseUnknownKeys();
  return units;
}

Json WhisperToJson(const WhisperConfig& whisper) {
  return {{"suppress", whisper.suppress},
          {"suppress_first", whisper.suppress_first},
          {"alignment_heads", whisper.alignment_heads}};
}

WhisperConfig WhisperFromJson(JsonObject object) {
  WhisperConfig whisper;
  whisper.suppress = object.Ints("suppress");
  whisper.suppress_first = object.Ints("suppress_first");
  whisper.alignment_heads = IntPairs(object, "alignment_heads");
  object.RefuseUnknownKeys();
  return whisper;
}

Json SpeechToJson(const SpeechModel& model) {
  const SpeechConfig& c = model.config;
  Json json = {
      {"format", SpeechConfig::kFormat},
      {"front", FrontToJson(c.front)},
      {"encoder", TransformerToJson(model.encoder.config)},
      {"attention", {{"chunk", c.attention.chunk}, {"left_chunks", c.attention.left_chunks}}},
      {"units", UnitsToJson(c.units)},
      {"ctc", c.ctc}};
  if (c.transducer) {
    json["transducer"] = {{"width", c.transducer->width}, {"context", c.transducer->context}};
  }
  if (c.whisper) json["whisper"] = WhisperToJson(*c.whisper);
  if (model.decoder) {
    json["decoder"] = TransformerToJson(model.decoder->config);
    json["decoder_plan"] = Json::parse(PlanToJson(model.decoder->plan));
  }
  return json;
}

void ReadSpeech(JsonObject object, const nlohmann::json& raw, const std::string& file,
                SpeechModel& model) {
  const int format = object.Int("format");
  if (format != SpeechConfig::kFormat) {
    object.Fail("format", "version " + std::to_string(format), "version 1");
  }
  SpeechConfig& c = model.config;
  c.front = FrontFromJson(object.Object("front"));
  model.encoder.config = TransformerFromJson(object.Object("encoder"), false);
  JsonObject attention = object.Object("attention");
  c.attention = {attention.Int("chunk"), attention.Int("left_chunks")};
  attention.RefuseUnknownKeys();
  c.units = UnitsFromJson(object.Object("units"));
  c.ctc = object.Bool("ctc");
  if (object.Contains("transducer")) {
    JsonObject transducer = object.Object("transducer");
    c.transducer = {transducer.Int("width"), transducer.Int("context")};
    transducer.RefuseUnknownKeys();
  }
  if (object.Contains("whisper")) c.whisper = WhisperFromJson(object.Object("whisper"));
  if (object.Contains("decoder")) {
    model.decoder.emplace();
    model.decoder->config = TransformerFromJson(object.Object("decoder"), true);
    object.Object("decoder_plan");
    model.decoder->plan = PlanFromJson(raw["decoder_plan"].dump(), file);
  }
  object.RefuseUnknownKeys();
}

}  // namespace

std::vector<std::array<int, 2>> IntPairs(JsonObject& object, const char* key) {
  const nlohmann::json* list = object.Find(key);
  std::vector<std::array<int, 2>> pairs;
  if (list == nullptr) return pairs;
  if (!list->is_array()) object.Fail(key, JsonExcerpt(*list), "a list of pairs");
  for (const nlohmann::json& pair : *list) {
    const bool good = pair.is_array() && pair.size() == 2 && pair[0].is_number_unsigned() &&
                      pair[1].is_number_unsigned() && pair[0] < 10000 && pair[1] < 10000;
    if (!good) object.Fail(key, JsonExcerpt(pair), "a pair of numbers");
    pairs.push_back({pair[0].get<int>(), pair[1].get<int>()});
  }
  return pairs;
}

std::string SpeechConfigText(const SpeechModel& model) {
  Json json = {{"architectures", {"RondoForSpeech"}},
               {"model_type", "rondo"},
               {"rondo", Json::parse(PlanToJson(model.encoder.plan))},
               {"speech", SpeechToJson(model)}};
  return json.dump(1) + "\n";
}

SpeechModel ParseSpeechConfig(std::string_view text, const std::string& file) {
  const nlohmann::json json = ParseJsonChecked(text, file);
  JsonObject root(json, "ParseSpeechConfig", file);
  SpeechModel model;
  if (!root.Contains("speech")) {
    root.Fail("speech", "missing", "the \"speech\" section of a speech model");
  }
  ReadSpeech(root.Object("speech"), json["speech"], file, model);
  root.Object("rondo");
  model.encoder.plan = PlanFromJson(json["rondo"].dump(), file);
  return model;
}

}  // namespace rondo
