// Where a run computes.
#pragma once

#include <string>

#include "train/model/torch.h"
#include "train/recipe/place.h"

namespace rondo {

// "auto" (the machine's GPU when LibTorch has one, else the CPU) or a device that LibTorch names:
// cpu, cuda, cuda:1, … Of several processes on one machine each takes the GPU of its number.
// Throws, naming the field, when there is no such device.
at::Device FindDevice(const std::string& name, const Place& place);

}  // namespace rondo
