# The tests: one program for each room, few processes, and tools that the parity tests drive.

# ctest runs a program in `shards` parts beside each other, not a process for each case. A part that fails prints all
# its output, so the case is named there.
function(rondo_add_test room shards)
  foreach(shard RANGE 1 ${shards})
    set(name ${room})
    if(shards GREATER 1)
      set(name ${room}.${shard})
    endif()
    math(EXPR index "${shard} - 1")
    add_test(NAME ${name} COMMAND rondo_${room}_test WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    # COST: parts of long programs begin first.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT "GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${index}"
                                            COST ${shards} TIMEOUT 900)
  endforeach()
endfunction()

# rondo_test_program(room "source…" "library…"): rondo_ROOM_test, run from the root folder, where tests/data is.
function(rondo_test_program room sources libraries)
  set(name rondo_${room}_test)
  add_executable(${name} ${sources})
  target_link_libraries(${name} PRIVATE ${libraries} GTest::gmock GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE RONDO_TEST_DATA="tests/data")
endfunction()

# tests/ROOM/**_test.cc, called by rondo_room.
function(rondo_room_tests room libraries shards own_headers)
  file(GLOB_RECURSE tests CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/${room}/*_test.cc)
  if(NOT tests)
    return()
  endif()
  rondo_test_program(${room} "${tests}" "rondo_${room};${libraries}")
  if(own_headers)
    target_compile_options(rondo_${room}_test PRIVATE ${rondo_quick})
  else()
    rondo_compile(tests "${rondo_quick}" rondo_${room}_test)
  endif()
  if(NOT shards)
    set(shards 1)
  endif()
  rondo_add_test(${room} ${shards})
endfunction()

# rondo_test_tool(NAME "room…" source [library…]): a small program that parity tests drive.
function(rondo_test_tool name rooms source)
  if(RONDO_TESTS)
    add_executable(${name} ${PROJECT_SOURCE_DIR}/${source})
    list(TRANSFORM rooms PREPEND rondo_)
    target_link_libraries(${name} PRIVATE ${rooms} ${ARGN})
    target_compile_options(${name} PRIVATE ${rondo_quick})
  endif()
endfunction()

# rondo_input_tests(room…): the target of `make sanitize-inputs`, everything that parses what comes from outside. The tests
# of these rooms get the label "inputs". Of speech, the manifests alone: the rest of the room would bring all kernels.
function(rondo_input_tests)
  if(NOT RONDO_TESTS OR NOT RONDO_SANITIZE)
    return()
  endif()
  rondo_test_program(manifest "src/speech/manifest.cc;src/speech/audio_lookup.cc;tests/speech/manifest_test.cc"
                     "rondo_corpus;rondo_audio;nlohmann_json::nlohmann_json")
  rondo_add_test(manifest 1)
  set(rooms ${ARGN} manifest)
  set_property(TEST ${rooms} PROPERTY LABELS inputs)
  list(TRANSFORM rooms REPLACE "(.+)" "rondo_\\1_test")
  add_custom_target(rondo_input_tests DEPENDS ${rooms})
endfunction()
