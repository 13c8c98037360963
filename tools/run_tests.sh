#!/usr/bin/env bash
# Lints, type-checks and tests the checkout in the same environment that quickstart.sh uses. Arguments go to pytest:
#   bash tools/run_tests.sh -k sampler -x
# Tests on real data run where GLC_TEST_DATA names the folder that holds it; otherwise they are skipped.
set -euo pipefail
# shellcheck source=tools/_env.sh
source "$(dirname "${BASH_SOURCE[0]}")/_env.sh"

arguments=("$@")
if (($# == 1)) && [[ $1 == -h || $1 == --help ]]; then
    sed -n '2,4s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
fi
glc_environment tests
cd "$GLC_ROOT"
# The tests are small: a second thread costs more than it brings, most of all beside other work.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

check() {
    glc_say "$*"
    "$GLC_PYTHON" -m "$@" || glc_fail "$*"
}
check ruff check .
check ruff format --check .
check mypy glc/core
check pytest "${arguments[@]}"
