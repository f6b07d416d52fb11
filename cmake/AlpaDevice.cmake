# Sources, libraries and flags of the layer `device`.
#
# Sets ALPA_DEVICE_SOURCES and ALPA_DEVICE_LIBRARIES. What is not found is replaced by a file that
# says so, chosen here, never by #ifdef.
option(ALPA_NATIVE "Build the CPU kernels for the processor of this machine only" OFF)

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(OneDNN QUIET)

file(GLOB_RECURSE ALPA_DEVICE_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/device/*.cpp)
set(ALPA_DEVICE_LIBRARIES OpenMP::OpenMP_CXX)
if(OneDNN_FOUND)
  list(APPEND ALPA_DEVICE_LIBRARIES DNNL::dnnl)
  list(FILTER ALPA_DEVICE_SOURCES EXCLUDE REGEX "(sgemm|convolution)_none\\.cpp$")
  message(STATUS "CPU kernels: fp32 products and convolutions by oneDNN ${OneDNN_VERSION}")
else()
  list(FILTER ALPA_DEVICE_SOURCES EXCLUDE REGEX "(sgemm|convolution)_onednn\\.cpp$")
  message(STATUS "CPU kernels: no oneDNN (libdnnl-dev), fp32 products and convolutions by their own kernels")
endif()

# The files fast_*.cpp are built once per processor level, and the best that the processor has is
# taken at run time. A level is linked into one object in which all but its entry points is local:
# inline functions of the standard library would else be merged over the levels, and code for a
# newer processor could be called on an older one.
#
# fp32 kernels may reassociate and use the vector math library; fp64 kernels, which compare plans to
# 1e-9, follow IEEE rules but for errno and traps, which nothing reads.
set(ALPA_NATIVE_FLAGS -march=native)
set(x86_64_flags -march=x86-64)
set(x86_64_v3_flags -march=x86-64-v3)
set(x86_64_v4_flags -march=x86-64-v4 -mprefer-vector-width=512)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(levels x86_64 x86_64_v3 x86_64_v4)
  list(APPEND ALPA_NATIVE_FLAGS -mprefer-vector-width=512)
endif()
set(native_flags ${ALPA_NATIVE_FLAGS})
if(ALPA_NATIVE OR NOT levels)
  set(levels native)
  list(FILTER ALPA_DEVICE_SOURCES EXCLUDE REGEX "levels_x86\\.cpp$")
else()
  list(FILTER ALPA_DEVICE_SOURCES EXCLUDE REGEX "levels_native\\.cpp$")
endif()
list(FILTER ALPA_DEVICE_SOURCES EXCLUDE REGEX "/fast_f(32|64)\\.cpp$")

function(alpa_cpu_kernels level type)
  set(name alpa_cpu_${level}_${type})
  add_library(${name} OBJECT ${CMAKE_SOURCE_DIR}/src/device/cpu/fast_${type}.cpp)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src/device)
  target_link_libraries(${name} PRIVATE alpa::graph OpenMP::OpenMP_CXX alpa_warnings)
  target_include_directories(${name} PRIVATE ${CMAKE_BINARY_DIR}/include_root/device)
  target_compile_definitions(${name} PRIVATE ALPA_CPU_LEVEL=${level})
  target_compile_options(${name} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O3> -fno-math-errno
                         -fno-trapping-math ${${level}_flags})
  if(type STREQUAL f32)
    target_compile_options(${name} PRIVATE -ffast-math)
  endif()
  set(object ${CMAKE_BINARY_DIR}/${name}.o)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CMAKE_LINKER} -r --force-group-allocation -o ${object} $<TARGET_OBJECTS:${name}>
    COMMAND ${CMAKE_OBJCOPY} --wildcard --keep-global-symbol=*fast_kernels* ${object}
    DEPENDS ${name} $<TARGET_OBJECTS:${name}>
    COMMENT "Linking the CPU kernels of ${level}, ${type}"
    COMMAND_EXPAND_LISTS VERBATIM)
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(ALPA_DEVICE_SOURCES ${ALPA_DEVICE_SOURCES} ${object} PARENT_SCOPE)
endfunction()
foreach(level IN LISTS levels)
  alpa_cpu_kernels(${level} f32)
  alpa_cpu_kernels(${level} f64)
endforeach()
