# One function a kind of target, so that the root file reads as the plan of the house.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(lzma REQUIRED IMPORTED_TARGET liblzma)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(sndfile REQUIRED IMPORTED_TARGET sndfile)
pkg_check_modules(mpg123 REQUIRED IMPORTED_TARGET libmpg123)
pkg_check_modules(soxr REQUIRED IMPORTED_TARGET soxr)
pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(openblas REQUIRED IMPORTED_TARGET openblas)
pkg_check_modules(lapacke REQUIRED IMPORTED_TARGET lapacke)
# Of kissfft only the header in C++; there is nothing to link.
find_path(KISSFFT_INCLUDE_DIR kissfft.hh PATH_SUFFIXES kissfft REQUIRED)
add_library(kissfft INTERFACE)
target_include_directories(kissfft SYSTEM INTERFACE ${KISSFFT_INCLUDE_DIR})
if(RONDO_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  enable_testing()
endif()

add_library(rondo_flags INTERFACE)
target_include_directories(rondo_flags INTERFACE ${PROJECT_SOURCE_DIR}/include
                                                 ${PROJECT_SOURCE_DIR}/src)
target_compile_options(rondo_flags INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers
                                             -Wno-restrict -fno-math-errno
                                             -ffp-contract=off)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  # Highway's NEON level includes AES, and GCC wants to know for code outside its target pragmas.
  target_compile_options(rondo_flags INTERFACE -march=armv8-a+crypto)
endif()
if(RONDO_SANITIZE)
  target_compile_options(rondo_flags INTERFACE -fsanitize=${RONDO_SANITIZE}
                                               -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(rondo_flags INTERFACE -fsanitize=${RONDO_SANITIZE})
endif()
target_link_libraries(rondo_flags INTERFACE Threads::Threads)

# rondo_room(NAME [USES room…] [PRIVATE library…]): src/NAME/**.cc except main.cc, and tests/NAME/**_test.cc. Tests run
# in the root folder, where tests/data is.
function(rondo_room name)
  cmake_parse_arguments(ARG "" "" "USES;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  add_library(rondo_${name} STATIC ${sources})
  list(TRANSFORM ARG_USES PREPEND rondo_)
  target_link_libraries(rondo_${name} PUBLIC rondo_flags ${ARG_USES} PRIVATE ${ARG_PRIVATE})

  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${name}/*_test.cc)
  if(RONDO_TESTS AND tests)
    add_executable(rondo_${name}_test ${tests})
    target_link_libraries(rondo_${name}_test PRIVATE rondo_${name} ${ARG_PRIVATE} GTest::gmock
                                                     GTest::gtest_main)
    target_include_directories(rondo_${name}_test PRIVATE ${PROJECT_SOURCE_DIR}/tests)
    target_precompile_headers(rondo_${name}_test PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
    target_compile_definitions(rondo_${name}_test PRIVATE
                               RONDO_TEST_DATA="tests/data")
    gtest_discover_tests(rondo_${name}_test DISCOVERY_TIMEOUT 60
                         WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  endif()
endfunction()

# rondo_program(NAME room): src/ROOM/main.cc linked with its room.
function(rondo_program name room)
  add_executable(${name} ${PROJECT_SOURCE_DIR}/src/${room}/main.cc)
  target_link_libraries(${name} PRIVATE rondo_${room})
  install(TARGETS ${name})
endfunction()

# rondo_test_tool(NAME "room…" source [library…]): a small program that parity tests drive, or a benchmark.
function(rondo_test_tool name rooms source)
  if(RONDO_TESTS)
    add_executable(${name} ${PROJECT_SOURCE_DIR}/${source})
    list(TRANSFORM rooms PREPEND rondo_)
    target_link_libraries(${name} PRIVATE ${rooms} ${ARGN})
  endif()
endfunction()
