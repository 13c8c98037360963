#!/usr/bin/env bash
# Lints, type-checks and tests the checkout in the same environment that quickstart.sh uses.
#   bash tools/run_tests.sh                 all tests, spread over processes
#   bash tools/run_tests.sh --fast          without the tests marked slow or distributed: about two minutes
#   bash tools/run_tests.sh -k sampler -x   arguments go to pytest, in one process; --fast may stand before them
# Tests on real data run where GLC_TEST_DATA names the folder that holds it; otherwise they are skipped.
set -euo pipefail
# shellcheck source=tools/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

if (($# == 1)) && [[ $1 == -h || $1 == --help ]]; then
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
fi
lane=()
if [[ ${1:-} == --fast ]]; then
    lane=(-m 'not slow and not distributed')
    shift
fi
if (($# == 0)); then
    # A file stays in one process: its fixtures are made once, and its tests see the order that they see alone. The
    # files keep their order: the last ones are short, so all processes end at about the same time.
    lane+=(--numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder)
fi
glc_environment tests
cd "$GLC_ROOT"

check() {
    glc_say "$*"
    "$GLC_PYTHON" -m "$@" || glc_fail "$*"
}
check ruff check .
check ruff format --check .
check mypy
check pytest "${lane[@]}" "$@"
