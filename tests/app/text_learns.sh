#!/usr/bin/env bash
# Trains configs/text.yaml on the text of a folder and holds it to its promise: at
# most 1.90 nats per byte on the last tenth, which training never saw. Prints the time it took.
#
#   text_learns.sh ALPA_TRAIN CONFIG FOLDER RUN_DIRECTORY MPIRUN
set -euo pipefail
program=$1 config=$2 folder=$3 run=$4 mpirun=$5
[ -d "$folder" ] || { echo "no folder $folder: skipped"; exit 77; }
rm -rf "$run"
mkdir -p "$run/text"
cp "$folder"/*.txt "$run/text/"
source "$(dirname "$0")/../../jobs/environment.sh"
export OMP_NUM_THREADS=1
start=$(date +%s)
"$mpirun" -np 2 "$program" "$config" "data.text=[$run/text]" "output=$run/run" checkpoint.every=never
seconds=$(($(date +%s) - start))
loss=$(grep -o '"eval_loss":[^,}]*' "$run/run/metrics.jsonl" | tail -1 | cut -d: -f2)
echo "eval_loss $loss nats per byte after $seconds s"
awk -v loss="$loss" 'BEGIN { exit !(loss + 0 > 0 && loss <= 1.90) }'
