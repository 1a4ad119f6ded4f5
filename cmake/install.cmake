# The library that others link, as rondo::rondo, and what `cmake --install` puts where:
#
#   component Development   headers, librondo.a, CMake package, rondo.pc
#   component rondo         the program rondo
#   component rondo-train   the trainer, where LibTorch was found
#
# The library is static on purpose. Its interface is C++ and has no ABI promise yet, so a program must be built again
# for every new version anyway: a shared library could only break it. Objects are those of the rooms, compiled once.
# For use inside a shared library, build with CMAKE_POSITION_INDEPENDENT_CODE=ON.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The version stands in project() alone.
set(rondo_generated ${PROJECT_BINARY_DIR}/include)
configure_file(${PROJECT_SOURCE_DIR}/include/rondo/version.h.in ${rondo_generated}/rondo/version.h)

# Makes rondo.pc, rondoConfig.cmake and rondoConfigVersion.cmake, and installs everything of the component Development.
function(rondo_install_library)
  set(package ${PROJECT_BINARY_DIR}/package)
  set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/rondo)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/rondoConfig.cmake.in ${package}/rondoConfig.cmake
                                INSTALL_DESTINATION ${package_folder})
  # Before 1.0 a minor version may change the interface.
  write_basic_package_version_file(${package}/rondoConfigVersion.cmake COMPATIBILITY SameMinorVersion)
  list(TRANSFORM rondo_linked REPLACE "^.*=" "" OUTPUT_VARIABLE modules)
  list(JOIN modules ", " rondo_pc_requires)
  list(TRANSFORM rondo_packages REPLACE "^[^=]*=" "" OUTPUT_VARIABLE flags)
  list(JOIN flags " " rondo_pc_flags)
  # The file finds the prefix from its own place, so that an installed tree may be moved.
  file(RELATIVE_PATH rondo_pc_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/rondo.pc.in ${package}/rondo.pc @ONLY)

  install(TARGETS rondo_library EXPORT rondo ARCHIVE COMPONENT Development)
  install(EXPORT rondo NAMESPACE rondo:: FILE rondoTargets.cmake DESTINATION ${package_folder} COMPONENT Development)
  install(FILES ${package}/rondoConfig.cmake ${package}/rondoConfigVersion.cmake DESTINATION ${package_folder}
          COMPONENT Development)
  install(FILES ${package}/rondo.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT Development)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/rondo ${rondo_generated}/rondo
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT Development FILES_MATCHING PATTERN "*.h")
endfunction()

# rondo_library(room…): librondo.a from the objects of the rooms. Reports, command line and trainer stay out.
function(rondo_library)
  set(objects)
  foreach(room ${ARGN})
    list(APPEND objects $<TARGET_OBJECTS:rondo_${room}>)
  endforeach()
  add_library(rondo_library STATIC ${objects})
  add_library(rondo::rondo ALIAS rondo_library)
  set_target_properties(rondo_library PROPERTIES OUTPUT_NAME rondo EXPORT_NAME rondo LINKER_LANGUAGE CXX)
  target_compile_features(rondo_library PUBLIC cxx_std_20)
  target_include_directories(rondo_library INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                             $<BUILD_INTERFACE:${rondo_generated}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  list(TRANSFORM rondo_packages REPLACE "^([^=]*)=.*$" "\\1::\\1" OUTPUT_VARIABLE packages)
  list(TRANSFORM rondo_linked REPLACE "^([^=]*)=.*$" "PkgConfig::\\1" OUTPUT_VARIABLE modules)
  target_link_libraries(rondo_library PRIVATE ${packages} ${modules})
  if(RONDO_INSTALL)
    rondo_install_library()
  endif()
endfunction()
