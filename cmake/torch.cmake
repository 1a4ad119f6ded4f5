# LibTorch for the trainer, and for nothing else. RONDO_TRAIN=AUTO builds it where LibTorch is found:
# in CMAKE_PREFIX_PATH, or in the Python package of .venv (whose C++ part is a whole LibTorch).
set(RONDO_TRAIN AUTO CACHE STRING "Build rondo-train: AUTO, ON or OFF")
set_property(CACHE RONDO_TRAIN PROPERTY STRINGS AUTO ON OFF)

# A LibTorch is taken as what it is, headers and libraries. Its own CMake package asks for a CUDA compiler where it was
# built for GPUs, which neither a machine with one nor rondo needs.
set(RONDO_TRAIN_FOUND OFF)
if(NOT RONDO_TRAIN STREQUAL OFF)
  file(GLOB rondo_torch_roots ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  foreach(prefix ${CMAKE_PREFIX_PATH})  # as torch.utils.cmake_prefix_path gives it, or the folder itself
    list(PREPEND rondo_torch_roots ${prefix} ${prefix}/../..)
  endforeach()
  find_library(RONDO_TORCH_CPU torch_cpu HINTS ${rondo_torch_roots} PATH_SUFFIXES lib)
  find_library(RONDO_TORCH_C10 c10 HINTS ${rondo_torch_roots} PATH_SUFFIXES lib)
  find_path(RONDO_TORCH_INCLUDE torch/headeronly/version.h HINTS ${rondo_torch_roots} PATH_SUFFIXES include)
  mark_as_advanced(RONDO_TORCH_CPU RONDO_TORCH_C10 RONDO_TORCH_INCLUDE)
  pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
  if(RONDO_TORCH_CPU AND RONDO_TORCH_C10 AND RONDO_TORCH_INCLUDE AND tomlplusplus_FOUND)
    set(RONDO_TRAIN_FOUND ON)
  elseif(RONDO_TRAIN STREQUAL ON)
    message(FATAL_ERROR "RONDO_TRAIN=ON needs LibTorch 2.11 or later (.venv with torch, or CMAKE_PREFIX_PATH) and toml++")
  endif()
endif()
if(RONDO_TRAIN_FOUND)
  add_library(torch INTERFACE IMPORTED)
  target_include_directories(torch INTERFACE ${RONDO_TORCH_INCLUDE} ${RONDO_TORCH_INCLUDE}/torch/csrc/api/include)
  target_compile_definitions(torch INTERFACE USE_DISTRIBUTED USE_C10D_GLOO)
  target_link_libraries(torch INTERFACE ${RONDO_TORCH_CPU} ${RONDO_TORCH_C10})
  # LibTorch's headers share loops among threads only where the compiler knows OpenMP. Its packages bring the library;
  # a second one beside it would have threads of its own.
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  get_filename_component(rondo_torch_lib ${RONDO_TORCH_CPU} REALPATH)
  get_filename_component(rondo_torch_lib ${rondo_torch_lib} DIRECTORY)
  file(GLOB rondo_torch_openmp ${rondo_torch_lib}/libgomp*.so*)
  target_compile_options(torch INTERFACE ${OpenMP_CXX_FLAGS})
  if(rondo_torch_openmp)
    target_link_libraries(torch INTERFACE ${rondo_torch_openmp})
  else()
    target_link_libraries(torch INTERFACE OpenMP::OpenMP_CXX)
  endif()
  # Nothing names the part for GPUs; it adds itself when it is loaded.
  if(EXISTS ${rondo_torch_lib}/libtorch_cuda.so)
    target_link_libraries(torch INTERFACE
      "-Wl,--push-state,--no-as-needed ${rondo_torch_lib}/libtorch_cuda.so ${rondo_torch_lib}/libc10_cuda.so -Wl,--pop-state")
  endif()
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
  file(STRINGS ${RONDO_TORCH_INCLUDE}/torch/headeronly/version.h rondo_torch_version REGEX "TORCH_VERSION_(MAJOR|MINOR) [0-9]")
  list(TRANSFORM rondo_torch_version REPLACE "[^0-9]" "")
  list(JOIN rondo_torch_version "." rondo_torch_version)
  message(STATUS "rondo-train: LibTorch ${rondo_torch_version}, ${RONDO_TORCH_CPU}")
else()
  message(STATUS "rondo-train: not built (LibTorch or toml++ not found)")
endif()
