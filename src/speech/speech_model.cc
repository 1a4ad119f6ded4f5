#include "rondo/speech_model.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "base/json.h"
#include "base/with_file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "hub/model_directory.h"
#include "rondo/error.h"
#include "rondo/tokenizer.h"
#include "speech/speech_config.h"
#include "speech/whisper_files.h"

namespace rondo {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 16 << 20;
constexpr std::string_view kEncoder = "encoder.", kDecoder = "decoder.";

void Require(bool ok, const char* field, const std::string& got, const std::string& expected) {
  if (ok) return;
  throw Error({.function = "SpeechConfig::Validate",
               .problem = "value " + got,
               .expected = expected,
               .file = {},
               .field = field});
}

void RequireRange(int value, int low, int high, const char* field) {
  Require(value >= low && value <= high, field, std::to_string(value),
          std::to_string(low) + " to " + std::to_string(high));
}

void ValidateUnits(const UnitConfig& units) {
  RequireRange(units.count, 2, 1 << 20, "speech.units.count");
  if (units.kind == UnitKind::kTokenizer) return;
  RequireRange(units.count, kFirstTextUnit + 1, 1 << 20, "speech.units.count");
  if (units.kind != UnitKind::kCharacters) return;
  const auto listed = static_cast<int>(units.list.size()) + kFirstTextUnit;
  Require(listed == units.count, "speech.units.list", std::to_string(units.list.size()) + " units",
          std::to_string(units.count - kFirstTextUnit) + ", all but the first " +
              std::to_string(kFirstTextUnit) + " of count");
}

void ValidateWhisper(const WhisperConfig& whisper, const ModelConfig& decoder) {
  for (const int token : whisper.suppress) {
    RequireRange(token, 0, decoder.vocab - 1, "speech.whisper.suppress");
  }
  for (const int token : whisper.suppress_first) {
    RequireRange(token, 0, decoder.vocab - 1, "speech.whisper.suppress_first");
  }
  for (const auto& [depth, head] : whisper.alignment_heads) {
    RequireRange(depth, 0, decoder.layers - 1, "speech.whisper.alignment_heads");
    RequireRange(head, 0, decoder.heads - 1, "speech.whisper.alignment_heads");
  }
}

std::string ConfigPath(const std::string& directory) {
  return (fs::path(directory) / "config.json").string();
}

// Everything else (vectors, convolutions) is f32 in memory and on disk.
bool IsMatrix(const Shape& shape) { return shape.size() == 2; }

std::string QuantizedPath(const std::string& directory) {
  return (fs::path(directory) / "model.gguf").string();
}

TensorMap ReadTensors(const std::string& directory) {
  const std::string file = QuantizedPath(directory);
  if (!PathExists(file)) return ReadSafetensorsModel(directory);
  const GgufFile gguf = GgufFile::Open(file);
  return {gguf.tensors().begin(), gguf.tensors().end()};
}

void CheckHeads(const SpeechModel& model) {
  const auto fail = [&](const std::string& field, std::string problem, std::string expected) {
    throw Error({.function = "CheckSpeechModel",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = model.path,
                 .field = field});
  };
  const auto specs = ExpectedHeadTensors(model.config, model.encoder.config.d_model);
  for (const TensorSpec& spec : specs) {
    const Tensor* tensor = model.heads.Find(spec.name);
    if (tensor == nullptr) fail(spec.name, "missing tensor", "shape " + ToString(spec.shape));
    if (tensor->shape() != spec.shape) {
      fail(spec.name, "shape " + ToString(tensor->shape()), ToString(spec.shape));
    }
  }
  for (const auto& [name, tensor] : model.heads) {
    const auto same = [&known = name](const TensorSpec& spec) { return spec.name == known; };
    if (std::none_of(specs.begin(), specs.end(), same)) {
      fail(name, "tensor that this model does not use", "only the tensors of its configuration");
    }
  }
}

void ValidateParts(const SpeechModel& model) {
  model.config.Validate();
  model.encoder.config.Validate();
  Require(!model.encoder.config.causal, "speech.encoder", "a decoder", "an encoder");
  model.encoder.plan.Validate(model.encoder.config);
  const bool heads = model.config.ctc || model.config.transducer || model.decoder;
  Require(heads, "speech", "no head", "ctc, transducer or decoder");
  Require(!model.config.whisper || model.decoder, "speech.whisper", "no decoder", "a decoder");
  if (!model.decoder) return;
  const ModelConfig& decoder = model.decoder->config;
  decoder.Validate();
  if (model.config.whisper) ValidateWhisper(*model.config.whisper, decoder);
  model.decoder->plan.Validate(decoder);
  Require(decoder.cross_attention, "speech.decoder", "no cross-attention", "a decoder with it");
  Require(decoder.d_model == model.encoder.config.d_model, "speech.decoder.d_model",
          std::to_string(decoder.d_model),
          "the encoder's " + std::to_string(model.encoder.config.d_model));
  Require(decoder.vocab == model.config.units.count, "speech.decoder.vocab",
          std::to_string(decoder.vocab),
          "the number of units, " + std::to_string(model.config.units.count));
}

}  // namespace

