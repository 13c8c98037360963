# shellcheck shell=bash
# Sourced by quickstart.sh, run_tests.sh and .ci/run. Steps with a log, and one virtual environment outside the
# checkout, reused while the requirements are unchanged. Two checkouts may share it: the package is never installed
# into it, PYTHONPATH names the checkout.
#
#   GLC_ENV_DIR    folder of the environment (default: <cache>/glc/env-<hash of requirements and Python>)
#   PYTHON         interpreter to build it from (default: the first suitable of python3, python3.13 ... python3.11)
#   GLC_CPU_INDEX  package index that has torch without CUDA, tried where there is no GPU; empty: none is tried
#                  (default: https://download.pytorch.org/whl/cpu)

GLC_CPU_INDEX=${GLC_CPU_INDEX-https://download.pytorch.org/whl/cpu}
GLC_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

glc_say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

glc_fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# glc_watch LOG: tells every epoch that ends, as LOG has it; a terminal shows the last line of LOG, too.
glc_watch() {
    local log=$1 line told=
    while sleep 2 >/dev/null 2>&1 9>&- && kill -0 $$ 2>/dev/null; do
        line=$(grep -E '^[0-9:]+  epoch [0-9]+/[0-9]+' "$log" | tail -n 1) || true
        if [[ -n $line && $line != "$told" ]]; then
            told=$line
            [[ ! -t 2 ]] || printf '\r\033[K' >&2
            glc_say "  ${line#*  }"
        fi
        [[ ! -t 2 ]] || printf '\r\033[K%.110s' "$(tail -n 1 "$log" | tr '\r' '\n' | tail -n 1)" >&2
    done
}

# glc_step TITLE LOG COMMAND...: output goes to LOG, which is watched meanwhile. A COMMAND that is a function must
# return its own failures: "set -e" does not reach into it.
glc_step() {
    local title=$1 log=$2 start=$SECONDS status=0 ticker
    shift 2
    mkdir -p "$(dirname "$log")"
    printf '+ %s\n' "$*" >"$log"
    glc_say "$title ..."
    glc_watch "$log" &
    ticker=$!
    "$@" >>"$log" 2>&1 || status=$?
    kill "$ticker" 2>/dev/null || true
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    if ((status)); then
        printf -- '--- last lines of %s\n' "$log" >&2
        tail -n 25 "$log" >&2
        glc_fail "$title (exit status $status; whole log: $log)"
    fi
    glc_say "$title: done in $((SECONDS - start)) s"
}

glc_hash() { "$GLC_BASE_PYTHON" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:12])'; }

glc_find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
            >/dev/null 2>&1; then
            GLC_BASE_PYTHON=$candidate
            return
        fi
    done
    glc_fail "no Python 3.11 to 3.13 with the venv module among: ${PYTHON:-python3 python3.13 ... python3.11};" \
        "install one (Debian: apt-get install python3 python3-venv) or name it: PYTHON=/path/to/python3 bash $0"
}

# Without compiling all modules, which takes half of the time: those that are used are compiled at their first import.
glc_pip_install() {
    "$GLC_PYTHON" -m pip install --disable-pip-version-check --progress-bar off --no-compile "$@"
}
export PYTHONDONTWRITEBYTECODE=

# Torch and torchvision without CUDA, or neither. They must be a pair of that index, so pip sees no other place: with
# another torchvision, torch imports, but has no torchvision::nms.
glc_torch_without_cuda() {
    grep -E '^torch(vision)?[><=~]' "$GLC_ROOT/requirements/runtime.txt" >"$GLC_ENV/torch.txt"
    PIP_CONFIG_FILE=/dev/null glc_pip_install --isolated --retries 1 --timeout 15 --index-url "$GLC_CPU_INDEX" \
        -r "$GLC_ENV/torch.txt" &&
        "$GLC_PYTHON" -c 'from torch import rand; from torchvision.ops import nms; nms(rand(1, 4), rand(1), 0.5)' &&
        return
    echo "$GLC_CPU_INDEX cannot be used: torch comes with CUDA"
    "$GLC_PYTHON" -m pip uninstall --yes torch torchvision
}

