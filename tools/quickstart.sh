#!/usr/bin/env bash
# From a fresh clone to trained networks, without any data: makes an environment outside the checkout, generates the
# synthetic data set, evaluates the untrained network, trains it without and with label correction, evaluates both,
# and draws ranked results. Safe to run again. Options:
#   --small   fewer images and iterations: shows that everything runs, not that it learns
# GLC_ENV_DIR and PYTHON are explained in tools/_env.sh.
set -euo pipefail
# shellcheck source=tools/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

usage() { sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; }
data=data/synthetic work=work_dirs/quickstart generate=() overrides=()
while (($#)); do
    case $1 in
        --small)
            data=data/synthetic_small work=work_dirs/quickstart_small
            generate=(--train-ids 16 --train-images 12 --test-ids 8 --distractors 10 --junk 5)
            overrides=(train_cfg.max_epochs=2 train_cfg.val_interval=2 train_dataloader.sampler.iterations=5
                default_hooks.pseudo_label.correct_begin=1 default_hooks.pseudo_label.correct_interval=1)
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
for loader in train val test; do overrides+=("${loader}_dataloader.dataset.data_root=$data"); done

# One thread: two that wait for each other are far slower where other processes share the cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
total=7 step=0
# run TITLE SCRIPT ARGUMENTS...: one step, logged in $work/logs.
run() {
    local title=$1
    shift
    step=$((step + 1))
    glc_step "[$step/$total] $title" "$work/logs/$step.log" "$GLC_PYTHON" "$@"
}
# train FOLDER TITLE: the demo config of that folder of configs.
train() {
    run "train $2" tools/train.py "configs/$1/demo_synthetic.py" --work-dir "$work/$1" --no-validate \
        --cfg-options "${overrides[@]}"
}
# evaluate NAME TITLE [CHECKPOINT]: scores into $work/NAME.json.
evaluate() {
    local name=$1 title=$2
    shift 2
    run "evaluate $title" tools/test.py configs/glc/demo_synthetic.py "$@" --work-dir "$work/$name" \
        --out "$work/$name.json" --cfg-options "${overrides[@]}"
}
# checkpoint FOLDER: the last checkpoint of a training.
checkpoint() { cat "$work/$1/last_checkpoint"; }

glc_say "quick start in $GLC_ROOT; logs in $work/logs"
glc_environment
started=$SECONDS
run 'generate the synthetic data set' tools/dataset_tools/make_synthetic.py --out "$data" "${generate[@]}"
evaluate untrained 'the untrained network'
train cluster_contrast 'without label correction (Cluster Contrast)'
evaluate cluster_contrast 'Cluster Contrast' "$(checkpoint cluster_contrast)"
train glc 'with label correction (GLC)'
evaluate glc 'GLC' "$(checkpoint glc)"
run 'draw ranked results' tools/visualization/draw_ranked.py configs/glc/demo_synthetic.py "$(checkpoint glc)" \
    --work-dir "$work/ranked" --out "$work/ranked.png" --cfg-options "${overrides[@]}"

"$GLC_PYTHON" - "$work" <<'EOF'
import json
import sys
from pathlib import Path

rows = {'untrained': 'untrained', 'cluster_contrast': 'Cluster Contrast', 'glc': 'GLC'}
print(f'\n{"":18}{"mAP":>8}{"Rank-1":>8}   (percent, synthetic test split)')
for name, title in rows.items():
    scores = json.loads(Path(sys.argv[1], f'{name}.json').read_text())
    print(f'{title:18}{scores["reid/mAP"]:8.1f}{scores["reid/rank1"]:8.1f}')
EOF
printf '\nranked results: %s\n' "$GLC_ROOT/$work/ranked.png"
glc_say "finished, $((SECONDS - started)) s after the installation"
