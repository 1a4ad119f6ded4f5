// Which weights one step reads, in the order in which it reads them.
#pragma once

#include <vector>

#include "engine/packed_model.h"
#include "rondo/engine.h"

namespace rondo {

std::vector<WeightRead> ReadOrder(const PackedModel& weights, int depths);

}  // namespace rondo
