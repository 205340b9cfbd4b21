# Sourced by recipes/NAME/run.sh:   . "$(dirname "$0")/../../tools/recipe.sh" "$@"
#
# Gives the recipe its options, the installed environment, the working folder (the repository's root) and
#
#   name, exp, conf, seed, labelled, threads     exp=exp/NAME, conf=recipes/NAME/conf
#   own_conf=DIR                                 its configs, set before, where they are those of another recipe
#   own_options="NAME ..."                       of the recipe, set before: --NAME VALUE sets the variable NAME
#   own_paths="NAME ..."                         those of them that are paths where there is such a file or folder
#   data                                         a path, if the recipe set takes="WHAT IT IS" before: its argument
#   recipe_command                               the command that makes these results, for the report
#   stage N "title" COMMAND ...                  runs it, with a log and a clock, unless it is done and nothing changed
#   stage_bg N "title" COMMAND ...               the same, side by side with its neighbour on half of the threads, two at
#   join                                         most; `join` waits for them
#   Of these, commands that train are started by torchrun with --ranks, and `asr-kd label` on Ray with --ray.
#   corpus_root VARIABLE FOLDER                  where a corpus lies: $VARIABLE, $ASR_KD_DATA/FOLDER or data/FOLDER
#   SECONDS_STARTED                              Unix time; the stages that were skipped are counted as if just run
#
# The inputs of a stage are the arguments that name existing files or folders, save what follows --out (asr_kd/experiments/stages.py).
# ASR_KD_NO_SETUP=1 takes the Python that is on the PATH instead of making .venv.

set -euo pipefail

recipe_file=${BASH_SOURCE[1]}
name=$(basename "$(cd "$(dirname "$recipe_file")" && pwd)")
recipe_file=$(cd "$(dirname "$recipe_file")" && pwd)/$(basename "$recipe_file")
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { echo "$name: $*" >&2; }

recipe_help() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$recipe_file"
  cat <<HELP

