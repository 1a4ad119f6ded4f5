#include "hub/gguf_native.h"

#include <string>
#include <utility>

#include "hub/gguf_common.h"
#include "hub/native_config.h"
#include "rondo/error.h"
#include "rondo/export.h"

namespace rondo {
namespace {

constexpr const char* kFormatKey = "rondo.format";
constexpr const char* kConfigKey = "rondo.config";
constexpr uint32_t kFormat = 1;

}  // namespace

Model LoadNativeGguf(const GgufFile& file, LoadParts parts) {
  const auto fail = [&](const char* key, std::string problem, std::string expected) {
    throw Error({.function = "LoadNativeGguf",
                 .problem = std::move(problem),
                 .expected = std::move(expected),
                 .file = file.path(),
                 .field = key});
  };
  const int64_t format = file.Int(kFormatKey);
  if (format != kFormat) {
    fail(kFormatKey, "version " + std::to_string(format), std::to_string(kFormat));
  }
  const ConfigFile config = ParseConfigFile(file.String(kConfigKey), file.path());
  if (!config.native) fail(kConfigKey, "no sharing plan", "a key \"rondo\" with the plan");
  Model model{.config = config.config, .plan = config.plan, .weights = {}, .path = file.path()};
  if (parts == LoadParts::kConfig) return model;
  for (const auto& [name, tensor] : file.tensors()) {
    const bool vector = tensor.shape().size() < 2;
    model.weights.Set(name, vector ? Cast(tensor, DType::kF32) : tensor);
  }
  CheckWeights(model.config, model.plan, model.weights, file.path());
  return model;
}

void SaveNativeGguf(const Model& model, const std::string& file, const TensorTypes& types,
                    ThreadPool& pool, bool quiet, const SaveOptions& options) {
  CheckGgufTarget(file, {.inputs = {model.path}, .force = options.force});
  model.config.Validate();
  model.plan.Validate(model.config);
  CheckWeights(model.config, model.plan, model.weights, model.path);
  GgufWriter writer;
  SetGgufGeneral(model, std::string(kNativeGgufArch), types, &writer);
  writer.SetU32(kFormatKey, kFormat);
  writer.SetString(kConfigKey, NativeConfigText(model.config, model.plan, DType::kF32));
  for (const TensorSpec& spec : ExpectedTensors(model.config, model.plan)) {
    const DType dtype = types.at(spec.name);
    const Tensor& tensor = model.weights.Get(spec.name);
    writer.AddTensor({spec.name, dtype, spec.shape,
                      [&tensor, dtype, &pool] { return Cast(tensor, dtype, &pool); }});
  }
  writer.Write(file, quiet);
}

}  // namespace rondo
