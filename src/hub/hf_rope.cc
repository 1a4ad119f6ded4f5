#include "hub/hf_rope.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/warn.h"
#include "rondo/error.h"

namespace rondo {
namespace {

constexpr double kNeoxRotaryPart = 0.25;

// Keys of some type of scaling; a type that does not use one leaves it alone, as transformers does.
constexpr std::string_view kKnownKeys[] = {"factor",
                                           "attention_factor",
                                           "beta_fast",
                                           "beta_slow",
                                           "mscale",
                                           "mscale_all_dim",
                                           "truncate",
                                           "finetuned",
                                           "low_freq_factor",
                                           "high_freq_factor",
                                           "short_factor",
                                           "long_factor",
                                           "original_max_position_embeddings"};

struct RopeValues {
  double theta = 0;
  double part = 1;  // of each head that rotates
  RopeScaling scaling;
  bool operator==(const RopeValues&) const = default;
};

// What stands outside the dictionary and matters inside.
struct Positions {
  int max = 0;
  std::optional<int>
      original;  // beside the dictionary, as in Phi-3's files; wins over the one inside
};

float PositiveNumber(JsonObject& dictionary, std::string_view key,
                     std::optional<double> fallback = {}) {
  const double value = dictionary.Number(key, fallback);
  if (!(value > 0)) dictionary.Fail(key, std::to_string(value), "a number above 0");
  return static_cast<float>(value);
}

void ReadOriginal(JsonObject& dictionary, const Positions& positions, RopeScaling* scaling) {
  constexpr const char* kKey = "original_max_position_embeddings";
  const int inside = dictionary.Int(kKey, positions.max);
  scaling->original_max_positions = positions.original.value_or(inside);
  if (scaling->original_max_positions < 1) dictionary.Fail(kKey, "not positive", "1 or more");
}

void ReadLlama3(JsonObject& dictionary, RopeScaling* scaling) {
  scaling->factor = PositiveNumber(dictionary, "factor");
  scaling->low_freq_factor = static_cast<float>(dictionary.Number("low_freq_factor"));
  scaling->high_freq_factor = static_cast<float>(dictionary.Number("high_freq_factor"));
  if (!(scaling->low_freq_factor > 0 && scaling->high_freq_factor > scaling->low_freq_factor)) {
    dictionary.Fail("high_freq_factor", "not above low_freq_factor", "0 < low < high");
  }
}

// How many times longer than in pretraining texts may be; files may leave it to their positions.
float FactorOrRatio(JsonObject& dictionary, const Positions& positions,
                    const RopeScaling& scaling) {
  return PositiveNumber(dictionary, "factor",
                        static_cast<double>(positions.max) / scaling.original_max_positions);
}

void ReadYarn(JsonObject& dictionary, const Positions& positions, RopeScaling* scaling) {
  scaling->factor = FactorOrRatio(dictionary, positions, *scaling);
  scaling->beta_fast = PositiveNumber(dictionary, "beta_fast", 32);
  scaling->beta_slow = PositiveNumber(dictionary, "beta_slow", 1);
  scaling->truncate = dictionary.Bool("truncate", true);
  const double factor = scaling->factor;
  const auto attention = [&](double scale) {
    return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1;
  };
  const double mscale = dictionary.Number("mscale", 0);
  const double all_dims = dictionary.Number("mscale_all_dim", 0);
  const double inferred =
      mscale != 0 && all_dims != 0 ? attention(mscale) / attention(all_dims) : attention(1);
  scaling->attention_factor = PositiveNumber(dictionary, "attention_factor", inferred);
}

std::vector<float> Divisors(JsonObject& dictionary, std::string_view key) {
  std::vector<float> divisors;
  for (const double value : dictionary.Numbers(key)) {
    if (!(value > 0)) dictionary.Fail(key, std::to_string(value), "numbers above 0");
    divisors.push_back(static_cast<float>(value));
  }
  if (divisors.empty()) dictionary.Fail(key, "missing", "a number for each frequency");
  return divisors;
}

void ReadLongRope(JsonObject& dictionary, const Positions& positions, RopeScaling* scaling) {
  scaling->factor = FactorOrRatio(dictionary, positions, *scaling);
  scaling->short_factors = Divisors(dictionary, "short_factor");
  scaling->long_factors = Divisors(dictionary, "long_factor");
  const double factor = scaling->factor, original = scaling->original_max_positions;
  const double inferred =
      factor <= 1 || original <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(original));
  scaling->attention_factor = PositiveNumber(dictionary, "attention_factor", inferred);
}

// rope_scaling, rope_parameters, or one entry of rope_parameters: {"rope_type": …, "rope_theta": …,
// …}.
void ReadDictionary(JsonObject dictionary, const Positions& positions, RopeValues* rope) {
  rope->theta = dictionary.Number("rope_theta", rope->theta);
  rope->part = dictionary.Number("partial_rotary_factor", rope->part);
  const std::string old_type = dictionary.String("type", "default");
  const std::string type = dictionary.String("rope_type", old_type);
  RopeScaling& scaling = rope->scaling;
  scaling = {};
  if (type == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
    scaling.factor = PositiveNumber(dictionary, "factor");
  } else if (type == "dynamic") {
    scaling.kind = RopeScalingKind::kDynamic;
    scaling.factor = PositiveNumber(dictionary, "factor");
    scaling.original_max_positions = positions.max;
  } else if (type == "llama3") {
    scaling.kind = RopeScalingKind::kLlama3;
    ReadOriginal(dictionary, positions, &scaling);
    ReadLlama3(dictionary, &scaling);
  } else if (type == "yarn") {
    scaling.kind = RopeScalingKind::kYarn;
    ReadOriginal(dictionary, positions, &scaling);
    ReadYarn(dictionary, positions, &scaling);
  } else if (type == "longrope" || type == "su") {  // the latter is Phi-3's first name for it
    scaling.kind = RopeScalingKind::kLongRope;
    ReadOriginal(dictionary, positions, &scaling);
    ReadLongRope(dictionary, positions, &scaling);
  } else if (type != "default") {
    dictionary.Fail("rope_type", "'" + type + "'",
                    "default, linear, dynamic, llama3, yarn or longrope");
  }
  dictionary.Ignore(kKnownKeys);
  dictionary.RefuseUnknownKeys();
}

// Present and not an empty object.
bool Says(JsonObject& object, std::string_view key) {
  const nlohmann::json* value = object.Find(key);
  return value != nullptr && !(value->is_object() && value->empty());
}

// As transformers: rope_scaling where both are given.
void ReadOneRope(JsonObject& object, const Positions& positions, RopeValues* rope) {
  RopeValues old_keys = *rope, new_keys = *rope;
  const bool has_old = Says(object, "rope_scaling"), has_new = Says(object, "rope_parameters");
  if (has_old) ReadDictionary(object.Object("rope_scaling"), positions, &old_keys);
  if (has_new) ReadDictionary(object.Object("rope_parameters"), positions, &new_keys);
  if (has_old && has_new && old_keys != new_keys) {
    Warn(object.file() +
         ": rope_scaling and rope_parameters differ; rope_scaling counts, as in transformers");
  }
  *rope = has_old ? old_keys : new_keys;
}

void ReadTwoRopes(JsonObject& object, const Positions& positions, ModelConfig* config,
                  RopeValues* global) {
  RopeValues local{.theta = object.Number("rope_local_base_freq", config->rope_local_theta)};
  if (Says(object, "rope_parameters")) {
    JsonObject parameters = object.Object("rope_parameters");
    const auto read = [&](std::string_view key, RopeValues* rope) {
      if (Says(parameters, key)) ReadDictionary(parameters.Object(key), positions, rope);
    };
    read("full_attention", global);
    read("sliding_attention", &local);
    parameters.RefuseUnknownKeys();
  }
  if (Says(object, "rope_scaling")) {
    ReadDictionary(object.Object("rope_scaling"), positions, global);
  }
  if (local.scaling.kind != RopeScalingKind::kNone || local.part != 1) {
    object.Fail("rope_parameters", "scaling of sliding_attention", "rope_type default");
  }
  config->rope_local_theta = static_cast<float>(local.theta);
}

// GPT-NeoX has its own names; some files carry the common ones as well.
void ReadNeoxNames(JsonObject& object, RopeValues* rope) {
  const double theta = object.Number("rope_theta", rope->theta);
  rope->theta = object.Number("rotary_emb_base", theta);
  if (object.Find("rope_theta") != nullptr && theta != rope->theta) {
    object.Fail("rope_theta", "differs from rotary_emb_base", "the same value");
  }
  const double part = object.Number("partial_rotary_factor", kNeoxRotaryPart);
  rope->part = object.Number("rotary_pct", part);
  if (object.Find("partial_rotary_factor") != nullptr && part != rope->part) {
    object.Fail("partial_rotary_factor", "differs from rotary_pct", "the same value");
  }
}

void CheckSizes(JsonObject& object, const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto wanted = static_cast<size_t>(config.rotary_dim / 2);
  const auto check = [&](const char* key, const std::vector<float>& divisors) {
    if (divisors.size() == wanted) return;
    object.Fail(key, std::to_string(divisors.size()) + " numbers",
                std::to_string(wanted) + ", one for each frequency");
  };
  if (scaling.kind == RopeScalingKind::kLongRope) {
    check("rope_scaling.short_factor", scaling.short_factors);
    check("rope_scaling.long_factor", scaling.long_factors);
  }
  if (scaling.kind == RopeScalingKind::kDynamic && config.rotary_dim < 4) {
    object.Fail("rope_scaling.rope_type", "'dynamic'", "4 or more rotary dimensions");
  }
}

const char* ScalingName(RopeScalingKind kind) {
  switch (kind) {
    case RopeScalingKind::kLinear:
      return "linear";
    case RopeScalingKind::kLlama3:
      return "llama3";
    case RopeScalingKind::kYarn:
      return "yarn";
    case RopeScalingKind::kDynamic:
      return "dynamic";
    case RopeScalingKind::kLongRope:
      return "longrope";
    case RopeScalingKind::kNone:
      break;
  }
  return "default";
}

nlohmann::ordered_json Shortened(const std::vector<float>& values) {
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const float value : values) array.push_back(Shortest(value));
  return array;
}

