# What keeps the build short: precompiled headers that many targets share, and targets compiled without much optimising.
# Measured with GCC 12: a source spends half its time in the standard library's headers, and -O1 takes a third less
# time than -O3.

# rondo_headers(NAME "option…" "library…" header…): a precompiled header; rondo_compile gives it to others.
function(rondo_headers name options libraries)
  set(source ${PROJECT_BINARY_DIR}/headers/${name}.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "// Here only because a target needs a source.\n")
  add_library(rondo_headers_${name} OBJECT EXCLUDE_FROM_ALL ${source})
  target_link_libraries(rondo_headers_${name} PRIVATE rondo_flags ${libraries})
  target_compile_options(rondo_headers_${name} PRIVATE ${options})
  list(TRANSFORM ARGN REPLACE "(.+)" "<\\1>")
  target_precompile_headers(rondo_headers_${name} PRIVATE ${ARGN})
endfunction()

# rondo_compile(NAME "option…" target…): the targets get the precompiled header NAME and the options it was made with.
function(rondo_compile name options)
  foreach(target ${ARGN})
    target_compile_options(${target} PRIVATE ${options})
    target_precompile_headers(${target} REUSE_FROM rondo_headers_${name})
  endforeach()
endfunction()

# No level of its own under a debug build, and what tests print about a failing line stays as it is.
set(rondo_quick $<$<CONFIG:Release>:-O1>)
set(rondo_standard_headers algorithm array cmath cstdint cstdio cstring filesystem fstream functional map memory numeric
                           optional set span string string_view utility vector)
rondo_headers(full "" "" ${rondo_standard_headers})
rondo_headers(quick "${rondo_quick}" "" ${rondo_standard_headers})
if(RONDO_TESTS)
  rondo_headers(tests "${rondo_quick}" "GTest::gmock" ${rondo_standard_headers} gmock/gmock.h gtest/gtest.h)
endif()
