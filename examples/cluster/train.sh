#!/bin/sh
# Trains a recipe with torchrun, which starts all processes again after a failure: they go on from the last checkpoint.
#   examples/cluster/train.sh configs/mine.yaml                                     on one machine
#   MACHINES=4 FIRST=node0 examples/cluster/train.sh configs/mine.yaml              the same on each of four machines
set -eu
exec torchrun --nnodes "${MACHINES:-1}" --nproc-per-node "${PROCESSES:-gpu}" --max-restarts "${RESTARTS:-10}" \
    --rdzv-backend c10d --rdzv-endpoint "${FIRST:-localhost}:${PORT:-29400}" --rdzv-id simmim -m simmim train "$@"