nlohmann::ordered_json ScalingToJson(const RopeScaling& scaling) {
  nlohmann::ordered_json json = {{"rope_type", ScalingName(scaling.kind)},
                                 {"factor", Shortest(scaling.factor)}};
  if (scaling.kind == RopeScalingKind::kLlama3) {
    json["low_freq_factor"] = Shortest(scaling.low_freq_factor);
    json["high_freq_factor"] = Shortest(scaling.high_freq_factor);
  }
  if (scaling.kind == RopeScalingKind::kYarn) {
    json["beta_fast"] = Shortest(scaling.beta_fast);
    json["beta_slow"] = Shortest(scaling.beta_slow);
    if (!scaling.truncate) json["truncate"] = false;
  }
  if (scaling.kind == RopeScalingKind::kLongRope) {
    json["short_factor"] = Shortened(scaling.short_factors);
    json["long_factor"] = Shortened(scaling.long_factors);
  }
  const bool yarn_or_long =
      scaling.kind == RopeScalingKind::kYarn || scaling.kind == RopeScalingKind::kLongRope;
  if (yarn_or_long) json["attention_factor"] = Shortest(scaling.attention_factor);
  if (yarn_or_long || scaling.kind == RopeScalingKind::kLlama3) {
    json["original_max_position_embeddings"] = scaling.original_max_positions;
  }
  return json;
}

}  // namespace

