#!/usr/bin/env bash
# Installs what is missing, builds, and trains a small GPT on 4 ranks of this machine.
#
#   bash jobs/quickstart.sh [section.key=value ...] [OPTION...]
#
# Arguments go to alpa_train. The text is the C++ headers of this machine: nothing is downloaded.
# The run lies in runs/quickstart; the same command again goes on where it stopped.
#
#   RANKS=2 bash jobs/quickstart.sh     another number of ranks (even: the plan has two stages)
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
exec mpirun -np "$ranks" build/alpa_train configs/quickstart.yaml "$@"
