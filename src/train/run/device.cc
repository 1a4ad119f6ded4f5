#include "train/run/device.h"

#include <cstdlib>
#include <exception>

#include "base/strings.h"

namespace rondo {
namespace {

// The number that torchrun gives a process on its machine.
std::string LocalRank() {
  const char* rank = std::getenv("LOCAL_RANK");
  return rank != nullptr ? rank : "0";
}

// cuBLAS reads it when it starts; without it its sums come out in one order or another.
void AskForFixedOrder() {
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
}

}  // namespace

at::Device FindDevice(const std::string& name, const Place& place) {
  std::string full = name;
  if (name == "auto") full = at::getNumGPUs() > 0 ? "cuda" : "cpu";
  if (full == "cpu") return at::kCPU;
  if (full == "cuda") full += ":" + LocalRank();
  try {
    const at::Device device(full);
    AskForFixedOrder();
    at::zeros({1}, at::device(device).dtype(at::kFloat)).add_(1).cpu();
    return device;
  } catch (const std::exception& error) {
    place.Fail("device", "'" + name + "': " + FirstLine(error.what()),
               "auto, cpu, or a device that LibTorch has here, such as cuda");
  }
}

}  // namespace rondo
