// The error of what asked for memory and got none, apart from others: a larger limit mends it.
#pragma once

#include "rondo/error.h"

namespace rondo {

class MemoryError : public Error {
 public:
  using Error::Error;
};

}  // namespace rondo
