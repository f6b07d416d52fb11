# alpa_module(<name> [DEPS <module>...] [USES <module>...] [LINK <third-party target>...]
#             [SOURCES <file>...])
#
# Declares one layer. Headers live in include/alpa/<name>, sources in src/<name>, tests in
# tests/<name>. The layer can see its own headers, those of DEPS (passed on to whoever depends on
# it) and those of USES (kept to itself), nothing else: every layer gets a private include root that
# holds one symlink, so an #include that points up the stack is a compile error, not a review note.
# SOURCES replaces the default of every src/<name>/**/*.cpp, where a back end is chosen here.
function(alpa_module name)
  cmake_parse_arguments(M "" "" "DEPS;USES;LINK;SOURCES" ${ARGN})
  foreach(dep IN LISTS M_DEPS M_USES)
    if(NOT TARGET alpa_${dep})
      message(FATAL_ERROR "alpa_module(${name}): ${dep} is not a lower layer")
    endif()
  endforeach()
  set(root ${CMAKE_BINARY_DIR}/include_root/${name})
  file(MAKE_DIRECTORY ${root}/alpa)
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/include/alpa/${name} ${root}/alpa/${name} SYMBOLIC)

  if(M_SOURCES)
    set(sources ${M_SOURCES})
  else()
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  endif()
  file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/include/alpa/${name}/*.hpp)

  # One generated file per header proves that each header compiles on its own.
  foreach(header IN LISTS headers)
    file(RELATIVE_PATH rel ${CMAKE_SOURCE_DIR}/include ${header})
    string(MAKE_C_IDENTIFIER ${rel} id)
    file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/header_check/${name}/${id}.cpp
                  CONTENT "#include <${rel}>\n")
    list(APPEND sources ${CMAKE_BINARY_DIR}/header_check/${name}/${id}.cpp)
  endforeach()

  add_library(alpa_${name} ${sources})
  add_library(alpa::${name} ALIAS alpa_${name})
  target_include_directories(alpa_${name} PUBLIC ${root} PRIVATE ${CMAKE_SOURCE_DIR}/src/${name})
  list(TRANSFORM M_DEPS PREPEND alpa::)
  list(TRANSFORM M_USES PREPEND alpa::)
  target_link_libraries(alpa_${name} PUBLIC ${M_DEPS} PRIVATE ${M_USES} alpa_warnings ${M_LINK})
  target_link_options(alpa_${name} PRIVATE $<$<BOOL:${BUILD_SHARED_LIBS}>:LINKER:--no-undefined>)
endfunction()

# alpa_tests(<name> [DEPS <module>...] [LABELS <label>...] [FILES <file>...])
#
# One GoogleTest executable <name>_tests from tests/<name>/*_test.cpp (or FILES), one CTest entry.
function(alpa_tests name)
  cmake_parse_arguments(T "" "" "DEPS;LABELS;FILES;LINK" ${ARGN})
  if(NOT T_FILES)
    file(GLOB T_FILES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${name}/*_test.cpp)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS fast)
  endif()
  list(TRANSFORM T_DEPS PREPEND alpa::)
  add_executable(${name}_tests ${T_FILES})
  target_link_libraries(${name}_tests PRIVATE ${T_DEPS} alpa_warnings GTest::gtest_main ${T_LINK})
  target_include_directories(${name}_tests PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name}_tests PRIVATE ALPA_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name}_tests)
  set_tests_properties(${name} PROPERTIES LABELS "${T_LABELS}" TIMEOUT 600)
endfunction()

# alpa_mpi_test(<name> <ranks> <target or program> [<argument>...] [EXIT_CODE <code>])
#
# One CTest entry, label mpi: the command on that many ranks of this host under mpirun, which must
# end with the code (default 0). Needs find_package(MPI). More ranks than cores are fine: they yield.
function(alpa_mpi_test name ranks)
  cmake_parse_arguments(T "" "EXIT_CODE" "" ${ARGN})
  if(NOT T_EXIT_CODE)
    set(T_EXIT_CODE 0)
  endif()
  list(POP_FRONT T_UNPARSED_ARGUMENTS program)
  if(TARGET ${program})
    set(program $<TARGET_FILE:${program}>)
  endif()
  add_test(NAME ${name}
           COMMAND sh -c "\"$@\"; code=$?; echo exit code $code; test $code -eq ${T_EXIT_CODE}" sh
                   ${MPIEXEC_EXECUTABLE} ${MPIEXEC_NUMPROC_FLAG} ${ranks} ${program}
                   ${T_UNPARSED_ARGUMENTS})
  set(environment
      OMPI_ALLOW_RUN_AS_ROOT=1
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
      OMPI_MCA_rmaps_base_oversubscribe=1
      OMPI_MCA_hwloc_base_binding_policy=none
      OMPI_MCA_mpi_yield_when_idle=1
      OMP_NUM_THREADS=1)
  set_tests_properties(${name} PROPERTIES LABELS mpi TIMEOUT 120 PROCESSORS 2
                       ENVIRONMENT "${environment}")
endfunction()
