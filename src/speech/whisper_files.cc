#include "speech/whisper_files.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "formats/ctranslate2.h"
#include "formats/safetensors.h"
#include "hub/hf_activation.h"
#include "rondo/error.h"
#include "speech/speech_config.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 16 << 20;
constexpr const char* kFunction = "LoadWhisper";

std::string Inside(const std::string& directory, const char* name) {
  return (fs::path(directory) / name).string();
}

nlohmann::json ReadJson(const std::string& file) {
  return ParseJsonChecked(ReadTextFile(file, kMaxConfigBytes), file);
}

// Sizes as Hugging Face's config.json has them.
struct WhisperShape {
  int mel_bins = 0, d_model = 0, vocab = 0, source_positions = 0, target_positions = 0;
  int layers[2] = {}, heads[2] = {}, d_ff[2] = {};  // of encoder and decoder
  Activation activation = Activation::kGelu;
  int begin_token = 0, end_token = 0;
};

ModelConfig Transformer(const WhisperShape& shape, int part) {
  ModelConfig c =
      EncoderConfig(shape.layers[part], shape.d_model, shape.d_ff[part], shape.heads[part]);
  c.positions = PositionKind::kLearned;
  c.activation = shape.activation;
  c.max_positions = part == 0 ? shape.source_positions : shape.target_positions;
  if (part == 0) return c;
  c.family = "decoder";
  c.causal = c.cross_attention = true;
  c.vocab = shape.vocab;
  c.bos_token = shape.begin_token;
  c.eos_tokens = {shape.end_token};
  return c;
}

SpeechModel Assemble(const WhisperShape& shape, WhisperConfig whisper, const std::string& path) {
  SpeechModel model;
  model.path = path;
  model.config.front = {.features = FeatureKind::kWhisper,
                        .sample_rate = 16000,
                        .mel_bins = shape.mel_bins,
                        .normalize = false,
                        .strides = {1, 2}};
  model.config.units = {.kind = UnitKind::kTokenizer, .count = shape.vocab};
  model.config.ctc = false;
  model.config.whisper = std::move(whisper);
  model.encoder.config = Transformer(shape, 0);
  model.decoder.emplace();
  model.decoder->config = Transformer(shape, 1);
  for (Model* part : {&model.encoder, &*model.decoder}) {
    part->path = path;
    part->config.Validate();
    part->plan = IdentityPlan(part->config);
  }
  return model;
}

// Gives tensors out by Hugging Face's names, and finds what was left over.
class Source {
 public:
  Source(TensorMap tensors, std::string file)
      : tensors_(std::move(tensors)), file_(std::move(file)) {}

  Tensor Take(const std::string& name) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) Fail(name, "missing tensor");
    Tensor tensor = std::move(found->second);
    tensors_.erase(found);
    return tensor.shape().size() == 1 ? Cast(tensor, DType::kF32) : tensor;
  }
  void Drop(const std::string& name) { tensors_.erase(name); }
  void RefuseRest() const {
    if (!tensors_.empty()) Fail(tensors_.begin()->first, "tensor that Whisper does not have");
  }

 private:
  [[noreturn]] void Fail(const std::string& name, std::string problem) const {
    throw Error({.function = kFunction,
                 .problem = std::move(problem),
                 .expected = "the tensors of WhisperForConditionalGeneration",
                 .file = file_,
                 .field = name});
  }
  TensorMap tensors_;
  std::string file_;
};

struct NamePair {
  Module module;
  const char* name;
};
constexpr NamePair kLayerNames[] = {
    {Module::kQ, "self_attn.q_proj"},
    {Module::kK, "self_attn.k_proj"},
    {Module::kV, "self_attn.v_proj"},
    {Module::kO, "self_attn.out_proj"},
    {Module::kCrossQ, "encoder_attn.q_proj"},
    {Module::kCrossK, "encoder_attn.k_proj"},
    {Module::kCrossV, "encoder_attn.v_proj"},
    {Module::kCrossO, "encoder_attn.out_proj"},
    {Module::kUp, "fc1"},
    {Module::kDown, "fc2"},
    {Module::kAttnNorm, "self_attn_layer_norm"},
    {Module::kCrossNorm, "encoder_attn_layer_norm"},
    {Module::kFfnNorm, "final_layer_norm"},
};

