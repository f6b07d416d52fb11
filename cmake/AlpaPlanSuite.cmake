# Planning of the shipped configurations: tests of their figures.
file(GLOB plan_suite_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/plan_suite_*_test.cpp)
alpa_tests(plan_suite DEPS model simulate FILES ${plan_suite_tests} LABELS law)

