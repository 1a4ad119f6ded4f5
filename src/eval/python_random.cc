#include "eval/python_random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <string>
#include <unordered_set>

#include "rondo/error.h"

namespace rondo {
namespace {

// Fills the generator's state as init_by_array of a one-word key does. A seed sequence is how a
// state enters std::mt19937.
struct InitByArray {
  using result_type = uint32_t;
  uint32_t key;

  template <typename Iterator>
  void generate(Iterator begin, Iterator end) const {
    std::array<uint32_t, std::mt19937::state_size> state{};
    state[0] = 19650218;
    const auto mixed = [&](uint32_t i) { return state[i - 1] ^ (state[i - 1] >> 30); };
    for (uint32_t i = 1; i < state.size(); ++i) state[i] = 1812433253u * mixed(i) + i;
    uint32_t at = 1;
    const auto advance = [&] {
      if (++at < state.size()) return;
      state[0] = state.back();
      at = 1;
    };
    for (size_t step = 0; step < state.size(); ++step, advance()) {
      state[at] = (state[at] ^ (mixed(at) * 1664525u)) + key;
    }
    for (size_t step = 1; step < state.size(); ++step, advance()) {
      state[at] = (state[at] ^ (mixed(at) * 1566083941u)) - at;
    }
    state[0] = 0x80000000u;
    std::copy_n(state.begin(), end - begin, begin);
  }
};

std::mt19937 Seeded(uint32_t seed) {
  InitByArray sequence{seed};
  return std::mt19937(sequence);
}

}  // namespace

PythonRandom::PythonRandom(uint32_t seed) : words_(Seeded(seed)) {}

double PythonRandom::Random() {
  const uint32_t high = static_cast<uint32_t>(words_()) >> 5;
  const uint32_t low = static_cast<uint32_t>(words_()) >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

uint64_t PythonRandom::Below(uint64_t count) {
  const int bits = std::bit_width(count);
  uint64_t drawn;
  do {
    drawn = static_cast<uint32_t>(words_()) >> (32 - bits);
  } while (drawn >= count);
  return drawn;
}

std::vector<uint64_t> PythonRandom::Sample(uint64_t population, uint64_t count) {
  if (count > population || population > 0xFFFFFFFFu) {
    throw Error({.function = "PythonRandom::Sample",
                 .problem = std::to_string(count) + " of " + std::to_string(population),
                 .expected = "no more than there are, of at most 2^32 - 1",
                 .file = {},
                 .field = {}});
  }
  std::vector<uint64_t> drawn;
  // Above this size CPython keeps a set of what was drawn, below it a list of what is left.
  double list_limit = 21;
  if (count > 5) {
    list_limit += std::pow(4, std::ceil(std::log(static_cast<double>(count * 3)) / std::log(4.0)));
  }
  if (static_cast<double>(population) <= list_limit) {
    std::vector<uint64_t> left(population);
    std::iota(left.begin(), left.end(), 0);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t at = Below(population - i);
      drawn.push_back(left[at]);
      left[at] = left[population - i - 1];
    }
    return drawn;
  }
  std::unordered_set<uint64_t> seen;
  while (drawn.size() < count) {
    const uint64_t at = Below(population);
    if (seen.insert(at).second) drawn.push_back(at);
  }
  return drawn;
}

}  // namespace rondo
