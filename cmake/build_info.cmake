# Writes OUTPUT, the source of src/base/build_info.h, when version or commit have changed:
# cmake -DSOURCE=… -DVERSION=… -DOUTPUT=… -P build_info.cmake
execute_process(COMMAND git describe --always --abbrev=12 --match= --dirty=+
                WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit RESULT_VARIABLE failed
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(failed OR NOT EXISTS ${SOURCE}/.git)
  set(commit unknown)
endif()
set(text "#include \"base/build_info.h\"

namespace rondo {

std::string_view BuildVersion() { return \"${VERSION}\"; }

std::string_view BuildCommit() { return \"${commit}\"; }

}  // namespace rondo
")
set(before "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} before)
endif()
if(NOT text STREQUAL before)
  file(WRITE ${OUTPUT} "${text}")
endif()
