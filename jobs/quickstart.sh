#!/usr/bin/env bash
# Installs what is missing, builds, and trains a small GPT on 4 ranks of this machine.
#
#   bash jobs/quickstart.sh [section.key=value ...] [OPTION...]
#
# Arguments go to alpa_train. It searches for a plan, shows it and what it expects, then trains and
# shows what was measured. The text is the C++ headers of this machine: nothing is downloaded.
# The run lies in runs/quickstart; the same command again goes on where it stopped.
#
#   RANKS=2 bash jobs/quickstart.sh     another number of ranks
set -euo pipefail
cd "$(dirname "$0")/.."

ranks=${RANKS:-4}
bash jobs/install.sh
source jobs/environment.sh
configure
cmake --build build --parallel "$(nproc)" --target alpa_train

# Threads of one rank: the cores shared out, one at least.
threads=$(($(nproc) / ranks))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 1 ? threads : 1))}
mpirun -np "$ranks" build/alpa_train configs/quickstart.yaml "$@"

# What was planned, expected and measured; `output=` may have moved the run.
run=runs/quickstart
for argument in "$@"; do
  case $argument in output=*) run=${argument#output=} ;; esac
done
if [ -f "$run/plan.yaml" ]; then
  echo
  echo "The plan is in $run/plan.yaml. It predicts:"
  sed -n '/^predicted:/,/^[^ ]/{/^ /p}' "$run/plan.yaml"
  grep -o 'predicted .* a step, measured .*' "$run/log.txt" | tail -n 1 || true
fi
