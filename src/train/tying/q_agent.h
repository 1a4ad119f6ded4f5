// The Q-learning agent of Dynamic Layer Tying (Hay and Wolf, ICLR 2024): a network
// Linear(inputs → hidden), ReLU, Linear(hidden → outputs) gives the values of all actions of all
// layers, of which every decision is about one slice.
//
//   const QAgent::Chosen chosen = agent.Choose(state, slice, allowed, epsilon, n);
//   …                                        // four steps of training
//   agent.Learn({state, slice, chosen.action, reward, next_state}, n);
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "rondo/tensor.h"
#include "train/model/torch.h"

namespace rondo {

struct QAgentOptions {
  int hidden = 128;
  double discount = 0.99;
  double lr = 1e-3;            // AdamW, betas 0.9 and 0.999
  double weight_decay = 0.01;  // of all parameters
  int replay = 0;              // transitions kept; 0: each update sees the last one alone
  int replay_batch = 32;
  int target_every = 0;  // updates between copies into a target network; 0: no such network
  uint64_t seed = 0;
  std::vector<int> favoured;  // outputs that begin with `head_start` more
  double head_start = 0;
};

// The outputs that belong to a decision.
struct ActionSlice {
  int begin = 0, count = 0;
};

struct Transition {
  std::vector<float> state;
  ActionSlice slice;
  int action = 0;  // in the slice
  float reward = 0;
  std::vector<float> next;  // state
};

class QAgent {
 public:
  QAgent(const QAgentOptions& options, int inputs, int outputs);

  struct Chosen {
    int action = 0;
    bool explored = false;
    double value = 0;  // of the action
  };
  // Epsilon-greedy among the actions with allowed[a] != 0, of which there is one at least. What is
  // drawn follows from the seed and `decision`, a number that counts decisions.
  Chosen Choose(std::span<const float> state, ActionSlice slice, std::span<const uint8_t> allowed,
                double epsilon, int64_t decision) const;

  struct Update {
    double loss = 0;    // mean squared difference from the targets
    double target = 0;  // of the newest transition
  };
  // One update towards reward + discount · max over the slice at the next state. Decisions are
  // learned from in order, beginning with number 0.
  Update Learn(Transition transition, int64_t decision);

  // What it is, for checkpoints.
  std::vector<std::pair<std::string, Tensor>> Save() const;
  // Throws naming `file` when tensors are missing or of other sizes.
  void Load(const std::string& file);

 private:
  struct Net {
    at::Tensor w1, b1, w2, b2;
  };
  static std::vector<at::Tensor*> Tensors(Net& net);
  static at::Tensor Values(const Net& net, const at::Tensor& states);
  double Target(const Transition& transition) const;
  std::vector<const Transition*> Batch(int64_t decision) const;
  void Step(int64_t updates);

  QAgentOptions options_;
  Net net_, target_;
  std::vector<at::Tensor> m_, v_;
  std::deque<Transition> memory_;
};

}  // namespace rondo
