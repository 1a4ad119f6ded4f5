// What the MatMul dispatcher hands to the kernels of one instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/quant_panel.h"
#include "rondo/tensor.h"

namespace rondo {

// A run of panels times a run of rows.
struct MatMulTask {
  const std::byte* w;  // first panel
  int64_t panel_bytes;
  DType type;
  int64_t in;
  int64_t outputs;  // of the run; the last panel may be partial
  int64_t panels;
  const float* x;            // [rows, in], for f32 and bf16 weights
  const InputBlock* blocks;  // [in / 32] runs of rows, block_stride apart, for quantised weights
  int64_t block_stride;
  int64_t rows;
  float* y;  // [rows, outputs], rows y_stride apart
  int64_t y_stride;
  bool add;
};

void RunFloatTask(const MatMulTask& task);
// Quantised types by the bits of their codes, in sources of their own.
void RunQ2Q3Task(const MatMulTask& task);
void RunQ4Task(const MatMulTask& task);
void RunQ5Task(const MatMulTask& task);
void RunQ6Q8Task(const MatMulTask& task);

}  // namespace rondo
