# Planning makes many small objects on several threads: with tcmalloc it takes a sixth less time than
# with the C library's malloc. Sanitizers bring their own.
option(ALPA_TCMALLOC "Allocate memory with tcmalloc where it is installed" ON)
if(ALPA_TCMALLOC AND NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
  find_library(TCMALLOC_LIBRARY tcmalloc_minimal)
  if(TCMALLOC_LIBRARY)
    target_link_libraries(alpa_base PRIVATE ${TCMALLOC_LIBRARY})
  else()
    message(STATUS "Allocator: no tcmalloc (libgoogle-perftools-dev), the C library's; planning takes longer")
  endif()
endif()
