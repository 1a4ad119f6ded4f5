# LibTorch for the trainer, and for nothing else. RONDO_TRAIN=AUTO builds it where LibTorch is found:
# in CMAKE_PREFIX_PATH, or in the Python package of .venv (whose C++ part is a whole LibTorch).
set(RONDO_TRAIN AUTO CACHE STRING "Build rondo-train: AUTO, ON or OFF")
set_property(CACHE RONDO_TRAIN PROPERTY STRINGS AUTO ON OFF)

set(RONDO_TRAIN_FOUND OFF)
if(NOT RONDO_TRAIN STREQUAL OFF)
  file(GLOB rondo_torch_paths ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch/share/cmake)
  # Warnings of Caffe2's own configuration, about parts that rondo does not use.
  set(CMAKE_MESSAGE_LOG_LEVEL ERROR)
  find_package(Torch QUIET HINTS ${rondo_torch_paths})
  find_package(PkgConfig QUIET)
  pkg_check_modules(tomlplusplus QUIET IMPORTED_TARGET tomlplusplus)
  pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
  unset(CMAKE_MESSAGE_LOG_LEVEL)
  if(Torch_FOUND AND tomlplusplus_FOUND)
    set(RONDO_TRAIN_FOUND ON)
    # Packages for Linux before 2.6 used the string type of GCC 4.
    if("${TORCH_CXX_FLAGS}" MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
      message(FATAL_ERROR "LibTorch at ${TORCH_INSTALL_PREFIX} has the old C++ ABI (expected 2.6 or later)")
    endif()
  elseif(RONDO_TRAIN STREQUAL ON)
    message(FATAL_ERROR "RONDO_TRAIN=ON needs LibTorch (.venv with torch, or CMAKE_PREFIX_PATH) and toml++")
  endif()
endif()
if(RONDO_TRAIN_FOUND)
  # LibTorch's header of its Gloo process group includes Gloo's, which its packages leave out. It only
  # holds pointers to what they declare, so names do.
  set(rondo_gloo ${PROJECT_BINARY_DIR}/gloo-names)
  foreach(header algorithm common/error context transport/device)
    file(CONFIGURE OUTPUT ${rondo_gloo}/gloo/${header}.h CONTENT "#include <gloo/rendezvous/store.h>\n")
  endforeach()
  file(CONFIGURE OUTPUT ${rondo_gloo}/gloo/rendezvous/store.h CONTENT [=[
#pragma once
#include <chrono>
#include <string>
#include <vector>
namespace gloo {
class Context {
 public:
  void setTimeout(std::chrono::milliseconds);
};
namespace transport {
class Device;
class UnboundBuffer {
 public:
  virtual ~UnboundBuffer() = 0;
};
}  // namespace transport
namespace rendezvous {
class Store {
 public:
  virtual ~Store();
  virtual void set(const std::string&, const std::vector<char>&) = 0;
  virtual std::vector<char> get(const std::string&) = 0;
  virtual void wait(const std::vector<std::string>&) = 0;
  virtual void wait(const std::vector<std::string>&, const std::chrono::milliseconds&) = 0;
};
}  // namespace rendezvous
}  // namespace gloo
]=])
  message(STATUS "rondo-train: LibTorch ${Torch_VERSION}")
else()
  message(STATUS "rondo-train: not built (LibTorch or toml++ not found)")
endif()
