// Which file is mapped where, readable from a signal handler: a file that is cut while it is mapped
// raises SIGBUS, and the handler (base/signals.h) names it.
#pragma once

#include <cstddef>

namespace rondo {

// `path` lives until RemoveMappedRange(). Beyond a few hundred ranges the rest stay unnamed.
void AddMappedRange(const void* data, size_t size, const char* path);
void RemoveMappedRange(const void* data);
// The path of the range that holds `address`; null: none. Async-signal-safe.
const char* MappedPathAt(const void* address);

}  // namespace rondo
