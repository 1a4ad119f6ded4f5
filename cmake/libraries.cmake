# The libraries of other projects. Rooms name the ones they use; see CMakeLists.txt.
#
# NAME=MODULE: found with pkg-config as PkgConfig::NAME. Code inside librondo.a calls these, so whoever links it needs
# them too: the installed CMake package and rondo.pc repeat this list.
set(rondo_linked pcre2=libpcre2-8 utf8proc=libutf8proc lzma=liblzma zstd=libzstd sndfile=sndfile soxr=soxr hwy=libhwy
                 openblas=openblas lapacke=lapacke)

find_package(PkgConfig REQUIRED)
# A project that adds rondo as a folder links these too: its folders must see the targets.
if(NOT TARGET Threads::Threads)
  find_package(Threads REQUIRED)
  set_target_properties(Threads::Threads PROPERTIES IMPORTED_GLOBAL TRUE)
endif()
foreach(entry ${rondo_linked})
  string(REPLACE "=" ";" entry ${entry})
  list(GET entry 0 name)
  list(GET entry 1 module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
endforeach()

# Headers only: nothing to link.
find_package(nlohmann_json REQUIRED)
find_path(KISSFFT_INCLUDE_DIR kissfft.hh PATH_SUFFIXES kissfft REQUIRED)
add_library(rondo_kissfft INTERFACE)
target_include_directories(rondo_kissfft SYSTEM INTERFACE ${KISSFFT_INCLUDE_DIR})

# Of the programs and the tests alone.
if(RONDO_PROGRAMS)
  find_package(CLI11 REQUIRED)
  pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
endif()
if(RONDO_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
endif()
