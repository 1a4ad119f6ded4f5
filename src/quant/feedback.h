// Rounding with error feedback (GPTQ: Frantar, Ashkboos, Hoefler and Alistarh, ICLR 2023).
//
// Columns are rounded from the first to the last. The error of each is spread over the columns not
// yet rounded, so that the sum over the inputs' second moment H, (W − Ŵ) H (W − Ŵ)ᵀ, grows least.
// Scales are part of the search: every block is rounded on each of its candidate grids and the one
// with the least error in that sense is kept.
//
// The first columns never learn what the later ones did. Refine() goes over the blocks again: with
// all other blocks of a row as they are, what a block should be to make good their errors too has a
// closed form, and it is rounded to that where the sum above falls.
#pragma once

#include "fold/linalg.h"
#include "rondo/tensor.h"

namespace rondo {

class ThreadPool;

// The part of a moment that all matrices read: an upper triangular U with Uᵀ U = H⁻¹.
// `moment` [in, in] must be positive definite.
MatrixF32 FeedbackFactor(const MatrixF64& moment);

// Rounds target [out, in] to blocks of a quantised type with the factor of its input moment. Rows
// are independent: the same bytes whatever the number of threads. Throws for values that the type
// cannot hold.
Tensor RoundWithFeedback(const MatrixF64& target, const MatrixF32& factor, DType dtype,
                         ThreadPool& pool);

// The blocks of `rounded`, a rounding of target [out, in] to a type with blocks of 32, rounded
// again up to `passes` times in the moment [in, in] itself. The error never grows. Other types are
// returned as they are. Rows are independent.
Tensor RefineRounding(const MatrixF64& target, const MatrixF64& moment, Tensor rounded, int passes,
                      ThreadPool& pool);

// Rounds a head [vocab, d_model] in the moment of what enters it, the final norm's output. Of a
// head that is the embedding too, a ridge stands for the other end, where its rows enter the first
// layer. Refining it did not lower the loss of held-out text.
Tensor RoundHead(const Tensor& head, MatrixF64 moment, bool tied, DType dtype, ThreadPool& pool);

}  // namespace rondo
