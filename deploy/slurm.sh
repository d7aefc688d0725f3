#!/bin/bash
# One stage of an experiment over several nodes of a SLURM cluster. Change the lines of #SBATCH, then:
#   sbatch --export=ALL,EXPERIMENT=city.toml,STAGE=teacher deploy/slurm.sh
# Stages that share their work: teacher, infer, student. Run the others on one node: autolabel run city.toml
# The work folder must lie on a file system that all nodes share. A stopped job continues when it is submitted again.
#SBATCH --job-name=autolabel
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

: "${EXPERIMENT:?set EXPERIMENT to the experiment file}" "${STAGE:?set STAGE to teacher, infer or student}"
HEAD_NODE=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((20000 + SLURM_JOB_ID % 20000))

exec srun torchrun \
  --nnodes="$SLURM_NNODES" \
  --nproc-per-node="${SLURM_GPUS_ON_NODE:-1}" \
  --rdzv-id="$SLURM_JOB_ID" \
  --rdzv-backend=c10d \
  --rdzv-endpoint="$HEAD_NODE:$PORT" \
  --max-restarts=0 \
  -m autolabel "$STAGE" "$EXPERIMENT" --work "${WORK:-work}"
