# How a room is built: a pure core, an I/O shell, and tests beside the sources.

# wb_core(NAME sources...): a static library that reads no clock, no socket and no randomness.
# A test runs `nm -u` over the archive and fails on any symbol that would break that promise.
function(wb_core NAME)
  add_library(${NAME} STATIC ${ARGN})
  target_compile_options(${NAME} PRIVATE ${WB_LTO_COMPILE})
  if(BUILD_TESTING)
    add_test(NAME purity.${NAME}
             COMMAND ${CMAKE_SOURCE_DIR}/tools/check-purity $<TARGET_FILE:${NAME}>)
    set_tests_properties(purity.${NAME} PROPERTIES LABELS "unit")
  endif()
endfunction()

# wb_shell(NAME sources...): a static library that does what a core decided.
function(wb_shell NAME)
  add_library(${NAME} STATIC ${ARGN})
  target_compile_options(${NAME} PRIVATE ${WB_LTO_COMPILE})
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

# wb_fuzz(NAME CORES ...): a libFuzzer program of NAME.c, in the build folder's fuzz/; only with -DWB_FUZZ=ON.
# The cores' sources are built again, with the fuzzer's instrumentation, which their archives don't have.
option(WB_FUZZ "Build the fuzz targets (clang only)" OFF)
if(WB_FUZZ AND NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "WB_FUZZ needs clang: configure with -DCMAKE_C_COMPILER=clang")
endif()
function(wb_fuzz NAME)
  cmake_parse_arguments(F "" "" "CORES" ${ARGN})
  if(NOT WB_FUZZ)
    return()
  endif()
  set(sources)
  foreach(core ${F_CORES})
    get_target_property(parts ${core} SOURCES)
    get_target_property(dir ${core} SOURCE_DIR)
    list(TRANSFORM parts PREPEND "${dir}/" REGEX "^[^/]")
    list(APPEND sources ${parts})
  endforeach()
  add_executable(${NAME} ${NAME}.c ${sources})
  add_dependencies(${NAME} ${F_CORES}) # their generated sources
  target_link_libraries(${NAME} PRIVATE PkgConfig::PROTOBUF_C PkgConfig::XXHASH)
  target_compile_options(${NAME} PRIVATE -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -g -O1)
  target_link_options(${NAME} PRIVATE -fsanitize=fuzzer,address,undefined)
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  if(NOT TARGET fuzz_targets)
    add_custom_target(fuzz_targets)
  endif()
  add_dependencies(fuzz_targets ${NAME})
endfunction()
