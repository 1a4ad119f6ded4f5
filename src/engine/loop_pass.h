// Moves rows through a model's loops: into the first one, through one loop, out to the head.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rondo/engine.h"

namespace rondo {

// Consecutive positions of one sequence between two loops.
struct Flight {
  KvCache* cache = nullptr;
  int loop = 0;  // that they enter next
  int first_position = 0;
  int count = 0;
  std::vector<float> hidden;  // [count, d_model]
  bool landed = false;        // its rows are gone; whoever owns it forgets it

  int end() const { return first_position + count; }
  // Takes over rows that wait directly in front of this one's first position.
  void Prepend(Flight&& earlier);
  // Adds the rows of a flight that follows.
  void Append(Flight&& later);
};

// A position that left early: its hidden state stands in for the input of depths it did not reach.
struct KvFill {
  KvCache* cache;
  int first_loop, end_loop;  // those that it left out
  int position;
  std::vector<float> hidden;  // [d_model]
};

// The last `rows` rows of a flight leave through the epilogue, the last `logits` of them through
// the head.
struct Leaving {
  Flight* flight;  // stays as it is
  int rows;
  int logits;
};

class LoopPass {
 public:
  explicit LoopPass(const Engine& engine);

  // The flights' rows before the first loop, from their tokens [sum of counts].
  void Enter(std::span<Flight* const> flights, std::span<const int32_t> tokens);
  // One loop for all flights, each at its own.
  void Run(std::span<Flight* const> flights, std::span<const KvFill> fills);
  // Logits [sum of .logits, vocab]; the flights' rows stay as they are. Valid until the next call.
  std::span<const float> Leave(std::span<const Leaving> leaving);

 private:
  void Gather(std::span<Flight* const> flights);
  void Scatter(std::span<Flight* const> flights) const;

  const Engine& engine_;
  LoopShape shape_;
  size_t width_;
  std::vector<float> rows_;
  std::vector<float> logits_;
};

}  // namespace rondo
