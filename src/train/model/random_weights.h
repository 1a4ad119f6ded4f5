// Random weights of a transformer that is trained from scratch.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "rondo/model.h"

namespace rondo {

// A matrix, or more than a matrix, of normal numbers with `deviation`; gains of norms are one,
// other vectors zero. Every tensor has a stream of its own, by its name, the same everywhere.
Tensor RandomTensor(const TensorSpec& spec, double deviation, uint64_t seed);

// Sets all tensors of the model's plan. `deviation` is asked for matrices; those whose products are
// added to the residual stream get it divided by √(number of such sums), which keeps the stream
// from growing with depth (Radford et al. 2019). Residuals add nothing. Models of one shape and
// seed agree in the tensors that their plans have in common. `scope` precedes names where they
// choose streams.
void SetRandomWeights(uint64_t seed, std::string_view scope,
                      const std::function<double(const TensorSpec&)>& deviation, Model& model);

}  // namespace rondo