int SpeechConfig::Subsampling() const {
  int factor = 1;
  for (const int stride : front.strides) factor *= stride;
  return factor;
}

int64_t SpeechConfig::Positions(int64_t frames) const {
  // Kernel 3 with one frame of padding on either side.
  for (const int stride : front.strides) frames = frames > 0 ? (frames - 1) / stride + 1 : 0;
  return frames;
}

void SpeechConfig::Validate() const {
  RequireRange(front.sample_rate, 1000, 384000, "speech.front.sample_rate");
  RequireRange(front.mel_bins, 1, 1024, "speech.front.mel_bins");
  RequireRange(static_cast<int>(front.strides.size()), 1, 8, "speech.front.strides");
  for (const int stride : front.strides) RequireRange(stride, 1, 3, "speech.front.strides");
  RequireRange(attention.chunk, 0, 1 << 20, "speech.attention.chunk");
  RequireRange(attention.left_chunks, -1, 1 << 20, "speech.attention.left_chunks");
  ValidateUnits(units);
  if (!transducer) return;
  RequireRange(transducer->width, 1, 1 << 16, "speech.transducer.width");
  RequireRange(transducer->context, 1, 16, "speech.transducer.context");
}

std::vector<TensorSpec> ExpectedHeadTensors(const SpeechConfig& config, int d_model) {
  std::vector<TensorSpec> specs;
  const int64_t d = d_model, mel = config.front.mel_bins, units = config.units.count;
  if (config.front.normalize) {
    specs.push_back({"front.shift", {mel}});
    specs.push_back({"front.scale", {mel}});
  }
  for (size_t i = 0; i < config.front.strides.size(); ++i) {
    const std::string name = "front." + std::to_string(i);
    specs.push_back({name + ".weight", {d, i == 0 ? mel : d, 3}});
    specs.push_back({name + ".bias", {d}});
  }
  if (config.ctc) {
    specs.push_back({"ctc.weight", {units, d}});
    specs.push_back({"ctc.bias", {units}});
  }
  if (config.transducer) {
    const int64_t width = config.transducer->width;
    specs.push_back({"predictor.embed.weight", {config.transducer->context, units, width}});
    specs.push_back({"joiner.encoder.weight", {width, d}});
    specs.push_back({"joiner.encoder.bias", {width}});
    specs.push_back({"joiner.out.weight", {units, width}});
    specs.push_back({"joiner.out.bias", {units}});
  }
  return specs;
}

void CheckSpeechModel(const SpeechModel& model) {
  WithFile(model.path, [&] { ValidateParts(model); });
  CheckWeights(model.encoder.config, model.encoder.plan, model.encoder.weights, model.path);
  if (model.decoder) {
    CheckWeights(model.decoder->config, model.decoder->plan, model.decoder->weights, model.path);
  }
  CheckHeads(model);
}

