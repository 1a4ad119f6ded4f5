#include "kernels/panel_memory.h"

#include <sys/mman.h>

#include "kernels/aligned_buffer.h"

namespace rondo {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kPieceBytes = 8 * kHugePage;

// The start of the first huge page inside; the system may refuse, and serve small ones as ever.
std::shared_ptr<std::byte> NewPiece(uint64_t bytes) {
  auto buffer = std::make_shared<AlignedBuffer>(bytes + kHugePage);
  const auto address = reinterpret_cast<uintptr_t>(buffer->as<std::byte>());
  std::byte* start = buffer->as<std::byte>() + (kHugePage - address % kHugePage) % kHugePage;
#ifdef MADV_HUGEPAGE
  madvise(start, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return {std::move(buffer), start};
}

}  // namespace

std::shared_ptr<std::byte> PanelMemory::Take(uint64_t bytes) {
  if (bytes >= kPieceBytes / 4) return NewPiece(bytes);
  constexpr uint64_t kAlignment = AlignedBuffer::kAlignment;
  const std::lock_guard lock(mutex_);
  if (!piece_ || bytes > kPieceBytes - used_) {
    piece_ = NewPiece(kPieceBytes);
    used_ = 0;
  }
  std::byte* start = piece_.get() + used_;
  used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  return {piece_, start};
}

}  // namespace rondo
