#!/usr/bin/env bash
# The checks and tests of asr_kd. Arguments go to pytest: bash tools/test.sh tests/test_decode.py -k beam
#
# Tests of real corpora need ASR_KD_DATA and are skipped without it. ASR_KD_TEST_JOBS: processes, default: one a core.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh
PATH=$PWD/.venv/bin:$PATH
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # the cores are taken by the processes of pytest-xdist
jobs=${ASR_KD_TEST_JOBS:-$(getconf _NPROCESSORS_ONLN)}

failed=()
check() {
  echo "test: $*"
  "$@" || failed+=("$1 $2")
}
check ruff check --quiet .
check ruff format --check --quiet .
check mypy --no-error-summary

# The output is kept to repeat pytest's closing line when a check failed: that line stays the last one.
output=$(mktemp)
trap 'rm -f "$output"' EXIT
[[ -t 1 ]] && colour=yes || colour=no
echo "test: pytest $*"
status=0
pytest -n "$jobs" --color="$colour" "$@" 2>&1 | tee "$output" || status=$?

if ((${#failed[@]})); then
  printf 'test: %s found something, see above\n' "${failed[@]}"
  tail -n 1 "$output"
  exit 1
fi
exit "$status"
