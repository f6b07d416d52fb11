#!/usr/bin/env bash
# Ends the cluster that slurm-start.sh DIR started.
#
#   slurm-stop.sh DIR
D=$(realpath -m "${1:-./cluster}")
for f in "$D"/run/slurmd-*.pid "$D"/run/slurmctld.pid "$D"/munge/munged.pid; do [ -s "$f" ] && kill "$(cat "$f")" 2>/dev/null; done
for i in $(seq 50); do a=0; for f in "$D"/run/slurmd-*.pid "$D"/run/slurmctld.pid; do [ -s "$f" ] && kill -0 "$(cat "$f")" 2>/dev/null && a=1; done; [ $a = 0 ] && break; sleep 0.1; done
exit 0
