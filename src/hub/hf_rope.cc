#include "hub/hf_rope.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "rondo/error.h"

namespace rondo {
namespace {

constexpr double kNeoxRotaryPart = 0.25;

struct Rope {
  double theta = 0;
  double part = 1;  // of each head that rotates
  RopeScaling scaling;
};

// rope_scaling, rope_parameters, or one entry of rope_parameters: {"rope_type": …, "rope_theta": …,
// …}.
void ReadDictionary(JsonObject dictionary, int max_positions, Rope* rope) {
  rope->theta = dictionary.Number("rope_theta", rope->theta);
  rope->part = dictionary.Number("partial_rotary_factor", rope->part);
  const std::string old_type = dictionary.String("type", "default");
  const std::string type = dictionary.String("rope_type", old_type);
  RopeScaling& scaling = rope->scaling;
  if (type == "linear") {
    scaling.kind = RopeScalingKind::kLinear;
    scaling.factor = static_cast<float>(dictionary.Number("factor"));
  } else if (type == "llama3") {
    scaling.kind = RopeScalingKind::kLlama3;
    scaling.factor = static_cast<float>(dictionary.Number("factor"));
    scaling.low_freq_factor = static_cast<float>(dictionary.Number("low_freq_factor"));
    scaling.high_freq_factor = static_cast<float>(dictionary.Number("high_freq_factor"));
    scaling.original_max_positions =
        dictionary.Int("original_max_position_embeddings", max_positions);
    if (!(scaling.low_freq_factor > 0 && scaling.high_freq_factor > scaling.low_freq_factor)) {
      dictionary.Fail("high_freq_factor", "not above low_freq_factor", "0 < low < high");
    }
    if (scaling.original_max_positions < 1) {
      dictionary.Fail("original_max_position_embeddings", "not positive", "1 or more");
    }
  } else if (type != "default") {
    dictionary.Fail("rope_type", "'" + type + "'", "default, linear or llama3");
  }
  dictionary.RefuseUnknownKeys();
}

void ReadTwoRopes(JsonObject& object, ModelConfig* config, Rope* global) {
  Rope local{.theta = object.Number("rope_local_base_freq", config->rope_local_theta)};
  if (object.Find("rope_parameters") != nullptr) {
    JsonObject parameters = object.Object("rope_parameters");
    ReadDictionary(parameters.Object("full_attention"), config->max_positions, global);
    ReadDictionary(parameters.Object("sliding_attention"), config->max_positions, &local);
    parameters.RefuseUnknownKeys();
  }
  if (local.scaling.kind != RopeScalingKind::kNone || local.part != 1) {
    object.Fail("rope_parameters", "scaling of sliding_attention", "rope_type default");
  }
  config->rope_local_theta = static_cast<float>(local.theta);
}

// GPT-NeoX has its own names; some files carry the common ones as well.
void ReadNeoxNames(JsonObject& object, Rope* rope) {
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

const char* ScalingName(RopeScalingKind kind) {
  return kind == RopeScalingKind::kLinear ? "linear" : "llama3";
}

}  // namespace

void ReadHfRope(JsonObject& object, const HfFamily& family, ModelConfig* config) {
  if (family.rope == HfRope::kNone) return;
  Rope rope{.theta = config->rope_theta};
  if (family.rope == HfRope::kPartial) {
    ReadNeoxNames(object, &rope);
  } else {
    rope.theta = object.Number("rope_theta", rope.theta);
    rope.part = object.Number("partial_rotary_factor", 1);
  }
  const bool has_scaling = object.Find("rope_scaling") != nullptr;
  const bool has_parameters = object.Find("rope_parameters") != nullptr;
  if (has_scaling && has_parameters) {
    object.Fail("rope_scaling", "given beside rope_parameters", "one of the two");
  }
  if (has_scaling) ReadDictionary(object.Object("rope_scaling"), config->max_positions, &rope);
  if (family.rope == HfRope::kTwo) {
    ReadTwoRopes(object, config, &rope);
  } else if (has_parameters) {
    ReadDictionary(object.Object("rope_parameters"), config->max_positions, &rope);
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
  nlohmann::ordered_json dictionary = {{"rope_type", ScalingName(scaling.kind)},
                                       {"factor", Shortest(scaling.factor)}};
  if (scaling.kind == RopeScalingKind::kLlama3) {
    dictionary["low_freq_factor"] = Shortest(scaling.low_freq_factor);
    dictionary["high_freq_factor"] = Shortest(scaling.high_freq_factor);
    dictionary["original_max_position_embeddings"] = scaling.original_max_positions;
  }
  (*json)["rope_scaling"] = std::move(dictionary);
}

double Shortest(float value) {
  char text[64];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
  double out = value;
  if (error == std::errc{}) std::from_chars(text, end, out);
  return out;
}

}  // namespace rondo
