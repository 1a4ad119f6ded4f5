// The processes of one training run under torchrun, or one process alone.
//
//   torchrun --no-python --nproc-per-node 2 rondo train recipe.toml
//
// Every rank computes the gradient of its rows of a batch; Sum() makes it the batch's. Each updates
// its own share of the parameters with its share of the optimiser's state (ZeRO stage 1,
// Rajbhandari et al. 2020), and GatherShares() hands the new values round. All ranks make the same
// calls in the same order. A call throws when another rank is gone.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "train/model/torch.h"

namespace rondo {

class Ranks {
 public:
  // One process: every call returns at once.
  Ranks();
  // From torchrun's variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, over c10d with Gloo;
  // without them one process. Waits for the other ranks.
  static Ranks FromEnvironment();
  ~Ranks();
  Ranks(Ranks&&) noexcept;
  Ranks& operator=(Ranks&&) noexcept;

  int rank() const { return rank_; }
  int size() const { return size_; }
  int on_this_machine() const { return local_size_; }
  bool first() const { return rank_ == 0; }

  // In place, over all ranks.
  void Sum(at::Tensor& values) const;
  void Sum(std::span<double> values) const;
  void FromFirst(double& value) const;
  void Wait() const;  // for all

  struct Share {
    int64_t begin, count;
    int64_t end() const { return begin + count; }
  };
  // The elements of a flat array that belong to a rank.
  Share ShareOf(int64_t elements, int rank) const;
  Share ShareOf(int64_t elements) const { return ShareOf(elements, rank_); }
  // Every rank has its own share of `flat`; afterwards all have all.
  void GatherShares(at::Tensor& flat) const;
  // All shares of an array of `elements` at the first rank; the others get an undefined tensor.
  at::Tensor CollectAtFirst(const at::Tensor& share, int64_t elements) const;

 private:
  struct Group;
  Ranks(int rank, int size, int local_size, std::unique_ptr<Group> group);
  int rank_ = 0, size_ = 1, local_size_ = 1;
  std::unique_ptr<Group> group_;  // null: one process
};

// For callers that know no others.
const Ranks& OneProcess();

}  // namespace rondo
