#!/usr/bin/env bash
# From a fresh clone to adapted networks, without any data: makes an environment outside the checkout; draws two domains,
# with people, cameras and clothes of their own; trains a small network on the first one with identities; adapts it to
# the second one without labels, once without and once with label correction; scores all three there and draws ranked
# results. Run again, it goes on where it was interrupted, and tells what came out where everything is there. It takes
# four minutes on two free CPU cores, after the installation, and more beside other work. Options:
#   --seed N  other images and another training (default: 0)
#   --small   fewer images and iterations, in work_dirs/quickstart_small: minutes, shows that everything runs, not that
#             it learns
# For example: bash tools/quickstart.sh --small
# GLC_ENV_DIR and PYTHON are explained in tools/_env.sh.
set -euo pipefail
# shellcheck source=tools/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

usage() { sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
seed=0 work=work_dirs/quickstart
source_ids=200 source_spec=(--train-ids 200 --train-images 8)
target_spec=(--train-ids 80 --train-images 16 --test-ids 60 --test-images 8 --distractors 40)
source_options=() target_options=()
while (($#)); do
    case $1 in
        --small)
            work=work_dirs/quickstart_small
            source_ids=24 source_spec=(--train-ids 24 --train-images 6)
            target_spec=(--train-ids 16 --train-images 12 --test-ids 8 --test-images 6 --distractors 10)
            source_options=(train_cfg.max_epochs=2 train_cfg.val_interval=2 train_dataloader.sampler.iterations=5)
            target_options=("${source_options[@]}" default_hooks.pseudo_label.labeler.k1=10)
            ;;
        --seed)
            seed=${2:-}
            [[ $seed =~ ^(0|[1-9][0-9]{0,5})$ ]] || glc_fail "--seed needs a number of at most six digits, got '$seed'"
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        *)
            usage >&2
            glc_fail "unknown option $1"
            ;;
    esac
    shift
done
cd "$GLC_ROOT"
work=$work/seed_$seed
# The target has other people and outfits, and fewer cameras, which differ less in color.
source_spec+=(--test-ids 1 --test-images 4 --distractors 0 --junk 0 --seed $((2 * seed)))
target_spec+=(--junk 0 --cameras 5 --spread 80 --seed $((2 * seed + 1)))
source_options+=("train_dataloader.dataset.data_root=$work/source_images" "model.head.num_classes=$source_ids")
for loader in train val test; do target_options+=("${loader}_dataloader.dataset.data_root=$work/target_images"); done
# Two checkpoints: where one is damaged, the other is there.
training=("randomness.seed=$seed" default_hooks.checkpoint.max_keep_ckpts=2)
leaf=demo_synthetic2synthetic_uda.py

# One thread each: two that wait for each other are far slower where other processes share the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# What was made with other code or other settings is made again.
settings() {
    printf '%s\n' "${source_spec[@]}" "${target_spec[@]}" "${source_options[@]}" "${target_options[@]}"
    find glc configs tools/quickstart.sh tools/train.py tools/test.py -name '*.py' -o -name quickstart.sh |
        LC_ALL=C sort | xargs cat
}
glc_find_python
key=$(settings | glc_hash)
if [[ -e $work && ! -f $work/settings ]]; then
    glc_fail "$work was not made by this script; move it away"
elif [[ -e $work && $(<"$work/settings") != "$key" ]]; then
    glc_say "code or settings have changed since $work was made: it is made again"
    rm -rf "$work"
elif [[ -f $work/summary.txt ]]; then
    cat "$work/summary.txt"
    glc_say "nothing left to do: $work has it all; delete it to run anew"
    exit
fi
mkdir -p "$work/logs"
printf '%s\n' "$key" >"$work/settings"

total=5 step=0
# stage NAME TITLE COMMAND...: one step, logged in $work/logs; skipped where it is finished.
stage() {
    local name=$1 title=$2
    shift 2
    step=$((step + 1))
    if [[ -f $work/$name.done ]]; then
        glc_say "[$step/$total] $title: finished before"
        return
    fi
    glc_step "[$step/$total] $title" "$work/logs/$name.log" "$@"
    touch "$work/$name.done"
}
# both SIDE MAIN: two of the functions below, with their arguments, side by side. SIDE has a log of its own; it is a
# process group, which is stopped with this script.
side=
trap '[[ -z $side ]] || kill -- "-$side" 2>/dev/null || true' EXIT
both() {
    local log=$work/logs/${1// /_}.log
    set -m
    $1 >"$log" 2>&1 &
    side=$!
    set +m
    $2 || return
    if ! wait "$side"; then
        side=
        tail -n 25 "$log"
        return 1
    fi
    side=
}
trap 'echo >&2; glc_say "stopped; the same command goes on from here" >&2; exit 130' INT
# draw DOMAIN
draw() {
    local -n spec=$1_spec
    "$GLC_PYTHON" tools/dataset_tools/make_synthetic.py --out "$work/$1_images" "${spec[@]}"
}
# train CONFIG FOLDER OPTIONS...: goes on from the last complete checkpoint.
train() {
    local config=$1 folder=$2
    shift 2
    "$GLC_PYTHON" tools/train.py "$config" --work-dir "$folder" --resume --no-validate \
        --cfg-options "${training[@]}" "$@"
}
# evaluate NAME CHECKPOINT: scores on the target into $work/NAME.json.
evaluate() {
    "$GLC_PYTHON" tools/test.py "configs/glc/$leaf" "$2" --work-dir "$work/evaluation/$1" --out "$work/$1.json" \
        --cfg-options "${target_options[@]}"
}
# checkpoint NAME: the last checkpoint of a training.
checkpoint() { echo "$work/$1/$(basename "$(<"$work/$1/last_checkpoint")")"; }
# adapt NAME: the demo config of that folder of configs, from the source network; then its scores.
adapt() {
    [[ -f $work/$1.json ]] && return
    train "configs/$1/$leaf" "$work/$1" "model.backbone.init_cfg.checkpoint=$(checkpoint source)" \
        "${target_options[@]}" && evaluate "$1" "$(checkpoint "$1")"
}
# The shorter run has the evaluation of the source network too.
adapt_without() { evaluate source "$(checkpoint source)" && adapt cluster_contrast; }
# draw_ranked NAME
draw_ranked() {
    "$GLC_PYTHON" tools/visualization/draw_ranked.py "configs/glc/$leaf" "$(checkpoint "$1")" \
        --work-dir "$work/evaluation/$1" --out "$work/ranked_$1.png" --cfg-options "${target_options[@]}"
}

glc_say "quick start in $GLC_ROOT; logs in $work/logs"
glc_environment
started=$SECONDS
stage draw 'draw the images of both domains' both 'draw source' 'draw target'
stage source 'train on the source domain, with identities' \
    train configs/source/demo_synthetic_sup.py "$work/source" "${source_options[@]}"
stage adapt 'adapt to the target domain, without labels: without and with correction, side by side' \
    both adapt_without 'adapt glc'
stage ranked 'draw ranked results' both 'draw_ranked source' 'draw_ranked glc'
stage report 'write a report of the training with correction' "$GLC_PYTHON" tools/analysis_tools/report.py "$work/glc"
"$GLC_PYTHON" tools/_quickstart_summary.py "$work" | tee "$work/summary.tmp"
mv "$work/summary.tmp" "$work/summary.txt"
[[ $work != *_small/* ]] || glc_say 'with --small, the scores mean nothing: the trainings are too short'
glc_say "finished, $((SECONDS - started)) s after the installation"
