# Sources, libraries and flags of the layer `device`.
#
# Sets ALPA_DEVICE_SOURCES and ALPA_DEVICE_LIBRARIES. What is not found is replaced by a file that
# says so, chosen here, never by #ifdef.
option(ALPA_NATIVE "Build the CPU kernels for the processor of this machine" ON)

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(OneDNN QUIET)

file(GLOB_RECURSE ALPA_DEVICE_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/device/*.cpp)
set(ALPA_DEVICE_LIBRARIES OpenMP::OpenMP_CXX)
if(OneDNN_FOUND)
  list(APPEND ALPA_DEVICE_LIBRARIES DNNL::dnnl)
  list(FILTER ALPA_DEVICE_SOURCES EXCLUDE REGEX "sgemm_none\\.cpp$")
  message(STATUS "CPU kernels: fp32 products by oneDNN ${OneDNN_VERSION}")
else()
  list(FILTER ALPA_DEVICE_SOURCES EXCLUDE REGEX "sgemm_onednn\\.cpp$")
  message(STATUS "CPU kernels: no oneDNN (libdnnl-dev), fp32 products by their own kernel")
endif()

# fp32 kernels may reassociate and use the vector math library; fp64 kernels, which compare plans to
# 1e-9, follow IEEE rules but for errno and traps, which nothing reads.
set(ALPA_NATIVE_FLAGS -march=native)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND ALPA_NATIVE_FLAGS -mprefer-vector-width=512)
endif()
set(flags $<$<NOT:$<CONFIG:Debug>>:-O3> -fno-math-errno -fno-trapping-math)
if(ALPA_NATIVE)
  list(APPEND flags ${ALPA_NATIVE_FLAGS})
endif()
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/device/cpu/fast_f64.cpp
                            PROPERTIES COMPILE_OPTIONS "${flags}")
set_source_files_properties(${CMAKE_SOURCE_DIR}/src/device/cpu/fast_f32.cpp
                            PROPERTIES COMPILE_OPTIONS "${flags};-ffast-math")
