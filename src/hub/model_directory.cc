#include "hub/model_directory.h"

#include <utility>

#include "base/file.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "rondo/tokenizer.h"

namespace rondo {

void WriteModelDirectory(const std::string& directory, ModelDirectory model,
                         const SaveOptions& options) {
  AtomicDirectory target(directory, {.inputs = {model.source}, .force = options.force});
  WriteTextFile(target.path() + "/config.json", model.config);
  if (!model.gguf.empty()) {
    GgufWriter writer;
    writer.SetString("general.architecture", model.gguf);
    for (TensorSource& tensor : model.tensors) writer.AddTensor(std::move(tensor));
    writer.Write(target.path() + "/model.gguf");
  } else {
    WriteSafetensorsModel(target.path(), model.tensors);
  }
  if (!model.tokenizer.empty()) WriteTokenizerFiles(model.tokenizer, target.path());
  target.Commit();
}

}  // namespace rondo