# Without the step above torch is that of PyPI, which comes with CUDA.
glc_build_environment() {
    "$GLC_BASE_PYTHON" -m venv "$GLC_ENV" && touch "$GLC_ENV/.glc-env" || return
    if [[ $GLC_DEVICE == cpu && -n $GLC_CPU_INDEX ]]; then
        glc_torch_without_cuda || return
    fi
    glc_pip_install -r "$GLC_ROOT/requirements/runtime.txt" -r "$GLC_ROOT/requirements/$GLC_DEVICE.txt" || return
    if ! "$GLC_PYTHON" -c 'import cv2'; then
        # Machines without a desktop lack libGL; the headless build fills the same folder and needs none.
        echo 'replacing opencv-python by opencv-python-headless'
        "$GLC_PYTHON" -m pip uninstall --yes opencv-python && glc_pip_install opencv-python-headless || return
    fi
    "$GLC_PYTHON" -c 'import cv2, mmcv, mmengine, timm, torch, torchvision; print("torch", torch.__version__)'
}

# glc_install MARKER KEY TITLE COMMAND...: runs COMMAND unless MARKER already says KEY; writes it last.
glc_install() {
    local marker=$1 key=$2 title=$3
    shift 3
    [[ -f $marker && $(<"$marker") == "$key" ]] && return
    glc_step "$title" "$GLC_ENV.log" "$@"
    printf '%s\n' "$key" >"$marker"
}

# glc_environment [tests]: sets GLC_PYTHON, and PYTHONPATH to the checkout.
glc_environment() {
    glc_find_python
    GLC_DEVICE=cpu
    if nvidia-smi >/dev/null 2>&1; then GLC_DEVICE=gpu; fi
    local key
    key=$({
        "$GLC_BASE_PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)'
        cat "$GLC_ROOT/requirements/runtime.txt" "$GLC_ROOT/requirements/$GLC_DEVICE.txt"
    } | glc_hash)
    GLC_ENV=${GLC_ENV_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/glc/env-$key}
    mkdir -p "$(dirname "$GLC_ENV")"
    GLC_ENV=$(cd "$(dirname "$GLC_ENV")" && pwd)/$(basename "$GLC_ENV")
    GLC_PYTHON=$GLC_ENV/bin/python
    glc_say "environment: $GLC_ENV ($("$GLC_BASE_PYTHON" -V 2>&1), requirements/$GLC_DEVICE.txt)"

    if command -v flock >/dev/null; then
        exec 9>"$GLC_ENV.lock"
        flock --nonblock 9 || {
            glc_say 'another process is installing into it; waiting'
            flock 9
        }
    fi
    if [[ ! -f $GLC_ENV/.complete || $(<"$GLC_ENV/.complete") != "$key" ]]; then
        if [[ -e $GLC_ENV && ! -f $GLC_ENV/.glc-env && -n $(ls -A "$GLC_ENV") ]]; then
            glc_fail "GLC_ENV_DIR=$GLC_ENV was not made by this script; name a folder that is new or empty"
        fi
        rm -rf "$GLC_ENV"
    fi
    local size='at most 2.6 GB download, 6 GB on disk'
    glc_install "$GLC_ENV/.complete" "$key" "installing the requirements ($size)" glc_build_environment
    if [[ ${1:-} == tests ]]; then
        glc_install "$GLC_ENV/.complete-tests" "$(glc_hash <"$GLC_ROOT/requirements/tests.txt")" \
            'installing the test requirements' glc_pip_install -r "$GLC_ROOT/requirements/tests.txt"
    fi
    exec 9>&-
    export PYTHONPATH="$GLC_ROOT${PYTHONPATH:+:$PYTHONPATH}"
}
