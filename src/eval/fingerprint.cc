#include "eval/fingerprint.h"

#include <algorithm>
#include <cstdio>

#include "base/hash.h"

namespace rondo {
namespace {

constexpr size_t kEnd = 4096;  // bytes of either end of a tensor

}  // namespace

void Fingerprint::Add(std::span<const std::byte> bytes) { hash_ = HashBytes(bytes, hash_); }

std::string Fingerprint::Hex() const {
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash_));
  return text;
}

std::string FingerprintOf(const Model& model) {
  Fingerprint all;
  all.Add(model.config.family);
  all.Add(PlanToJson(model.plan));
  for (const auto& [name, tensor] : model.weights) {
    all.Add(name);
    all.Add(Info(tensor.dtype()).name);
    all.Add(ToString(tensor.shape()));
    const auto bytes = tensor.bytes();
    const size_t end = std::min(bytes.size(), kEnd);
    all.Add(bytes.first(end));
    all.Add(bytes.last(end));
  }
  return all.Hex();
}

}  // namespace rondo
