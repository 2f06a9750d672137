# How a room is built: a pure core, an I/O shell, and tests beside the sources.

# wb_core(NAME sources...): a static library that reads no clock, no socket and no randomness.
# A test runs `nm -u` over the archive and fails on any symbol that would break that promise.
function(wb_core NAME)
  add_library(${NAME} STATIC ${ARGN})
  if(BUILD_TESTING)
    add_test(NAME purity.${NAME}
             COMMAND ${CMAKE_SOURCE_DIR}/tools/check-purity $<TARGET_FILE:${NAME}>)
    set_tests_properties(purity.${NAME} PROPERTIES LABELS "unit")
  endif()
endfunction()

# wb_shell(NAME sources...): a static library that does what a core decided.
function(wb_shell NAME)
  add_library(${NAME} STATIC ${ARGN})
endfunction()

# wb_test(NAME SOURCES ... LIBS ... [LABELS ...] [TIMEOUT s] [PROPERTIES ...]): a cmocka program run by ctest.
function(wb_test NAME)
  cmake_parse_arguments(T "" "TIMEOUT" "SOURCES;LIBS;LABELS;ARGS" ${ARGN})
  if(NOT BUILD_TESTING)
    return()
  endif()
  add_executable(${NAME} ${T_SOURCES})
  target_link_libraries(${NAME} PRIVATE ${T_LIBS} PkgConfig::CMOCKA)
  add_test(NAME ${NAME} COMMAND ${NAME} ${T_ARGS})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  set_tests_properties(${NAME} PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}")
endfunction()

# wb_protobuf(OUT_VAR file.proto...): generate protobuf-c sources into the build folder.
function(wb_protobuf OUT)
  set(sources)
  foreach(proto ${ARGN})
    get_filename_component(stem ${proto} NAME_WE)
    set(base ${CMAKE_CURRENT_BINARY_DIR}/${stem}.pb-c)
    add_custom_command(
      OUTPUT ${base}.c ${base}.h
      COMMAND ${PROTOC_C} --c_out=${CMAKE_CURRENT_BINARY_DIR} -I${CMAKE_CURRENT_SOURCE_DIR} ${proto}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${proto}
      VERBATIM)
    list(APPEND sources ${base}.c)
    set_source_files_properties(${base}.c PROPERTIES COMPILE_OPTIONS "-w")
  endforeach()
  set(${OUT} ${sources} PARENT_SCOPE)
endfunction()
