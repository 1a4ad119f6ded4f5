#include "base/file.h"
#include "formats/safetensors.h"
#include "hub/hf_tensors.h"
#include "hub/native_config.h"
#include "hub/plain_model.h"
#include "rondo/export.h"
#include "rondo/tokenizer.h"

namespace rondo {

void ExportHf(const Model& model, const std::string& directory, DType store) {
  const Model plain = PlainModel(model);
  const std::string config = HfConfigText(plain.config, store);
  AtomicDirectory target(directory);
  WriteTextFile(target.path() + "/config.json", config);
  WriteSafetensorsModel(target.path(), HfTensorSources(plain.config, plain.weights, store));
  if (!model.path.empty()) WriteTokenizerFiles(model.path, target.path());
  target.Commit();
}

}  // namespace rondo
