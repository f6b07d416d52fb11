# The search as a whole: against every plan there is on small problems, and the law for what it finds.
file(GLOB enumeration_sources CONFIGURE_DEPENDS tests/enumeration/*.cpp)
alpa_tests(enumeration DEPS inter_op model FILES ${enumeration_sources} LABELS law)
target_include_directories(enumeration_tests PRIVATE src/inter_op)
add_test(NAME enumeration.500 COMMAND enumeration_tests)
set_tests_properties(enumeration.500 PROPERTIES LABELS slow TIMEOUT 3600
                                                ENVIRONMENT ALPA_ENUMERATIONS=500)
alpa_tests(auto_plans DEPS inter_op runtime model FILES tests/law/auto_plans_test.cpp LINK alpa_law
           LABELS law)