void ReadHfRope(JsonObject& object, const HfFamily& family, ModelConfig* config) {
  if (family.rope == HfRope::kNone) return;
  RopeValues rope{.theta = config->rope_theta};
  if (family.rope == HfRope::kPartial) {
    ReadNeoxNames(object, &rope);
  } else {
    rope.theta = object.Number("rope_theta", rope.theta);
    rope.part = object.Number("partial_rotary_factor", 1);
  }
  Positions positions{.max = config->max_positions};
  constexpr const char* kOriginal = "original_max_position_embeddings";
  if (object.Find(kOriginal) != nullptr) positions.original = object.Int(kOriginal);
  if (family.rope == HfRope::kTwo) {
    ReadTwoRopes(object, positions, config, &rope);
  } else {
    ReadOneRope(object, positions, &rope);
  }
  if (family.rope != HfRope::kPartial && rope.part != 1) {
    object.Fail("partial_rotary_factor", std::to_string(rope.part), "1 in this family");
  }
  if (!(rope.part > 0 && rope.part <= 1)) {
    object.Fail("partial_rotary_factor", std::to_string(rope.part), "above 0, at most 1");
  }
  config->rope_theta = static_cast<float>(rope.theta);
  config->rope_scaling = rope.scaling;
  config->rotary_dim = static_cast<int>(config->head_dim * rope.part);
  CheckSizes(object, *config);
  config->max_positions = RopeReach(rope.scaling, config->max_positions);
}

void WriteHfRope(const ModelConfig& config, const HfFamily& family, nlohmann::ordered_json* json) {
  if (family.rope == HfRope::kNone) return;
  if (family.rope == HfRope::kPartial) {
    (*json)["rotary_emb_base"] = Shortest(config.rope_theta);
    double part = static_cast<double>(config.rotary_dim) / config.head_dim;
    // Readers truncate head_dim * part, so the quotient must not lie below the true one.
    if (static_cast<int>(config.head_dim * part) < config.rotary_dim)
      part = std::nextafter(part, 2);
    (*json)["rotary_pct"] = part;
  } else {
    (*json)["rope_theta"] = Shortest(config.rope_theta);
  }
  if (family.rope == HfRope::kTwo) {
    (*json)["rope_local_base_freq"] = Shortest(config.rope_local_theta);
  }
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeScalingKind::kNone) return;
  (*json)["rope_scaling"] = ScalingToJson(scaling);
  if (scaling.kind == RopeScalingKind::kDynamic && !family.keys.max_positions.empty()) {
    (*json)[std::string(family.keys.max_positions)] = scaling.original_max_positions;
  }
}

int RopeReach(const RopeScaling& scaling, int max_positions) {
  const bool reaches =
      scaling.kind == RopeScalingKind::kYarn || scaling.kind == RopeScalingKind::kDynamic;
  if (!reaches) return max_positions;
  constexpr double kMost = 1 << 24;
  const double reach = std::floor(double{scaling.factor} * scaling.original_max_positions);
  return std::max(max_positions, static_cast<int>(std::min(reach, kMost)));
}

double Shortest(float value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
  double out = value;
  if (error == std::errc{}) std::from_chars(text, end, out);
  return out;
}

}  // namespace rondo
