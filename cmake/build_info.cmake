# Writes OUTPUT, a header with version and commit, when either has changed. Run at every build:
# cmake -DSOURCE=… -DVERSION=… -DOUTPUT=… -P build_info.cmake
execute_process(COMMAND git describe --always --abbrev=12 --match= --dirty=+
                WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit RESULT_VARIABLE failed
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(failed OR NOT EXISTS ${SOURCE}/.git)
  set(commit unknown)
endif()
set(text "#define RONDO_BUILD_VERSION \"${VERSION}\"\n#define RONDO_BUILD_COMMIT \"${commit}\"\n")
set(before "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
if(NOT text STREQUAL before)
  file(WRITE ${OUTPUT} "${text}")
endif()
