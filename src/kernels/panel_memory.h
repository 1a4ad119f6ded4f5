// Memory for many matrices in a few large pieces of huge pages. Filling weights otherwise takes a
// page fault for each 4 KiB, and reading them a miss of the address cache.
//
//   PanelMemory memory;
//   auto panels = memory.Take(bytes);      // from any thread
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

namespace rondo {

class PanelMemory {
 public:
  // `bytes` of zeros aligned to 64, which keep the piece they lie in. Throws rondo::Error when
  // there is no memory.
  std::shared_ptr<std::byte> Take(uint64_t bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<std::byte> piece_;
  uint64_t used_ = 0;
};

}  // namespace rondo