void TakeTransformer(Source& source, const std::string& prefix, Model& part) {
  const ModelConfig& config = part.config;
  for (int depth = 0; depth < config.layers; ++depth) {
    const std::string layer = prefix + "layers." + std::to_string(depth) + ".";
    for (const auto& [module, name] : kLayerNames) {
      if (!config.HasModule(module)) continue;
      part.weights.Set(BlockTensor(depth, module), source.Take(layer + name + ".weight"));
      const bool key = module == Module::kK || module == Module::kCrossK;
      const int64_t width = config.ModuleShape(module)[0];
      part.weights.Set(
          BlockTensor(depth, module, "bias"),
          key ? Tensor::FromF32({width}, std::vector<float>(static_cast<size_t>(width)))
              : source.Take(layer + name + ".bias"));
    }
  }
  part.weights.Set("positions.weight", source.Take(prefix + "embed_positions.weight"));
  for (const char* end : {"weight", "bias"}) {
    part.weights.Set(std::string("final_norm.") + end, source.Take(prefix + "layer_norm." + end));
  }
}

void TakeWeights(TensorMap tensors, const std::string& file, SpeechModel& model) {
  Source source(std::move(tensors), file);
  for (int i = 0; i < 2; ++i) {
    const std::string to = "front." + std::to_string(i);
    const std::string from = "model.encoder.conv" + std::to_string(i + 1);
    model.heads.Set(to + ".weight", source.Take(from + ".weight"));
    model.heads.Set(to + ".bias", source.Take(from + ".bias"));
  }
  TakeTransformer(source, "model.encoder.", model.encoder);
  TakeTransformer(source, "model.decoder.", *model.decoder);
  model.decoder->weights.Set("embed.weight", source.Take("model.decoder.embed_tokens.weight"));
  source.Drop("proj_out.weight");  // the embedding again
  source.RefuseRest();
}

WhisperShape ShapeOfHf(const nlohmann::json& json, const std::string& file) {
  JsonObject object(json, kFunction, file);
  WhisperShape shape;
  shape.mel_bins = object.Int("num_mel_bins", 80);
  shape.d_model = object.Int("d_model");
  shape.vocab = object.Int("vocab_size");
  shape.source_positions = object.Int("max_source_positions", 1500);
  shape.target_positions = object.Int("max_target_positions", 448);
  const char* parts[] = {"encoder", "decoder"};
  for (int i = 0; i < 2; ++i) {
    const std::string part = parts[i];
    shape.layers[i] = object.Int(part + "_layers");
    shape.heads[i] = object.Int(part + "_attention_heads");
    shape.d_ff[i] = object.Int(part + "_ffn_dim");
    if (shape.heads[i] < 1 || shape.d_model % shape.heads[i] != 0) {
      object.Fail(part + "_attention_heads", std::to_string(shape.heads[i]),
                  "a divisor of d_model (" + std::to_string(shape.d_model) + ")");
    }
  }
  const std::string activation = object.String("activation_function", "gelu");
  const auto known = ActivationFromName(activation, false);
  if (!known) object.Fail("activation_function", activation, KnownActivations());
  shape.activation = *known;
  if (object.Bool("scale_embedding", false)) object.Fail("scale_embedding", "true", "false");
  if (!object.Bool("tie_word_embeddings", true)) {
    object.Fail("tie_word_embeddings", "false", "true");
  }
  shape.begin_token = object.Int("decoder_start_token_id", 50257);
  shape.end_token = object.Int("eos_token_id", 50256);
  return shape;
}

// generation_config.json, which is optional.
WhisperConfig HfGeneration(const std::string& path) {
  WhisperConfig whisper;
  const std::string file = Inside(path, "generation_config.json");
  if (!PathExists(file)) return whisper;
  const nlohmann::json json = ReadJson(file);
  JsonObject object(json, kFunction, file);
  whisper.suppress = object.Ints("suppress_tokens");
  whisper.suppress_first = object.Ints("begin_suppress_tokens");
  whisper.alignment_heads = IntPairs(object, "alignment_heads");
  return whisper;
}

