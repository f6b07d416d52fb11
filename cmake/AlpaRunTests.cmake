# Tests of the whole program: scripts in tests/run/, each of which starts alpa_train as a user would,
# alone and under mpirun. Needs alpa_train and MPI. Python's standard library is enough; comparisons
# of tensors skip where h5py is missing, so an interpreter that has it is preferred.
find_program(ALPA_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(ALPA_PYTHON NAMES python3)

# alpa_run_test(<script> <class>... [LABELS <label>...] [TIMEOUT <seconds>])
#
# One CTest entry run.<script>.<class> for each class of tests/run/<script>_test.py. A job takes both
# cores, so these tests wait for each other.
function(alpa_run_test script)
  cmake_parse_arguments(T "" "TIMEOUT" "LABELS" ${ARGN})
  if(NOT T_LABELS)
    set(T_LABELS mpi)
  endif()
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 300)
  endif()
  set(environment
      ALPA_TRAIN=$<TARGET_FILE:alpa_train>
      ALPA_MPIRUN=${MPIEXEC_EXECUTABLE}
      PYTHONDONTWRITEBYTECODE=1
      OMPI_ALLOW_RUN_AS_ROOT=1
      OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
      OMPI_MCA_rmaps_base_oversubscribe=1
      OMPI_MCA_hwloc_base_binding_policy=none
      OMPI_MCA_mpi_yield_when_idle=1)
  foreach(class IN LISTS T_UNPARSED_ARGUMENTS)
    add_test(NAME run.${script}.${class}
             COMMAND ${ALPA_PYTHON} ${CMAKE_SOURCE_DIR}/tests/run/${script}_test.py ${class})
    set_tests_properties(run.${script}.${class} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT}
                         PROCESSORS 2 SKIP_RETURN_CODE 77
                         ENVIRONMENT "${environment}")
  endforeach()
endfunction()

if(ALPA_PYTHON)
  alpa_run_test(harness Harness)
  alpa_run_test(data Images BadImages TokenRules Metrics)
  alpa_run_test(interchange Interchange)
  alpa_run_test(kill KilledRank KilledWhileSaving NoProgress)
  alpa_run_test(kill RandomKills LABELS slow)
  alpa_run_test(signals Signals)
  alpa_run_test(resume OtherPlan WholeTensors Continuing)
  alpa_run_test(hang Hang Crash Numerics)
  alpa_run_test(disk FailingDisk Damage RunDirectory Streams)
  alpa_run_test(refusals CommandLine Configuration Data Plans DifferentRanks)
  alpa_run_test(slurm Slurm LABELS slow)
  alpa_run_test(planning Planning Executed Experts)
  alpa_run_test(recompute Recompute)
  alpa_run_test(precision NearFp32 LossScale Files)
  alpa_run_test(auto Training Resuming Axis Planning TIMEOUT 600)
  alpa_run_test(configs Mlp)
  alpa_run_test(configs Scaling LABELS mpi scaling)
  alpa_run_test(configs ManyRanks TIMEOUT 600)
else()
  message(STATUS "alpa: no python3 found, the tests of the whole program are left out")
endif()
