// The best text of CTC's log-probabilities, position by position.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace rondo {

// A text under way.
struct Prefix {
  std::vector<int32_t> units;
  std::vector<int64_t> positions;  // where each unit was first written
  double log_p = 0;
};

// Keeps the `beam` most probable prefixes, the ways that collapse to one of them summed up (Graves
// 2012; Hannun et al. 2014). With a beam of 1 it is the best unit at every position instead, runs
// collapsed and blanks left out.
class CtcSearch {
 public:
  explicit CtcSearch(int beam, int units) : beam_(beam), units_(units) { Reset(); }
  void Reset();
  void Push(std::span<const float> log_p);  // [positions, units]
  // Most probable first; never empty.
  std::vector<Prefix> Best() const;

 private:
  // Log-probabilities of the ways that end with a blank, and of those that end with the last unit.
  struct Ends {
    double blank, unit;
    std::vector<int64_t> positions;
    double unit_positions_p;  // of the way that `positions` is of
    double Total() const;
  };
  using Beam = std::map<std::vector<int32_t>, Ends>;

  void PushGreedy(std::span<const float> row);
  void PushBeam(std::span<const float> row);

  int beam_, units_;
  int64_t position_ = 0;
  Prefix greedy_;
  int32_t last_ = 0;
  Beam prefixes_;
};

}  // namespace rondo
