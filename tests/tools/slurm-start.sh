#!/usr/bin/env bash
# Starts a Slurm cluster of several nodes on this host, without systemd, cgroups or system accounts:
# munged, slurmctld and one slurmd a node, all state under DIR.
#
#   slurm-start.sh DIR NODES CPUS_PER_NODE      prints the `export` that makes sbatch use it
#
# SLURM_TEST_PORT is the first of the ports taken (default 27000).
set -euo pipefail
D=$(realpath -m "${1:-./cluster}"); N=${2:-2}; C=${3:-2}; BASE=${SLURM_TEST_PORT:-27000}
H=$(hostname -s); mkdir -p "$D"/{state,log,run,munge,spool}; chmod 755 "$D"
# --- munge: own key and socket, so that it works without systemd and without /run/munge
chmod 700 "$D/munge"; [ -f "$D/munge/munge.key" ] || { (umask 077; dd if=/dev/urandom bs=1 count=1024 of="$D/munge/munge.key" 2>/dev/null); }
/usr/sbin/munged --force --key-file="$D/munge/munge.key" --socket="$D/run/munge.sock" --pid-file="$D/munge/munged.pid" --seed-file="$D/munge/seed" --log-file="$D/munge/munged.log" --num-threads=2
for i in $(seq 50); do munge -S "$D/run/munge.sock" -n >/dev/null 2>&1 && break; sleep 0.1; done
cat > "$D/slurm.conf" <<X
ClusterName=t
SlurmctldHost=$H(127.0.0.1)
SlurmctldPort=$((BASE+1))
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=5
SwitchType=switch/none
TmpFS=$D/tmp/%n
MpiDefault=pmix
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
MinJobAge=300
KillWait=10
OverTimeLimit=0
MailProg=/bin/true
SlurmdParameters=config_overrides
JobRequeue=1
TaskProlog=$D/taskprolog.sh
NodeName=n[1-$N] NodeHostname=$H NodeAddr=127.0.0.1 Port=[$((BASE+11))-$((BASE+10+N))] CPUs=$C RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=n[1-$N] Default=YES MaxTime=INFINITE OverSubscribe=FORCE:8 State=UP
X
cat > "$D/taskprolog.sh" <<X
#!/bin/sh
# several slurmd on one host: Open MPI names its shared-memory files by host name and local rank, so every pseudo-node needs its own folder
echo "export OMPI_MCA_btl_vader_backing_directory=$D/tmp/\$SLURMD_NODENAME"
echo "export OMPI_MCA_osc_sm_backing_directory=$D/tmp/\$SLURMD_NODENAME"
echo "export OMPI_MCA_orte_tmpdir_base=$D/tmp/\$SLURMD_NODENAME"
echo "export OMPI_MCA_mpi_yield_when_idle=1"
echo "export OMPI_MCA_hwloc_base_binding_policy=none"
X
chmod +x "$D/taskprolog.sh"
export SLURM_CONF="$D/slurm.conf"
/usr/sbin/slurmctld -i -f "$SLURM_CONF"
for i in $(seq "$N"); do mkdir -p "$D/spool/n$i" "$D/tmp/n$i"; /usr/sbin/slurmd -N "n$i" -f "$SLURM_CONF"; done
for i in $(seq 100); do [ "$(sinfo -h -t idle -o %D 2>/dev/null | awk '{s+=$1}END{print s+0}')" = "$N" ] && break; sleep 0.1; done
echo "export SLURM_CONF=$SLURM_CONF"
