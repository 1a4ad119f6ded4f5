// Activation memory of one step, kept between steps so that nothing is allocated in the steady
// state.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "kernels/matmul.h"
#include "kernels/rope.h"

namespace rondo {

// Grows on demand, never shrinks; contents are undefined after Get.
class ScratchBuffer {
 public:
  float* Get(int64_t count) {
    if (static_cast<size_t>(count) > size_) {
      memory_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count));
      size_ = static_cast<size_t>(count);
    }
    return memory_.get();
  }

 private:
  size_t size_ = 0;
  std::unique_ptr<float[]> memory_;
};

// The angles of the positions asked for last: all layers of a step share them.
class AngleCache {
 public:
  // rope.Angles(positions, lengths)
  std::span<const float> Get(std::span<const int> positions, std::span<const int> lengths,
                             const Rope& rope) {
    if (rope_ != &rope || !std::ranges::equal(positions_, positions) ||
        !std::ranges::equal(lengths_, lengths)) {
      positions_.assign(positions.begin(), positions.end());
      lengths_.assign(lengths.begin(), lengths.end());
      rope_ = &rope;
      angles_ = rope.Angles(positions, lengths);
    }
    return angles_;
  }

 private:
  std::vector<int> positions_, lengths_;
  const Rope* rope_ = nullptr;
  std::vector<float> angles_;
};

struct Workspace {
  // Products of one call; kept for their memory.
  MatMulInput& Input(size_t i) {
    while (inputs.size() <= i) inputs.emplace_back();
    return inputs[i];
  }

  ScratchBuffer normed;    // [rows, d_model] input of the branch
  ScratchBuffer q, k, v;   // projections
  ScratchBuffer attended;  // [rows, heads * head_dim]
  ScratchBuffer branch;    // [rows, d_model] output of attention or feed-forward
  ScratchBuffer gate, up;  // [rows, d_ff]
  ScratchBuffer scaled;    // inputs scaled by a residual
  ScratchBuffer low;       // between the factors of residuals
  ScratchBuffer residual;  // inside other residuals
  std::deque<MatMulInput> inputs;
  std::vector<Product> products, second_products;
  AngleCache angles, local_angles;
};

// Lends workspaces: one to each concurrent caller of an engine.
class WorkspacePool {
 public:
  class Lease {
   public:
    Lease(WorkspacePool& pool, std::unique_ptr<Workspace> space)
        : pool_(pool), space_(std::move(space)) {}
    ~Lease() { pool_.Return(std::move(space_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Workspace& operator*() { return *space_; }

   private:
    WorkspacePool& pool_;
    std::unique_ptr<Workspace> space_;
  };

  Lease Take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) {
      free_.reserve(++made_);  // giving back must not allocate
      return {*this, std::make_unique<Workspace>()};
    }
    std::unique_ptr<Workspace> space = std::move(free_.back());
    free_.pop_back();
    return {*this, std::move(space)};
  }

 private:
  void Return(std::unique_ptr<Workspace> space) {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(space));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> free_;
  size_t made_ = 0;
};

}  // namespace rondo
