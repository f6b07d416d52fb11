# Planning of the shipped configurations: tests of their figures, and the program that measures it.
file(GLOB plan_suite_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/plan_suite_*_test.cpp)
alpa_tests(plan_suite DEPS model simulate LINK alpa_app FILES ${plan_suite_tests} LABELS law)
target_include_directories(plan_suite_tests PRIVATE src)

# plan_suite CONFIG CLUSTER ... [--megatron-grid]
add_executable(plan_suite tests/bench/plan_suite.cpp tests/bench/megatron_grid.cpp)
target_link_libraries(plan_suite PRIVATE alpa_app alpa_warnings)
target_include_directories(plan_suite PRIVATE tests src/plan)
set_target_properties(plan_suite PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)

# suite_table: what auto and methods by hand give for the published suites.
add_executable(suite_table tests/bench/suite_table.cpp tests/bench/suite_rows.cpp)
target_link_libraries(suite_table PRIVATE alpa_app alpa_warnings)
target_include_directories(suite_table PRIVATE tests)
set_target_properties(suite_table PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
