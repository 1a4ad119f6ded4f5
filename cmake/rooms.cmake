# One function for each kind of target inside the project: room, program, test tool. The installed library is in install.cmake.

# GCC 12 warns of std::string's own copies (its bugs 105329 and 105651) with the two that are left out.
add_library(rondo_flags INTERFACE)
target_include_directories(rondo_flags INTERFACE ${PROJECT_SOURCE_DIR}/include
                                                 ${PROJECT_SOURCE_DIR}/src)
target_compile_options(rondo_flags INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers
                                             -fno-math-errno -ffp-contract=off
                                             "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-stringop-overflow>")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  # Highway's NEON level includes AES, and GCC wants to know for code outside its target pragmas.
  target_compile_options(rondo_flags INTERFACE -march=armv8-a+crypto)
endif()
if(RONDO_SANITIZE)
  target_compile_options(rondo_flags INTERFACE -fsanitize=${RONDO_SANITIZE}
                                               -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(rondo_flags INTERFACE -fsanitize=${RONDO_SANITIZE})
  if(RONDO_SANITIZE MATCHES address)  # compilers have no common name for it
    target_compile_definitions(rondo_flags INTERFACE RONDO_ADDRESS_SANITIZER)
  endif()
endif()
target_link_libraries(rondo_flags INTERFACE Threads::Threads)

# rondo_room(NAME [QUICK | OWN_HEADERS] [SHARDS n] [USES room…] [PRIVATE library…]): src/NAME/**.cc except main.cc, and the
# tests in tests/NAME (see tests.cmake). QUICK rooms read, describe and print: a short build matters more than their
# speed. OWN_HEADERS: the caller precompiles the headers of the room and of its tests.
function(rondo_room name)
  cmake_parse_arguments(ARG "QUICK;OWN_HEADERS" "SHARDS" "USES;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")
  add_library(rondo_${name} STATIC ${sources})
  list(TRANSFORM ARG_USES PREPEND rondo_)
  target_link_libraries(rondo_${name} PUBLIC rondo_flags ${ARG_USES} PRIVATE ${ARG_PRIVATE})
  if(ARG_QUICK)
    rondo_compile(quick "${rondo_quick}" rondo_${name})
  elseif(NOT ARG_OWN_HEADERS)
    rondo_compile(full "" rondo_${name})
  endif()
  if(RONDO_TESTS)
    rondo_room_tests(${name} "${ARG_PRIVATE}" "${ARG_SHARDS}" "${ARG_OWN_HEADERS}")
  endif()
endfunction()

# rondo_program(NAME room): src/ROOM/main.cc linked with its room. NAME is also its component of the installation.
function(rondo_program name room)
  add_executable(${name} ${PROJECT_SOURCE_DIR}/src/${room}/main.cc)
  target_link_libraries(${name} PRIVATE rondo_${room})
  target_compile_options(${name} PRIVATE ${rondo_quick})
  # An installed program finds libraries where the linker found them, in system folders or not.
  set_target_properties(${name} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS ${name} RUNTIME COMPONENT ${name})
endfunction()

# rondo_benchmark(NAME "room…" source [library…]): measures the library. Built by its own name, or with all benchmarks as
# rondo_benchmarks.
function(rondo_benchmark name rooms source)
  add_executable(${name} EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/${source})
  list(TRANSFORM rooms PREPEND rondo_)
  target_link_libraries(${name} PRIVATE ${rooms} ${ARGN})
  if(NOT TARGET rondo_benchmarks)
    add_custom_target(rondo_benchmarks)
  endif()
  add_dependencies(rondo_benchmarks ${name})
endfunction()
