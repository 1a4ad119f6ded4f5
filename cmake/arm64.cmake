# For 64-bit ARM, with Debian's cross compiler and the libraries that scripts/test_arm.sh unpacks into RONDO_SYSROOT.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(root $ENV{RONDO_SYSROOT})
set(CMAKE_FIND_ROOT_PATH ${root})
foreach(kind LIBRARY INCLUDE PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${kind} ONLY)
endforeach()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)

set(libraries ${root}/usr/lib/aarch64-linux-gnu)
# The compiler's own headers come first; the unpacked ones are for what it does not have.
set(CMAKE_CXX_FLAGS_INIT "-idirafter ${root}/usr/include -idirafter ${root}/usr/include/aarch64-linux-gnu \
-idirafter ${root}/usr/include/aarch64-linux-gnu/openblas-pthread")
set(CMAKE_EXE_LINKER_FLAGS_INIT
    "-L${libraries} -Wl,-rpath-link,${libraries}")
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${root})
set(ENV{PKG_CONFIG_LIBDIR}
    ${libraries}/pkgconfig:${root}/usr/share/pkgconfig)
set(CMAKE_CROSSCOMPILING_EMULATOR
    "qemu-aarch64-static;-L;/usr/aarch64-linux-gnu;-E;LD_LIBRARY_PATH=${libraries}")
