#!/usr/bin/env bash
# A Slurm cluster of four nodes on the loopback interface, as the user who calls this: for tests of the real launch path.
# Needs Debian's packages slurm-wlm and munge, and no running Slurm or munge of the system.
#
#   slurm_cluster.sh start DIR    start it; DIR is short, new, and takes configuration, logs and sockets
#   export SLURM_CONF=DIR/slurm.conf
#   slurm_cluster.sh stop DIR     stop it
set -euo pipefail

start() {
    mkdir -p "$dir"/{state,spool,log}
    chmod 700 "$dir" # munge refuses a key or a socket that others can reach
    local host port
    host=$(hostname -s)
    port=${SLURM_TEST_PORT:-17000}

    head -c 1024 /dev/urandom > "$dir/munge.key"
    chmod 400 "$dir/munge.key"
    # --force: munge dislikes directories above that others can write to, as /tmp.
    munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/munge.seed" 2> "$dir/log/munged.stderr"

    cat > "$dir/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$port
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge.socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
InactiveLimit=0
KillWait=5
MessageTimeout=30
SchedulerParameters=batch_sched_delay=0
PropagateResourceLimits=NONE
NodeName=n[1-4] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 4))] CPUs=4 State=UNKNOWN
PartitionName=test Nodes=n[1-4] Default=YES MaxTime=60 OverSubscribe=YES:4 State=UP
CONF
    # More CPUs are promised than there may be.
    echo "SlurmdParameters=config_overrides" >> "$dir/slurm.conf"

    slurmctld -f "$dir/slurm.conf"
    local node
    for node in n1 n2 n3 n4; do
        slurmd -f "$dir/slurm.conf" -N "$node"
    done
    export SLURM_CONF=$dir/slurm.conf
    for _ in $(seq 100); do
        if [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ] && [ "$(sinfo --noheader --format=%D)" = 4 ]; then
            return
        fi
        sleep 0.2
    done
    echo "the cluster is not ready after 20 s; see $dir/log" >&2
    sinfo >&2 || true
    exit 1
}

# Whether a process is there and not only waiting for its parent to take notice of its end.
runs() {
    grep -qs '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$1/status"
}

stop() {
    local file pid
    # The controller last but munge: the nodes tell it that they go.
    for file in "$dir"/slurmd-*.pid "$dir"/slurmctld.pid "$dir"/munged.pid; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        kill "$pid" 2> /dev/null || continue
        for _ in $(seq 50); do
            runs "$pid" || break
            sleep 0.1
        done
        ! runs "$pid" || kill -9 "$pid"
    done
}

dir=$(realpath -m "${2:?usage: slurm_cluster.sh start|stop DIR}")
case "$1" in
    start) start ;;
    stop) stop ;;
    *) echo "usage: slurm_cluster.sh start|stop DIR" >&2; exit 2 ;;
esac
