#!/usr/bin/env bash
# Installs what is missing, builds into build/, runs the tests.
#
#   bash jobs/test.sh [--slow] [CMAKE ARGUMENT...]
#
#   --slow   also the tests labelled `slow`, which take long; without it their names are listed
set -euo pipefail
cd "$(dirname "$0")/.."

selection=(--label-exclude '^slow$')
arguments=()
for argument in "$@"; do
  case $argument in
    --slow) selection=() ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) arguments+=("$argument") ;;
  esac
done

bash jobs/install.sh
source jobs/environment.sh
configure "${arguments[@]}"
cmake --build build --parallel "$(nproc)"

if [ ${#selection[@]} -gt 0 ]; then
  left_out=$(ctest --test-dir build --show-only --label-regex '^slow$' | sed -n 's/^ *Test *#[0-9]*: //p')
  if [ -n "$left_out" ]; then
    echo "Left out (label slow; bash jobs/test.sh --slow runs them):" $left_out
  else
    echo "Left out: nothing"
  fi
fi

result=0
ctest --test-dir build --output-on-failure --no-tests=error --parallel "$(nproc)" \
  --output-junit "$PWD/build/tests.xml" "${selection[@]}" || result=$?

# A test program that passes may have skipped cases, for want of h5py or of data: they are named.
skipped=$(awk '/^[0-9]+\/[0-9]+ Test: / { test = $3 }
               /^\[  SKIPPED \] .* \(/ { print $4 }
               /^OK \(.*skipped=/ { print test }' build/Testing/Temporary/LastTest.log | sort -u)
if [ -n "$skipped" ]; then
  echo "Skipped cases inside tests that passed:" $skipped
  failed=$(grep -c '<failure' build/tests.xml || true)
  total=$(grep -c '<testcase ' build/tests.xml || true)
  echo "$((total - failed)) passed, $failed failed"
fi
exit "$result"
