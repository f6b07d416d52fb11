# Tests of the program and the shipped configurations. Needs alpa_mpi_test and the target alpa_train.

# Texts that are not part of the project; tests that need them skip without.
if(DEFINED ENV{ALPA_SHARED_DIR})
  set(shared_default $ENV{ALPA_SHARED_DIR})
else()
  get_filename_component(shared_default ${CMAKE_SOURCE_DIR}/../shared ABSOLUTE)
endif()
set(ALPA_SHARED_DIR ${shared_default} CACHE PATH "Folder whose data/ holds texts for tests")

# Every shipped configuration has data, a plan and memory on 4 ranks; those for bigger machines are in
# AlpaPlanSuite.cmake.
file(GLOB shipped CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/configs/*.yaml)
list(FILTER shipped EXCLUDE REGEX "/transformer-")
foreach(file IN LISTS shipped)
  get_filename_component(name ${file} NAME_WE)
  set(data)
  if(name STREQUAL text)
    set(data data.text=[${CMAKE_SOURCE_DIR}/src])
  endif()
  alpa_mpi_test(configs.${name} 4 alpa_train ${file} ${data} --check)
endforeach()

# The text of ALPA_SHARED_DIR learnt in the time allowed: minutes, so it is labelled slow.
add_test(NAME configs.text.learns
         COMMAND bash ${CMAKE_SOURCE_DIR}/tests/app/text_learns.sh $<TARGET_FILE:alpa_train>
                 ${CMAKE_SOURCE_DIR}/configs/text.yaml ${ALPA_SHARED_DIR}/data
                 ${CMAKE_BINARY_DIR}/tests/text_learns ${MPIEXEC_EXECUTABLE})
set_tests_properties(configs.text.learns PROPERTIES LABELS slow TIMEOUT 1800 RUN_SERIAL ON
                     SKIP_RETURN_CODE 77)
