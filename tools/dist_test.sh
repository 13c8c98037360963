#!/usr/bin/env bash
# Evaluates a checkpoint on several processes, one per GPU (or CPU processes where there is no GPU):
#   bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Several machines: run it on each with NNODES, its own NODE_RANK, and the first machine's MASTER_ADDR and MASTER_PORT.
set -euo pipefail

if (($# < 3)); then
    sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
config=$1 checkpoint=$2 gpus=$3
shift 3
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/_launch.sh
source "$tools/_launch.sh"
glc_launch "$gpus" "$tools/test.py" "$config" "$checkpoint" --launcher pytorch "$@"
