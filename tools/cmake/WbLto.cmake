# wbnode in builds with optimisation: its own code is optimised over the borders of its files (a tenth of a write's
# processor time). The archives hold both forms, so that the tests link as fast as ever.
set(WB_LTO_COMPILE)
set(WB_LTO_LINK)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_BUILD_TYPE MATCHES "^Rel" AND NOT WB_SANITIZE)
  set(WB_LTO_COMPILE -flto=auto -ffat-lto-objects)
  set(WB_LTO_LINK -flto=auto)
  add_link_options(-fno-lto)
endif()

# wb_optimise_whole(NAME): link this program so.
function(wb_optimise_whole NAME)
  target_link_options(${NAME} PRIVATE ${WB_LTO_LINK})
endfunction()
