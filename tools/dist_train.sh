#!/usr/bin/env bash
# Trains on several processes, one per GPU (or CPU processes where there is no GPU):
#   bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# For example: bash tools/dist_train.sh configs/glc/vit_s_market_usl.py 4 --amp
# Several machines: run it on each with NNODES, its own NODE_RANK, and the first machine's MASTER_ADDR and MASTER_PORT.
set -euo pipefail

if (($# < 2)); then
    sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
config=$1 gpus=$2
shift 2
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/_launch.sh
source "$tools/_launch.sh"
glc_launch "$gpus" "$tools/train.py" "$config" --launcher pytorch "$@"
