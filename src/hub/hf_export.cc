#include "hub/hf_tensors.h"
#include "hub/model_directory.h"
#include "hub/native_config.h"
#include "hub/plain_model.h"
#include "rondo/export.h"

namespace rondo {

void ExportHf(const Model& model, const std::string& directory, DType store,
              const SaveOptions& options) {
  const Model plain = PlainModel(model);
  const std::string config = HfConfigText(plain.config, store);
  WriteModelDirectory(directory,
                      {.config = config,
                       .tensors = HfTensorSources(plain.config, plain.weights, store),
                       .source = model.path,
                       .tokenizer = model.path},
                      options);
}

}  // namespace rondo
