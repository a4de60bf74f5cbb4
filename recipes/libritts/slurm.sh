#!/usr/bin/env bash
# Train a recipe on several nodes of a Slurm cluster; the same line goes on where it stopped, on any number of nodes.
#
#   sbatch --nodes 8 recipes/libritts/slurm.sh f5_base s3://bucket/libritts/manifest.jsonl runs/f5_base \
#     [--set train.FIELD=VALUE ...]
#
# Asks for 8 GPUs a node; `sbatch --gpus-per-node 4` changes that. The run folder lies on a disk that all nodes see.
# Before a preemption every process gets SIGTERM, saves, and the job is queued again.
#SBATCH --job-name=tts-fm
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=96
#SBATCH --signal=TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
recipe=$1 manifest=$2 run=$3
shift 3
nodes=${SLURM_JOB_NUM_NODES:?this is for sbatch} gpus=${SLURM_GPUS_ON_NODE:-8}
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
python=${PYTHON:-python3}
export OMP_NUM_THREADS=1
port=$((20000 + SLURM_JOB_ID % 20000))  # two jobs that share a node do not meet
sharing=()
# every node its own share of the shards, one copy of the weights in every node, every process its part of a checkpoint
if [ "$nodes" -gt 1 ]; then
  sharing=(--set train.by_node=true)
  [[ "$recipe" == *ctc* ]] ||  # its reader is not sharded
    sharing+=(--set train.shard=true --set "train.replicas=$nodes" --set train.sharded_checkpoints=true)
fi
exec srun "$python" -m torch.distributed.run --nnodes "$nodes" --nproc-per-node "$gpus" --rdzv-backend c10d \
  --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$head:$port" \
  -m recipes.libritts.train "$recipe" "$manifest" "$run" --device cuda ${sharing[@]:+"${sharing[@]}"} "$@"
