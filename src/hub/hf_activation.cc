#include "hub/hf_activation.h"

namespace rondo {
namespace {

struct Entry {
  std::string_view name;
  Activation activation;
};

// The first name of each function is the one that is written.
constexpr Entry kEntries[] = {{"silu", Activation::kSilu},
                              {"swish", Activation::kSilu},
                              {"gelu", Activation::kGelu},
                              {"gelu_python", Activation::kGelu},
                              {"gelu_pytorch_tanh", Activation::kGeluTanh},
                              {"gelu_new", Activation::kGeluTanh},
                              {"gelu_fast", Activation::kGeluTanh},
                              {"relu", Activation::kRelu}};

}  // namespace

std::optional<Activation> ActivationFromName(std::string_view name, bool gelu_is_tanh) {
  if (gelu_is_tanh && name == "gelu") return Activation::kGeluTanh;
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.activation;
  }
  return std::nullopt;
}

std::string ActivationName(Activation activation) {
  for (const Entry& entry : kEntries) {
    if (entry.activation == activation) return std::string(entry.name);
  }
  return {};
}

std::string KnownActivations() {
  std::string names;
  for (const Entry& entry : kEntries) {
    names += (names.empty() ? "one of " : ", ") + std::string(entry.name);
  }
  return names;
}

}  // namespace rondo
