// The random numbers of Python's random.Random, so that examples drawn here are those that a Python
// program draws with the same seed: Mersenne Twister (Matsumoto and Nishimura, 1998) seeded by
// init_by_array, with CPython's ways to make integers, samples and choices of its words.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace rondo {

class PythonRandom {
 public:
  explicit PythonRandom(uint32_t seed);

  // random(): uniform in [0, 1), 53 bits.
  double Random();
  // An index that choices(range(count)) would take; count below 2^53.
  uint64_t Choice(uint64_t count) {
    return static_cast<uint64_t>(Random() * static_cast<double>(count));
  }
  // sample(range(population), count): different indices in the order drawn. Throws when there are
  // fewer than `count`, or more than 2^32 - 1 to draw from.
  std::vector<uint64_t> Sample(uint64_t population, uint64_t count);

 private:
  uint64_t Below(uint64_t count);  // uniform in [0, count)
  std::mt19937 words_;
};

}  // namespace rondo
