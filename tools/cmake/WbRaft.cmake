# libraft as our libraries link it: wb_raft. Its archive, when the package has one, with the checksum of its disk
# format replaced (raft/crc.h), and the end of its asynchronous writers (raft/aio_end.h); else the shared library as it
# is. Its licence allows linking in both ways.
add_library(wb_raft INTERFACE)
find_library(WB_RAFT_ARCHIVE NAMES libraft.a HINTS ${RAFT_LIBRARY_DIRS} ${RAFT_LIBDIR})
find_library(WB_LZ4 NAMES lz4) # what the archive needs beside libuv
if(WB_RAFT_ARCHIVE AND WB_LZ4)
  set(WB_RAFT_STATIC ON)
  target_include_directories(wb_raft INTERFACE ${RAFT_INCLUDE_DIRS})
  # It and raft/'s raft_wraps need each other.
  target_link_libraries(wb_raft INTERFACE
    "$<LINK_GROUP:RESCAN,${WB_RAFT_ARCHIVE},raft_wraps>" ${WB_LZ4} PkgConfig::UV Threads::Threads)
  target_link_options(wb_raft INTERFACE "LINKER:--wrap=byteCrc32" "LINKER:--wrap=UvOsIoDestroy")
else()
  message(STATUS "libraft is linked as a shared library: its checksums are slower, and it waits for the end of each segment")
  target_link_libraries(wb_raft INTERFACE PkgConfig::RAFT)
endif()
