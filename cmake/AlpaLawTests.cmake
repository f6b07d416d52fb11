# Tests of the planner's half and of the law of the project: any plan gives the numbers of one rank.
alpa_tests(sharding DEPS sharding)
alpa_tests(schedule DEPS schedule)
alpa_tests(memory DEPS memory)

add_library(alpa_law STATIC tests/law/harness.cpp tests/law/coverage.cpp)
target_include_directories(alpa_law PUBLIC tests)
target_link_libraries(alpa_law PUBLIC alpa::runtime alpa_warnings)
file(GLOB law_tests CONFIGURE_DEPENDS tests/law/*_law_test.cpp)
alpa_tests(law DEPS runtime model FILES ${law_tests} LINK alpa_law LABELS law)
set_tests_properties(law PROPERTIES TIMEOUT 1200)  # ten minutes on a machine that others use too
alpa_tests(plan DEPS plan model LINK alpa_law)
alpa_tests(lowering DEPS lowering model LINK alpa_law LABELS law)

# Sharding rules against brute force on the reference kernels.
alpa_tests(rules DEPS sharding device FILES tests/law/rules_test.cpp tests/law/windows_test.cpp
           tests/device/cases_test.cpp tests/device/image_cases_test.cpp
           tests/device/expert_cases_test.cpp LABELS law)

# The same law under 200 plans a model.
add_test(NAME law.random_plans
         COMMAND law_tests --gtest_filter=*RandomPlans*:-*PrecisionLaw*)
set_tests_properties(law.random_plans PROPERTIES LABELS slow TIMEOUT 3600
                                                 ENVIRONMENT ALPA_LAW_PLANS=200)

alpa_tests(names DEPS config graph FILES tests/law/names_test.cpp)
alpa_tests(scaling DEPS runtime model FILES tests/law/scaling_test.cpp LINK alpa_law
           LABELS scaling)
