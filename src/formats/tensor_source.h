// A tensor to be written, made only when its turn comes so that a converted copy of one tensor at a
// time is in memory.
#pragma once

#include <functional>
#include <string>

#include "rondo/tensor.h"

namespace rondo {

// make() must return this type and shape.
struct TensorSource {
  std::string name;
  DType dtype;
  Shape shape;
  std::function<Tensor()> make;
};

}  // namespace rondo
