#include "base/build_info.h"

#include "rondo_build_info.h"  // written by cmake/build_info.cmake

namespace rondo {

std::string_view BuildVersion() { return RONDO_BUILD_VERSION; }

std::string_view BuildCommit() { return RONDO_BUILD_COMMIT; }

}  // namespace rondo
