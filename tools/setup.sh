#!/usr/bin/env bash
# Make .venv with Python 3.11 and all that recipes and tests need. Done once; afterwards it returns at once, offline too.
#
#   bash tools/setup.sh [EXTRAS]        EXTRAS of pyproject.toml, default: voices,dev
#   bash tools/setup.sh --check         does nothing; exit code 0 when .venv is up to date, else 1
#
# ASR_KD_PYTHON names another interpreter (3.11 or later) to make .venv with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

check_only=
if [[ ${1:-} == --check ]]; then
  check_only=1
  shift
fi
extras=${1:-voices,dev}
log=.venv-setup.log
stamp=.venv/asr_kd-setup

say() { echo "setup: $*" >&2; }

# What .venv was made from: interpreter, place, extras and the parts of pyproject.toml that an installation depends on.
fingerprint() {
  .venv/bin/python - "$extras" <<'PY' 2>/dev/null
import hashlib, json, os, sys, tomllib
with open("pyproject.toml", "rb") as f:
    project = tomllib.load(f)
parts = [project.get("project"), project.get("build-system"), project.get("tool", {}).get("setuptools")]
print(hashlib.sha256(json.dumps([sys.version, os.getcwd(), sys.argv[1], parts], sort_keys=True).encode()).hexdigest())
PY
}

up_to_date() { [[ -f $stamp && $(fingerprint) == "$(cat "$stamp")" ]]; }

# The first interpreter that is recent enough; a pyenv shim may exist and still not run.
find_python() {
  local candidate
  for candidate in ${ASR_KD_PYTHON:-python3.11 python3 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  say "${ASR_KD_PYTHON:-python3.11}: no Python 3.11 was found. Install it (apt install python3.11 python3.11-venv," \
    "or pyenv install 3.11), or name one: ASR_KD_PYTHON=/path/to/python3.11."
  return 2
}

fail() {
  say "$1. The end of $PWD/$log:"
  tail -n 12 "$log" | cut -c 1-200 | sed 's/^/    /' >&2
  exit 1
}

up_to_date && exit 0
[[ -z $check_only ]] || exit 1
python=$(find_python)

# One setup at a time: the lock lasts as long as this script holds descriptor 9.
exec 9>>.venv-setup.lock
lock() { "$python" -c 'import fcntl, sys; fcntl.flock(9, fcntl.LOCK_EX | int(sys.argv[1]))' "$1" 2>/dev/null; }
if ! lock 4; then # 4 = LOCK_NB, do not wait
  say "another setup is at work in $PWD, waiting for it"
  lock 0
fi
up_to_date && exit 0

began=$SECONDS
: >"$log"
if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  || ! grep -qF "$PWD/.venv" .venv/bin/activate; then # absent, broken, too old, or moved here from another folder
  say "making .venv with $("$python" --version) and installing asr_kd[$extras]: once, a few minutes at most (log: $log)"
  "$python" -m venv --clear .venv >>"$log" 2>&1 || fail "$python cannot make a virtual environment (Debian: apt install python3.11-venv)"
else
  say "bringing .venv up to date with pyproject.toml (log: $log)"
fi
.venv/bin/python -m pip install --disable-pip-version-check --no-input -e ".[$extras]" >>"$log" 2>&1 </dev/null \
  || fail "installing asr_kd[$extras] failed; what was installed is kept, run the same command again to go on"
.venv/bin/asr-kd --version >>"$log" 2>&1 || fail "asr-kd was installed and does not start"
fingerprint >"$stamp"
say "ready after $((SECONDS - began)) s"
