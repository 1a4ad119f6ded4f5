// Short numbers that tell whether something is what it was when a run was interrupted. Against
// mistakes, not against malice.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "rondo/model.h"

namespace rondo {

// FNV-1a, 64 bits (Fowler, Noll, Vo; public domain).
class Fingerprint {
 public:
  void Add(std::span<const std::byte> bytes);
  void Add(std::span<const int32_t> values) { Add(std::as_bytes(values)); }
  void Add(std::string_view text) { Add(std::as_bytes(std::span(text))); }
  std::string Hex() const;  // 16 digits

 private:
  uint64_t hash_ = 0xcbf29ce484222325u;
};

// Hashes configuration, plan and the ends of every tensor. Another checkpoint of the same training
// gives another number, and not all of the model is read.
std::string FingerprintOf(const Model& model);

}  // namespace rondo
