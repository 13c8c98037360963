# shellcheck shell=bash
# Sourced by dist_train.sh and dist_test.sh.

# glc_launch PROCESSES SCRIPT [ARGUMENTS]: torchrun on this machine as one of NNODES.
glc_launch() {
    local processes=$1 nodes=${NNODES:-1} port=${MASTER_PORT:-} python=${PYTHON:-python}
    shift
    if [[ -z $port ]]; then
        if ((nodes > 1)); then
            echo 'several machines need the same MASTER_PORT on each; set it' >&2
            exit 2
        fi
        port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    fi
    exec "$python" -m torch.distributed.run --nnodes="$nodes" --node_rank="${NODE_RANK:-0}" \
        --nproc_per_node="$processes" --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" "$@"
}