Weights JoinWeights(const SpeechModel& model) {
  Weights all = model.heads;
  for (const auto& [name, tensor] : model.encoder.weights) {
    all.Set(std::string(kEncoder) + name, tensor);
  }
  if (!model.decoder) return all;
  for (const auto& [name, tensor] : model.decoder->weights) {
    all.Set(std::string(kDecoder) + name, tensor);
  }
  return all;
}

SpeechModel SplitWeights(const SpeechModel& shape, const Weights& weights) {
  SpeechModel model = shape;
  model.encoder.weights = {};
  model.heads = {};
  if (model.decoder) model.decoder->weights = {};
  for (const auto& [name, tensor] : weights) {
    if (name.starts_with(kEncoder)) {
      model.encoder.weights.Set(name.substr(kEncoder.size()), tensor);
    } else if (model.decoder && name.starts_with(kDecoder)) {
      model.decoder->weights.Set(name.substr(kDecoder.size()), tensor);
    } else {
      model.heads.Set(name, tensor);
    }
  }
  return model;
}

bool IsSpeechModel(const std::string& path) {
  const std::string file = ConfigPath(path);
  if (!IsDirectory(path) || !PathExists(file)) return false;
  if (IsWhisper(path)) return true;
  const nlohmann::json json = ParseJsonChecked(ReadTextFile(file, kMaxConfigBytes), file);
  return json.is_object() && json.contains("speech");
}

SpeechModel LoadSpeechModel(const std::string& path, LoadParts parts) {
  const std::string file = ConfigPath(path);
  if (!PathExists(path)) {
    throw Error({.function = "LoadSpeechModel",
                 .problem = "no such directory",
                 .expected = "a speech model; scripts/get_model.sh whisper-base puts Whisper into "
                             "models/whisper-base",
                 .file = path});
  }
  if (!PathExists(file)) {
    throw Error({.function = "LoadSpeechModel",
                 .problem = "no config.json in it",
                 .expected = "a directory with config.json and model.safetensors",
                 .file = path});
  }
  if (IsWhisper(path)) return LoadWhisper(path, parts);
  SpeechModel model = ParseSpeechConfig(ReadTextFile(file, kMaxConfigBytes), file);
  model.path = path;
  WithFile(file, [&] { ValidateParts(model); });
  if (parts == LoadParts::kConfig) return model;
  Weights weights;
  for (auto& [name, tensor] : ReadTensors(path)) {
    weights.Set(name, IsMatrix(tensor.shape()) ? tensor : Cast(tensor, DType::kF32));
  }
  model = SplitWeights(model, weights);
  CheckSpeechModel(model);
  return model;
}

void SaveSpeechModel(const SpeechModel& model, const std::string& directory, DType store,
                     const SaveOptions& options) {
  TensorTypes types;
  for (const auto& [name, tensor] : JoinWeights(model)) {
    if (IsMatrix(tensor.shape())) types[name] = store;
  }
  SaveSpeechModel(model, directory, types, options);
}

void SaveSpeechModel(const SpeechModel& model, const std::string& directory,
                     const TensorTypes& types, const SaveOptions& options) {
  CheckSpeechModel(model);
  const Weights all = JoinWeights(model);
  std::vector<TensorSource> sources;
  bool quantized = false;
  for (const auto& entry : all) {
    const Tensor& tensor = entry.second;
    const auto found = types.find(entry.first);
    const DType dtype = found == types.end() ? DType::kF32 : found->second;
    quantized = quantized || IsQuantized(dtype);
    sources.push_back(
        {.name = entry.first, .dtype = dtype, .shape = tensor.shape(), .make = [&tensor, dtype] {
           return Cast(tensor, dtype);
         }});
  }
  WriteModelDirectory(
      directory,
      {.config = SpeechConfigText(model),
       .tensors = std::move(sources),
       .gguf = quantized ? "rondo-speech" : "",
       .source = model.path,
       .tokenizer = model.config.units.kind == UnitKind::kCharacters ? "" : model.path},
      options);
}

}  // namespace rondo
