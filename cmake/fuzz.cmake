# The fuzzers of fuzz/: libFuzzer drives each parser of outside files by the coverage it reaches. The build of
# scripts/fuzz.sh.
if(RONDO_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL Clang OR NOT RONDO_SANITIZE)
    message(FATAL_ERROR "RONDO_FUZZ=ON needs clang and RONDO_SANITIZE, as scripts/fuzz.sh sets them")
  endif()
  target_compile_options(rondo_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# fuzz/NAME_fuzz.cc becomes fuzz_NAME; rondo_fuzzers builds all. They share the rooms that read files. Of speech,
# report and train what reads files alone: the rest needs kernels and LibTorch.
function(rondo_fuzzers)
  if(NOT RONDO_FUZZ)
    return()
  endif()
  set(parts src/speech/audio_lookup.cc src/speech/manifest.cc src/speech/speech_config.cc src/speech/speech_model.cc src/speech/speech_plan.cc
            src/speech/units.cc src/speech/whisper_files.cc src/report/run_data.cc src/train/recipe/recipe.cc
            src/train/recipe/recipe_write.cc)
  add_library(rondo_fuzz_parts STATIC fuzz/input.cc ${parts})
  target_link_libraries(rondo_fuzz_parts PUBLIC rondo_hub rondo_corpus rondo_audio nlohmann_json::nlohmann_json
                                         PRIVATE PkgConfig::tomlplusplus)
  target_include_directories(rondo_fuzz_parts PUBLIC ${PROJECT_SOURCE_DIR})
  add_custom_target(rondo_fuzzers)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/*_fuzz.cc)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    string(REGEX REPLACE "_fuzz$" "" name ${name})
    add_executable(fuzz_${name} ${source})
    target_link_libraries(fuzz_${name} PRIVATE rondo_fuzz_parts)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(rondo_fuzzers fuzz_${name})
  endforeach()
endfunction()
