# Everything comes from the distribution's packages, found through pkg-config.
find_package(PkgConfig REQUIRED)

function(wb_require VAR MODULE PACKAGE)
  pkg_check_modules(${VAR} IMPORTED_TARGET ${MODULE})
  if(NOT ${VAR}_FOUND)
    message(FATAL_ERROR "${MODULE} was not found. Install Debian's package ${PACKAGE}, or run tools/install-deps.")
  endif()
endfunction()

pkg_check_modules(RAFT IMPORTED_TARGET raft>=0.22)
if(NOT RAFT_FOUND)
  message(FATAL_ERROR
    "libraft >= 0.22 was not found. Debian 12 has it in bookworm-backports only (its own 0.15 is too old): "
    "run tools/install-deps, which enables that suite from the machine's own Debian source, "
    "or install libraft-dev >= 0.22 yourself.")
endif()
wb_require(UV libuv libuv1-dev)
wb_require(PQ libpq libpq-dev)
wb_require(PROTOBUF_C libprotobuf-c libprotobuf-c-dev)
wb_require(XXHASH libxxhash libxxhash-dev)
wb_require(CONFUSE libconfuse libconfuse-dev)
wb_require(JANSSON jansson libjansson-dev)
wb_require(EDIT libedit libedit-dev)
if(BUILD_TESTING)
  wb_require(CMOCKA cmocka libcmocka-dev)
endif()
find_program(PROTOC_C NAMES protoc-c REQUIRED)
find_package(Threads REQUIRED)
include(WbRaft)
