// Rearranging stored matrices without changing their element type.
#pragma once

#include <cstdint>
#include <span>

#include "rondo/tensor.h"

namespace rondo {

// The same storage under another shape with as many elements.
Tensor Reshape(const Tensor& tensor, Shape shape);
// Rows [begin, begin + count) as a view of the same storage.
Tensor SliceRows(const Tensor& tensor, int64_t begin, int64_t count);
// [rows, cols] f32, f16 or bf16 -> [cols, rows]; copies.
Tensor Transpose(const Tensor& tensor);
// Matrices [rows_i, cols] of one type, one below the other; copies.
Tensor ConcatRows(std::span<const Tensor> parts);

}  // namespace rondo
