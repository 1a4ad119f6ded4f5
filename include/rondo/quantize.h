// Quantisation: tensors in blocks of 2 to 8 bits, each shared tensor once.
//
//   QuantizeOptions options;
//   options.type = DType::kQ4_0;
//   TypeChoice types = ChooseTypes(model, options);
//   SaveNativeGguf(model, "rtn.gguf", types.types, pool);                 // round to nearest
//   Model fitted = QuantizeCalibrated(model, types.types, tokens, {}, pool);
//   SaveNativeGguf(fitted, "fitted.gguf", types.types, pool);             // loop-aware
//
// Models that share nothing may be written by ExportGguf() instead, for llama.cpp.
// Any number of threads may call the functions at once; those that share a pool take turns.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "rondo/export.h"
#include "rondo/model.h"
#include "rondo/thread_pool.h"

namespace rondo {

struct QuantizeOptions {
  DType type = DType::kQ4_0;       // linears
  DType residual = DType::kQ8_0;   // factors of residuals
  DType embedding = DType::kQ8_0;  // also the head where it is tied to the embedding
  DType head = DType::kQ8_0;
  // Before all of these, behind the rules of the model's plan; the last rule that matches a name
  // counts.
  std::vector<TensorTypeRule> tensors = {};
};

// A tensor whose rows are no multiple of a type's blocks gets another type: q4_k q5_0, q5_k q5_1,
// q6_k q8_0, and where 32 does not divide the rows either, f16.
struct TypeFallback {
  std::string tensor = {};
  DType wanted = DType::kF32, used = DType::kF32;
};

struct TypeChoice {
  TensorTypes types = {};
  std::vector<TypeFallback> fallbacks = {};

  // `wanted`, or the nearest type whose blocks divide the rows of such a tensor.
  void Add(const std::string& tensor, const Shape& shape, DType wanted);
};

// Throws for a rule that matches no matrix of the model.
TypeChoice ChooseTypes(const Model& model, const QuantizeOptions& options);

// Whether one of the types is of those that no other program reads (OnlyRondoReads()), so that the
// file must be written by SaveNativeGguf().
bool NeedsNativeGguf(const TensorTypes& types);

struct QuantizeCalibration {
  int context = 512;           // tokens of one calibration sequence
  int64_t max_tokens = 16384;  // sequences are spread evenly over the text; 0: all of it
  double damping = 0.1;        // ridge on moments, as a share of their mean diagonal
  double shrinkage = 0.5;  // ridge of the regressions, inputs / tokens times each input's energy
  int passes = 2;          // over the blocks of a matrix after the first rounding
};

// Quantises the linears of `model` so that their outputs on `tokens`, at every depth that uses
// them, change least:
//   1. the model itself runs over the text; where a tensor will be used again at a later depth, the
//      second moment of its inputs there is measured;
//   2. model and quantised model run side by side from depth to depth. A tensor is rounded with
//      error feedback (GPTQ) at its first depth, with the moment of what the quantised model feeds
//      it there plus those of its later uses, and then refined block by block. Its target is the
//      least-squares map from the inputs that it really gets to the outputs the model had, and o
//      and down also make good the error that stands in the residual stream;
//   3. each depth's residual is refitted to the same target beside the rounded tensor, and kept as
//      it was where that is better. lora factors are rescaled so that blocks lose least.
// Before that the head, and an embedding that is the head, are rounded with error feedback in the
// moment of the final norm; an embedding apart from the head is rounded to nearest when written.
// The result has quantised tensors in the places of what was rounded; everything else is as it was.
// Deterministic: the same bytes for any number of threads. Memory: the unrolled model in f32, and a
// moment for every later use.
Model QuantizeCalibrated(const Model& model, const TensorTypes& types,
                         std::span<const int32_t> tokens, const QuantizeCalibration& options,
                         ThreadPool& pool, bool quiet = true);

}  // namespace rondo
