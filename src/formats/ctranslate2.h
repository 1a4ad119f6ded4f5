// CTranslate2's model.bin: named variables, each with its type and shape, and aliases of them.
//
// Format (versions 5 and 6): u32 version, text specification, u32 its revision, u32 count of
// variables, of each text name, u8 dimensions, u32 sizes, u8 type, u32 bytes, data; u32 count of
// aliases, of each two texts. A text is u16 bytes with the zero behind it. Source: CTranslate2,
// python/ctranslate2/specs/model_spec.py. Nothing in the file is trusted.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "formats/safetensors.h"

namespace rondo {

struct CTranslate2Model {
  std::string specification;                                // as "WhisperSpec"
  TensorMap tensors;                                        // f32, f16 and bf16
  std::map<std::string, int64_t, std::less<>> integers;     // scalars: sizes and switches
  std::map<std::string, std::string, std::less<>> aliases;  // name to the variable it stands for
};

// Throws rondo::Error naming file and variable; also for quantised variables, which rondo makes
// itself.
CTranslate2Model ReadCTranslate2(const std::string& path);

}  // namespace rondo