// From here on CTranslate2: its names become Hugging Face's, its fused matrices separate ones.

struct CtNames {
  const char* from;
  std::vector<const char*> to;  // one behind the other in the rows of `from`
};

const std::vector<CtNames>& CtLayerNames(bool decoder) {
  static const std::vector<CtNames> encoder_names = {
      {"self_attention/linear_0", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}},
      {"self_attention/linear_1", {"self_attn.out_proj"}},
      {"ffn/linear_0", {"fc1"}},
      {"ffn/linear_1", {"fc2"}},
      {"self_attention/layer_norm", {"self_attn_layer_norm"}},
      {"ffn/layer_norm", {"final_layer_norm"}}};
  static const std::vector<CtNames> decoder_names = [] {
    std::vector<CtNames> names = encoder_names;
    names.push_back({"attention/linear_0", {"encoder_attn.q_proj"}});
    names.push_back({"attention/linear_1", {"encoder_attn.k_proj", "encoder_attn.v_proj"}});
    names.push_back({"attention/linear_2", {"encoder_attn.out_proj"}});
    names.push_back({"attention/layer_norm", {"encoder_attn_layer_norm"}});
    return names;
  }();
  return decoder ? decoder_names : encoder_names;
}

class CtConverter {
 public:
  CtConverter(const CTranslate2Model& model, std::string file)
      : model_(model), file_(std::move(file)) {}

  TensorMap Convert(const WhisperShape& shape) {
    for (const char* part : {"encoder", "decoder"}) {
      const bool decoder = part[0] == 'd';
      const std::string to = std::string("model.") + part + ".", from = std::string(part) + "/";
      for (int i = 0; i < shape.layers[decoder]; ++i) {
        const std::string number = std::to_string(i);
        for (const CtNames& names : CtLayerNames(decoder)) {
          Move(from + "layer_" + number + "/" + names.from, to + "layers." + number + ".",
               names.to);
        }
      }
      Move(from + "layer_norm", to, {"layer_norm"});
      out_[to + "embed_positions.weight"] = Get(from + "position_encodings/encodings");
    }
    for (const char* conv : {"conv1", "conv2"}) {
      Move(std::string("encoder/") + conv, "model.encoder.", {conv});
    }
    out_["model.decoder.embed_tokens.weight"] = Get("decoder/embeddings/weight");
    return std::move(out_);
  }

  const Tensor& Get(const std::string& name) const {
    const auto found = model_.tensors.find(name);
    if (found != model_.tensors.end()) return found->second;
    throw Error({.function = kFunction,
                 .problem = "missing variable",
                 .expected = "the variables of a WhisperSpec",
                 .file = file_,
                 .field = name});
  }

 private:
  void Move(const std::string& from, const std::string& prefix,
            const std::vector<const char*>& to) {
    const bool norm = from.ends_with("layer_norm");
    const Tensor& weight = Get(from + (norm ? "/gamma" : "/weight"));
    const Tensor& bias = Get(from + (norm ? "/beta" : "/bias"));
    const auto parts = static_cast<int64_t>(to.size());
    for (int64_t i = 0; i < parts; ++i) {
      const std::string name = prefix + to[static_cast<size_t>(i)];
      out_[name + ".weight"] = Rows(weight, i, parts);
      // Whisper's keys have no bias; CTranslate2 has zeros in its fused one.
      if (!name.ends_with("k_proj")) out_[name + ".bias"] = Rows(bias, i, parts);
    }
  }
  // Part i of the first dimension.
  Tensor Rows(const Tensor& tensor, int64_t i, int64_t parts) const {
    if (parts == 1) return tensor;
    Shape shape = tensor.shape();
    shape[0] /= parts;
    const size_t size = tensor.bytes().size() / static_cast<size_t>(parts);
    const auto bytes = tensor.bytes().subspan(static_cast<size_t>(i) * size, size);
    return Tensor::FromBytes(tensor.dtype(), std::move(shape), {bytes.begin(), bytes.end()});
  }

  const CTranslate2Model& model_;
  std::string file_;
  TensorMap out_;
};

