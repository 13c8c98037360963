#!/usr/bin/env bash
# Trains under Slurm, one process per GPU:
#   bash tools/slurm_train.sh PARTITION JOB CONFIG [options of tools/train.py]
# For example: GPUS=4 bash tools/slurm_train.sh gpu market configs/glc/vit_s_market_usl.py --amp
# GPUS (all), GPUS_PER_NODE, CPUS_PER_TASK and SRUN_ARGS change the request.
set -euo pipefail

if (($# < 3)); then
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-4}
gpus_per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
read -ra srun_arguments <<<"${SRUN_ARGS:-}"
# A process that fails or hangs ends itself (docs/architecture.md); --kill-on-bad-exit then ends the job.
exec srun --partition="$partition" --job-name="$job" --gres="gpu:$gpus_per_node" --ntasks="$gpus" \
    --ntasks-per-node="$gpus_per_node" --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 \
    "${srun_arguments[@]}" "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/train.py" "$config" --launcher slurm "$@"
