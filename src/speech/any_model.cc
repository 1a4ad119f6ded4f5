#include "rondo/any_model.h"

namespace rondo {

AnyModel LoadAnyModel(const std::string& path, LoadParts parts) {
  if (IsSpeechModel(path)) return LoadSpeechModel(path, parts);
  return LoadModel(path, parts);
}

}  // namespace rondo