Options:
  --stage N         run from stage N on, again what is done (what was interrupted goes on)
  --stop-stage M    stop after stage M
  --arpa FILE       general language model, interpolated with the text (docs/language-models.md); pocketsphinx:en-us
                    is English (extra \`general-lm\`)
  --seed S          seed of training (default 0); results in exp/$name-seedS unless it is 0
  --labelled X      how much is labelled (see above; not all recipes have it); "all" has results in exp/$name-all
  --exp DIR         where all results go (default exp/$name)
  --conf DIR        configs of the stages (default ${own_conf:-recipes/$name/conf}): copy that folder and change it
  --threads N       threads of one operation (default: one a core)
  --ranks N         processes that train one model together: the number of GPUs (default 1); it divides train.lanes
  --ray             label on the Ray cluster at \$RAY_ADDRESS, else on this machine's own (extra \`ray\`)
  --dry-run         print the commands of the stages, run nothing
  --help            this text

Stages:
HELP
  local sourced # what the recipe sources after this file has stages too
  sourced=$(sed -nE 's/^\. (recipes\/[^ ]+)$/\1/p' "$recipe_file")
  # shellcheck disable=SC2086  # none or one
  cat "$recipe_file" $sourced | sed -nE 's/^ *stage(_bg)? +([0-9]+) +"([^"]*)".*/  \2  \3/p' | sed -E 's/\$\{?([a-z]+)(\[0\])?\}?/\U\1/g' | sort -n -s -k 1,1 | uniq
}

option_value() { # OPTION COUNT [VALUE]
  if (($2 < 2)); then
    say "$1 needs a value. See --help."
    exit 2
  fi
}

option_number() { # OPTION VALUE
  if [[ ! $2 =~ ^[0-9]+$ ]]; then
    say "$1 $2: a whole number is needed. See --help."
    exit 2
  fi
}

from_caller() { # a path that was given relative to the folder that the recipe was called in
  if [[ $1 == /* || $called_from == "$PWD" ]]; then echo "$1"; else echo "$called_from/$1"; fi
}

first_stage=0 last_stage=99 forced= dry_run= seed=0 ranks=1 ray= general_lm= conf= own_given= labelled=${labelled:-} exp= data=
threads=$(getconf _NPROCESSORS_ONLN)
while (($#)); do
  case $1 in
    --stage) option_value "$1" $#; option_number "$1" "$2"; first_stage=$((10#$2)) forced=again; shift 2 ;;
    --stop-stage) option_value "$1" $#; option_number "$1" "$2"; last_stage=$((10#$2)); shift 2 ;;
    --seed) option_value "$1" $#; option_number "$1" "$2"; seed=$2; shift 2 ;;
    --conf) option_value "$1" $#; conf=$(from_caller "$2"); shift 2 ;;
    --threads) option_value "$1" $#; option_number "$1" "$2"; threads=$2; export OMP_NUM_THREADS=$2; shift 2 ;;
    --ranks) option_value "$1" $#; option_number "$1" "$2"; ranks=$((10#$2)); shift 2 ;;
    --ray) ray=1; shift ;;
    --arpa) option_value "$1" $#; general_lm=$2; shift 2 ;;
    --labelled) option_value "$1" $#; labelled=$2; shift 2 ;;
    --exp) option_value "$1" $#; exp=$(from_caller "$2"); shift 2 ;;
    --dry-run) dry_run=1; shift ;;
    --help | -h) recipe_help; exit 0 ;;
    *)
      if [[ $1 == --* && " ${own_options:-} " == *" ${1#--} "* ]]; then
        option_value "$1" $#
        own_value=$2
        [[ " ${own_paths:-} " != *" ${1#--} "* || ! -e $called_from/$2 ]] || own_value=$(from_caller "$2")
        printf -v "${1#--}" %s "$own_value"; own_given+=" $1 $(printf %q "$own_value")"; shift 2
        continue
      fi
      if [[ $1 == -* || -z ${takes:-} || -n $data ]]; then
        say "$1: unknown option. See --help."
        exit 2
      fi
      data=$(from_caller "$1"); shift ;;
  esac
done
if [[ -n ${takes:-} && ! -r $data ]]; then
  say "${data:-nothing given}: ${data:+no such file or folder, or it is closed to you. }Give $takes. See --help."
  exit 2
fi
if [[ -z $exp ]]; then
  exp=exp/$name
  [[ $labelled != all ]] || exp+=-all
  [[ $seed == 0 ]] || exp+=-seed$seed
fi
if [[ $exp == *[[:space:]]* ]]; then
  say "--exp $exp: paths with blanks are not supported. Choose another folder."
  exit 2
fi
if [[ $general_lm != *:* && -n $general_lm ]]; then general_lm=$(from_caller "$general_lm"); fi
if [[ -n $conf && ! -d $conf ]]; then
  say "--conf $conf: no such folder. Copy recipes/$name/conf and change it."
  exit 2
fi
conf=${conf:-${own_conf:-recipes/$name/conf}}
recipe_command="bash recipes/$name/$(basename "$recipe_file")${data:+ $(printf %q "$data")} --seed $seed${labelled:+ --labelled $labelled}${general_lm:+ --arpa $(printf %q "$general_lm")}$own_given"

if [[ -z $dry_run ]]; then
  if [[ -z ${ASR_KD_NO_SETUP:-} ]]; then
    bash tools/setup.sh
    PATH=$PWD/.venv/bin:$PATH
  fi
  mkdir -p "$exp/logs" "$exp/.stages"
  # One recipe at a time owns $exp. Its stages hold the lock too: one that was killed is waited for while they end.
  exec {lock}<>"$exp/.stages/.lock"
  if ! flock --wait 10 "$lock"; then
    say "$exp: $(tr -d '\0' <"$exp/.stages/.lock") is at work there, so this one (process $$ on $(uname -n)) does not start. Wait until it has ended, or give another --exp."
    exit 2
  fi
  echo "$(basename "$recipe_file") (process $$ on $(uname -n), since $(date '+%F %T'))" >"$exp/.stages/.lock"
  export RECIPE_PID=$$
fi
export PYTHONUNBUFFERED=1 # lines appear when they are written
export PYTHONHASHSEED=0
SECONDS_STARTED=$(date +%s)

background=()     # process groups of the stages that run side by side
background_done=0 # seconds of the longest of them that was skipped
trap 'for job in ${background[@]+"${background[@]}"}; do kill -INT -- "-$job" 2>/dev/null; done; true' EXIT

stage_name() { # NUMBER TITLE -> 03-the-title
  printf '%02d-%s' "$1" "$(tr -cs '[:alnum:]' '-' <<<"$2" | tr '[:upper:]' '[:lower:]' | sed 's/^-//; s/-$//')"
}

# NUMBER TITLE COMMAND...: whether the stage has to run now; prints its header or why not.
stage_is_due() {
  local number=$1 title=$2 record answer
  shift 2
  ((number >= first_stage && number <= last_stage)) || return 1
  if [[ -n $dry_run ]]; then
    printf 'stage %s  %s\n   ' "$number" "$title"
    printf ' %q' "$@"
    echo
    return 1
  fi
  record=$exp/.stages/$(stage_name "$number" "$title").json
  if answer=$(python3 -I -S asr_kd/experiments/stages.py "${forced:-check}" "$record" "$@"); then
    echo "stage $number  $title: already done (${answer} s)"
    count_as_run "$answer"
    return 1
  fi
  echo "stage $number  $title${answer:+  ($answer)}"
}

# SECONDS of a skipped stage; of those that would have run side by side, the longest counts.
count_as_run() {
  local seconds=$1
  if [[ -n ${side_by_side:-} ]]; then
    (($1 > background_done)) || return 0
    seconds=$(($1 - background_done)) background_done=$1
  fi
  SECONDS_STARTED=$((SECONDS_STARTED - seconds))
}

# NUMBER TITLE COMMAND...: run it, say how long it took or where its log is.
stage_run() {
  local number=$1 title=$2 status=0 began=$SECONDS id
  id=$(stage_name "$number" "$title")
  shift 2
  if [[ -n ${side_by_side:-} ]]; then # two that talk at once cannot be read
    python3 -I -S tools/live.py "$exp/logs/$id.log" "$@" >/dev/null || status=$?
  else
    python3 -I -S tools/live.py "$exp/logs/$id.log" "$@" || status=$?
  fi
  if ((status == 130)); then
    say "stage $number ($title) was interrupted; the same command goes on from here"
    return $status
  fi
  if ((status)); then
    [[ -z ${side_by_side:-} ]] || tail -n 15 "$exp/logs/$id.log" >&2
    say "stage $number ($title) failed with exit code $status after $((SECONDS - began)) s. Its log: $exp/logs/$id.log"
    return $status
  fi
  python3 -I -S asr_kd/experiments/stages.py done "$exp/.stages/$id.json" $((SECONDS - began))
  echo "stage $number  $title: done in $((SECONDS - began)) s"
}

# COMMAND...: how it is started with --ranks and --ray, in the array `started`.
start_of() {
  started=("$@")
  if [[ "$1 ${2:-}" == "asr-kd "@(train|distill) ]] && ((ranks > 1)); then
    started=(torchrun --standalone --nproc-per-node "$ranks" --no-python "$@")
  elif [[ "$1 ${2:-}" == "asr-kd label" && -n $ray ]]; then
    started+=(--backend ray)
  fi
}

stage() {
  local started
  start_of "${@:3}"
  stage_is_due "$1" "$2" "${started[@]}" || return 0
  stage_run "$1" "$2" "${started[@]}" || exit $?
}

stage_bg() {
  if ((ranks > 1)); then # they take the whole machine
    stage "$@"
    return
  fi
  local side_by_side=1 started
  start_of "${@:3}"
  set -- "$1" "$2" "${started[@]}"
  ((${#background[@]} < 2)) || join
  stage_is_due "$@" || return 0
  set -m # a process group of its own: it can be stopped whole
  OMP_NUM_THREADS=$((threads > 1 ? threads / 2 : 1)) stage_run "$@" &
  set +m
  background+=($!)
}

join() {
  local job status=0
  for job in ${background[@]+"${background[@]}"}; do
    wait "$job" || status=$?
  done
  background=() background_done=0
  ((status == 0)) || exit $status
}

# VARIABLE FOLDER: an absolute path, or data/FOLDER, into which `asr-kd prepare --download` fetches the corpus.
corpus_root() {
  local given=${!1:-}
  if [[ -n $given ]]; then
    from_caller "$given"
  elif [[ -n ${ASR_KD_DATA:-} && -d $(from_caller "$ASR_KD_DATA")/$2 ]]; then
    echo "$(from_caller "$ASR_KD_DATA")/$2"
  else
    echo "data/$2"
  fi
}
