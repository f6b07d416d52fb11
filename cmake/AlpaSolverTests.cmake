# Tests of the solver, and the program that reads the public contest's format.
find_package(ZLIB REQUIRED)
find_package(nlohmann_json REQUIRED)

alpa_tests(solver DEPS solver LINK nlohmann_json::nlohmann_json ZLIB::ZLIB CBC::CBC LABELS law)

add_executable(iopddl tests/bench/iopddl.cpp)
target_link_libraries(iopddl PRIVATE alpa::solver nlohmann_json::nlohmann_json ZLIB::ZLIB
                                     alpa_warnings)
set_target_properties(iopddl PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)

# Answers are re-scored and no worse than the best known; skips where the instances are not there.
if(DEFINED ENV{ALPA_SHARED_DIR})
  set(shared_default $ENV{ALPA_SHARED_DIR})
else()
  get_filename_component(shared_default ${CMAKE_SOURCE_DIR}/../shared ABSOLUTE)
endif()
set(ALPA_SHARED_DIR ${shared_default} CACHE PATH "Folder whose data/ holds texts for tests")
find_program(ALPA_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(ALPA_PYTHON NAMES python3)
if(ALPA_PYTHON)
  add_test(NAME solver.iopddl.format
           COMMAND ${ALPA_PYTHON} ${CMAKE_SOURCE_DIR}/tests/solver/iopddl_test.py
                   $<TARGET_FILE:iopddl>)
  set_tests_properties(solver.iopddl.format PROPERTIES LABELS fast TIMEOUT 60)
  foreach(instance IN ITEMS A:6548640000 B:532843 C:84102400000 G:217039 L:1970990000
                         P:651833000000)
    string(REPLACE ":" ";" parts ${instance})
    list(GET parts 0 letter)
    list(GET parts 1 best)
    add_test(NAME solver.iopddl.${letter}
             COMMAND ${ALPA_PYTHON} ${CMAKE_SOURCE_DIR}/tests/solver/iopddl_test.py
                     $<TARGET_FILE:iopddl> ${ALPA_SHARED_DIR}/iopddl/${letter}.json.gz 60 ${best})
    set_tests_properties(solver.iopddl.${letter} PROPERTIES LABELS slow TIMEOUT 180 RUN_SERIAL ON
                         SKIP_RETURN_CODE 77)
  endforeach()
endif()
