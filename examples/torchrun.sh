#!/bin/bash
# A fit with torchrun: 4 processes on each of NODES nodes. Run this on every node, with the same MASTER and SECRET:
#   MASTER=node1 SECRET=$(openssl rand -hex 32) NODES=2 examples/torchrun.sh RUNCARD
# On a single machine 'unscatter solve RUNCARD --ranks 4' does the same, with a log and a progress display for all ranks.

# Known to the ranks of this job only. Without it anybody on the network could pose as a rank.
export UNSCATTER_SECRET=${SECRET:?}
export OMP_NUM_THREADS=8
# After a restart ranks would otherwise read the addresses of those that have gone.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

torchrun --nnodes "${NODES:-1}" --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint "${MASTER:-localhost}:29400" --rdzv-id unscatter \
    -m unscatter.cli solve "${1:?RUNCARD}"
