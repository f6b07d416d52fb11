# Planning of the shipped configurations: tests of their figures, and the program that measures it.
file(GLOB plan_suite_tests CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/bench/plan_suite_*_test.cpp)
alpa_tests(plan_suite DEPS model FILES ${plan_suite_tests} LABELS law)
