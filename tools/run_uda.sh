#!/usr/bin/env bash
# Unsupervised domain adaptation in one go: trains on SOURCE with identities, adapts that network to TARGET without them,
# and evaluates it there:
#   bash tools/run_uda.sh SOURCE TARGET BACKBONE [GPUS]           for instance: msmt market vit_s 4
# The configs are configs/source/BACKBONE_SOURCE_sup.py and configs/glc/BACKBONE_SOURCE2TARGET_uda.py. Everything is
# checked before anything runs. Run it again to go on: a finished stage is skipped, an interrupted one resumed.
# Environment:
#   WORK_DIRS       folder of the runs, each in one with the name of its config (work_dirs)
#   TARGET_CONFIG   another target config, for instance one of configs/cluster_contrast
#   SOURCE_GPUS     GPUS of the source training, where they differ
#   SOURCE_OPTIONS  KEY=VALUE overrides of the source config, separated by blanks
#   TARGET_OPTIONS  the same of the target config, for adaptation and evaluation
#   PYTHON          interpreter (python)
set -euo pipefail
# shellcheck source=tools/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

usage() { sed -n '2,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; }
if (($# < 3 || $# > 4)); then
    usage
    exit 2
fi
source=$1 target=$2 backbone=$3 gpus=${4:-1}
source_gpus=${SOURCE_GPUS:-$gpus}
for number in "$gpus" "$source_gpus"; do
    if [[ ! $number =~ ^[1-9][0-9]*$ ]]; then
        usage
        glc_fail "GPUS must be a positive number, got '$number'"
    fi
done
cd "$GLC_ROOT"
export PYTHON=${PYTHON:-python}
work_dirs=${WORK_DIRS:-work_dirs}
source_config=configs/source/${backbone}_${source}_sup.py
target_config=${TARGET_CONFIG:-configs/glc/${backbone}_${source}2${target}_uda.py}
source_dir=$work_dirs/$(basename "$source_config" .py)
target_dir=$work_dirs/$(basename "$target_config" .py)
read -ra source_options <<<"${SOURCE_OPTIONS:-}"
read -ra target_options <<<"${TARGET_OPTIONS:-}"

[[ -f $source_config ]] || glc_fail "there is no $source_config, but: $(echo configs/source/*_sup.py)"
[[ -f $target_config ]] || glc_fail "there is no $target_config, but: $(echo configs/glc/*2*_uda*.py); another config" \
    'is named by TARGET_CONFIG'

# launch NAME PROCESSES ARGUMENTS...: tools/NAME.py on one process or more.
launch() {
    local name=$1 processes=$2
    shift 2
    if ((processes == 1)); then
        set -- "$PYTHON" "tools/$name.py" "$@"
    elif [[ $name == train ]]; then
        set -- bash tools/dist_train.sh "$1" "$processes" "${@:2}"
    else
        set -- bash tools/dist_test.sh "$1" "$2" "$processes" "${@:3}"
    fi
    printf '+ %s\n' "$*"
    "$@"
}
# train TITLE CONFIG FOLDER LAST PROCESSES OPTIONS...: trains until the checkpoint LAST is there.
train() {
    local title=$1 config=$2 folder=$3 last=$4 processes=$5
    shift 5
    if [[ -f $last ]]; then
        glc_say "$title: finished, $last"
        return
    fi
    glc_say "$title"
    # Two checkpoints: where one is damaged, the other is there.
    launch train "$processes" "$config" --work-dir "$folder" --resume \
        --cfg-options default_hooks.checkpoint.max_keep_ckpts=2 "$@"
    [[ -f $last ]] || glc_fail "$title: ended without $last"
}

glc_say "checking $source_config and $target_config"
plan=$("$PYTHON" tools/_uda_plan.py "$source_config" "$target_config" --source-dir "$source_dir" \
    --gpus "$gpus" --source-gpus "$source_gpus" \
    --source-options "${source_options[@]}" --target-options "${target_options[@]}")
read -r source_last target_last <<<"$plan"
source_last=$source_dir/$source_last target_last=$target_dir/$target_last scores=$target_dir/scores.json

train "[1/3] training on $source" "$source_config" "$source_dir" "$source_last" "$source_gpus" "${source_options[@]}"
if [[ -f $target_dir/last_checkpoint && $target_dir/last_checkpoint -ot $source_last ]]; then
    glc_fail "$target_dir was started from an older network than $source_last: delete or move it"
fi
train "[2/3] adapting to $target" "$target_config" "$target_dir" "$target_last" "$gpus" \
    model.backbone.init_cfg.type=Pretrained "model.backbone.init_cfg.checkpoint=$source_last" "${target_options[@]}"
if [[ -f $scores && $scores -nt $target_last ]]; then
    glc_say "[3/3] evaluation on $target: finished, $scores"
else
    glc_say "[3/3] evaluation on $target"
    launch test "$gpus" "$target_config" "$target_last" --work-dir "$target_dir/test" --out "$scores" \
        ${target_options[@]+--cfg-options "${target_options[@]}"}
fi
cat "$scores"
