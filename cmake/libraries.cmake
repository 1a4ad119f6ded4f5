# The libraries of other projects. Rooms name the ones they use; see CMakeLists.txt.
#
# Code inside librondo.a calls these, so whoever links it needs them too: the installed CMake package and rondo.pc repeat
# both lists.
# NAME=MODULE: found with pkg-config, as PkgConfig::NAME.
set(rondo_linked pcre2=libpcre2-8 utf8proc=libutf8proc lzma=liblzma zstd=libzstd xxhash=libxxhash sndfile=sndfile mpg123=libmpg123
                 soxr=soxr hwy=libhwy openblas=openblas lapacke=lapacke)
# PACKAGE=FLAG: found with find_package, as PACKAGE::PACKAGE; a linker takes FLAG.
set(rondo_packages Threads=-pthread ZLIB=-lz BZip2=-lbz2)

# A project that adds rondo as a folder links these too, so its own folders must see the targets.
foreach(entry ${rondo_packages})
  string(REGEX REPLACE "=.*$" "" package ${entry})
  if(NOT TARGET ${package}::${package})
    find_package(${package} REQUIRED)
    set_target_properties(${package}::${package} PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
endforeach()
find_package(PkgConfig REQUIRED)
foreach(entry ${rondo_linked})
  string(REPLACE "=" ";" entry ${entry})
  list(GET entry 0 name)
  list(GET entry 1 module)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
endforeach()

# Headers only: nothing to link.
find_package(nlohmann_json REQUIRED)
pkg_check_modules(eigen REQUIRED IMPORTED_TARGET eigen3)
find_path(KISSFFT_INCLUDE_DIR kissfft.hh PATH_SUFFIXES kissfft REQUIRED)
add_library(rondo_kissfft INTERFACE)
target_include_directories(rondo_kissfft SYSTEM INTERFACE ${KISSFFT_INCLUDE_DIR})

# Of the programs and the tests alone.
if(RONDO_PROGRAMS)
  find_package(CLI11 REQUIRED)
  pkg_check_modules(tomlplusplus REQUIRED IMPORTED_TARGET tomlplusplus)
  pkg_check_modules(edit REQUIRED IMPORTED_TARGET libedit)
endif()
if(RONDO_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
endif()