int64_t Dimension(const Tensor& tensor, size_t i, const std::string& file) {
  if (i < tensor.shape().size()) return tensor.dim(i);
  throw Error({.function = kFunction,
               .problem = "shape " + ToString(tensor.shape()),
               .expected = "a WhisperSpec",
               .file = file});
}

WhisperShape ShapeOfCt(const CTranslate2Model& model, const CtConverter& source,
                       const std::string& file) {
  const auto integer = [&](const std::string& name) {
    const auto found = model.integers.find(name);
    return found == model.integers.end() ? 0 : static_cast<int>(found->second);
  };
  const auto dim = [&](const std::string& name, size_t i) {
    return static_cast<int>(Dimension(source.Get(name), i, file));
  };
  WhisperShape shape;
  shape.mel_bins = dim("encoder/conv1/weight", 1);
  shape.d_model = dim("encoder/conv1/weight", 0);
  shape.vocab = dim("decoder/embeddings/weight", 0);
  shape.source_positions = dim("encoder/position_encodings/encodings", 0);
  shape.target_positions = dim("decoder/position_encodings/encodings", 0);
  const char* parts[] = {"encoder/", "decoder/"};
  for (int i = 0; i < 2; ++i) {
    const std::string part = parts[i];
    while (model.tensors.contains(part + "layer_" + std::to_string(shape.layers[i]) +
                                  "/ffn/linear_0/weight")) {
      ++shape.layers[i];
    }
    shape.heads[i] = integer(part + "num_heads");
    shape.d_ff[i] = dim(part + "layer_0/ffn/linear_0/weight", 0);
    if (shape.heads[i] >= 1 && shape.d_model % shape.heads[i] == 0) continue;
    throw Error({.function = kFunction,
                 .problem = std::to_string(shape.heads[i]),
                 .expected = "a divisor of " + std::to_string(shape.d_model),
                 .file = file,
                 .field = part + "num_heads"});
  }
  // The multilingual vocabulary has one token more in front of these.
  const bool multilingual = shape.vocab >= 51865;
  shape.end_token = multilingual ? 50257 : 50256;
  shape.begin_token = shape.end_token + 1;
  return shape;
}

WhisperConfig CtGeneration(const nlohmann::json& json, const std::string& file) {
  JsonObject object(json, kFunction, file);
  WhisperConfig whisper;
  whisper.suppress = object.Ints("suppress_ids");
  whisper.suppress_first = object.Ints("suppress_ids_begin");
  whisper.alignment_heads = IntPairs(object, "alignment_heads");
  return whisper;
}

SpeechModel LoadFromCt(const std::string& path, LoadParts parts) {
  const std::string file = Inside(path, "model.bin"), config = Inside(path, "config.json");
  const CTranslate2Model from = ReadCTranslate2(file);
  if (from.specification != "WhisperSpec") {
    throw Error({.function = kFunction,
                 .problem = "a " + from.specification,
                 .expected = "a WhisperSpec",
                 .file = file});
  }
  CtConverter converter(from, file);
  const WhisperShape shape = ShapeOfCt(from, converter, file);
  SpeechModel model = Assemble(shape, CtGeneration(ReadJson(config), config), path);
  if (parts == LoadParts::kAll) TakeWeights(converter.Convert(shape), file, model);
  return model;
}

}  // namespace

bool IsWhisper(const std::string& path) {
  if (PathExists(Inside(path, "model.bin"))) return true;
  const nlohmann::json json = ReadJson(Inside(path, "config.json"));
  const auto type = json.is_object() ? json.find("model_type") : json.end();
  return json.is_object() && type != json.end() && *type == "whisper";
}

SpeechModel LoadWhisper(const std::string& path, LoadParts parts) {
  if (PathExists(Inside(path, "model.bin"))) {
    SpeechModel model = LoadFromCt(path, parts);
    if (parts == LoadParts::kAll) CheckSpeechModel(model);
    return model;
  }
  const std::string file = Inside(path, "config.json");
  SpeechModel model = Assemble(ShapeOfHf(ReadJson(file), file), HfGeneration(path), path);
  if (parts == LoadParts::kConfig) return model;
  TakeWeights(ReadSafetensorsModel(path), path, model);
  CheckSpeechModel(model);
  return model;
}

}  // namespace rondo
