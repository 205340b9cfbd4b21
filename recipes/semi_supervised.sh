# Sourced by recipes/NAME/run.sh when it has made its shards: senones, teachers, students, scores, report.
#
#   first_teachers=N    how many first teachers align and label together
#   first_options=(...) of their training; may be empty
#   generations=(...)   the teachers after them, each taught by the one before with conf/GENERATION.yaml, the last called
#                       `teacher`; may be empty: then the first teachers are the teacher
#   all_text=1          nothing is hidden: two teachers learn labels alone (conf/teacher_on_labels.yaml) and answer as
#                       one, no students
#   oracle_epochs=N     passes over all audio of the student that is given all text; 0: nobody knows it, no oracle
#   lexicon=FILE        pronunciations (default: the corpus's); empty: cmudict's, or by letters
#   lm_options=(...)    of the language model; may be empty
#   lm_text=(...)       what it learns (default: the labelled text); empty where lm_options name a finished one
#   transcripts=1       the language model also learns what each teacher hears in the unlabelled audio
#   other_hypotheses=(NAME=DIR ...)  of the test by recognisers that are not trained here; may be empty
#   by=FIELD            conditions of the test whose WER is shown apart; may be empty
#   title=TEXT          of the report

declare -p lm_text > /dev/null 2>&1 || lm_text=($exp/manifests/labelled.jsonl)
[[ -z $general_lm ]] || lm_options+=(--arpa "$general_lm" --held-out $exp/manifests/dev.jsonl --max-ngrams 300000)
tune_options=() # general language models make weak models put in short words
[[ " ${lm_options[*]-} " != *" --arpa "* ]] || tune_options=(--word-insertion-penalties 0 2 4 6)
dev=(--dev $shards/dev) lexicon=${lexicon-$exp/manifests/lexicon.txt}

# Flat start, tied states, alignments. First teachers learn them and align anew. Where there are several they differ in
# their seeds, and their mean is usually right more often than one of them.
stage 2 "senones"                 asr-kd align $shards/labelled --align-only $shards/dev --config $conf/align.yaml \
                                    ${lexicon:+--lexicon "$lexicon"} --out $exp/aligned
systems=(first_teacher)
((${#generations[@]} || ${all_text:-0})) || systems=(teacher)
first=("$exp/${systems[0]}")
((first_teachers == 1)) || for ((n = 0; n < first_teachers; n++)); do first[n]=$exp/${systems[0]}_$n; done
models_of() {
  if [[ $1 == "${systems[0]}" ]]; then echo "${first[@]}"
  elif [[ $1 == teacher ]] && ((${all_text:-0})); then echo "$exp"/teacher_{0,1}
  else echo "$exp/$1"; fi
}

for ((n = 0; n < first_teachers; n++)); do
  stage_bg 3 "${systems[0]} $n"   asr-kd train $shards/labelled --alignments $exp/aligned "${dev[@]}" \
                                    --config "$conf/${systems[0]}.yaml" --seed $((10 * seed + n)) \
                                    ${first_options[@]+"${first_options[@]}"} --out "${first[n]}"
done
join
stage 4 "realignment"             asr-kd align $shards/labelled --align-only $shards/dev --model "${first[@]}" \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/realigned
stage 5 "graph"                   asr-kd graph ${lm_text[@]+"${lm_text[@]}"} --lexicon $exp/aligned/lexicon.txt \
                                    --inventory $exp/aligned ${lm_options[@]+"${lm_options[@]}"} --out $exp/graph
training=(--alignments $exp/realigned "${dev[@]}" --seed "$seed")

# Each generation labels what has no text for the next. Soft targets go through the lattices of a search, so lexicon and
# language model correct them.
graph=$exp/graph labeller=${systems[0]}
for generation in ${generations[@]+"${generations[@]}"}; do
  scales=$exp/targets/scales/$labeller
  if ((${transcripts:-0})); then
    stage 6 "tune $labeller for transcripts" asr-kd tune $shards/dev --model $(models_of "$labeller") --graph $graph \
                                    ${tune_options[@]+"${tune_options[@]}"} --out "$exp/transcripts/scales/$labeller"
    stage 6 "transcripts by $labeller" asr-kd decode $shards/unlabelled --model $(models_of "$labeller") --graph $graph \
                                    --decoding-scales "$exp/transcripts/scales/$labeller" --out "$exp/transcripts/$labeller"
    stage 6 "graph after $labeller" asr-kd graph ${lm_text[@]+"${lm_text[@]}"} "$exp/transcripts/$labeller/hyp.jsonl" \
                                    --lexicon $exp/aligned/lexicon.txt --inventory $exp/aligned \
                                    ${lm_options[@]+"${lm_options[@]}"} --out "$exp/transcripts/graph/$labeller"
    graph=$exp/transcripts/graph/$labeller
  fi
  stage 6 "tune $labeller"        asr-kd tune $shards/dev --model $(models_of "$labeller") --graph $graph \
                                    ${tune_options[@]+"${tune_options[@]}"} --out "$scales"
  stage 7 "targets by $labeller"  asr-kd label $shards/unlabelled --teacher $(models_of "$labeller") \
                                    --graph $graph --decoding-scales "$scales" --out "$exp/targets/$labeller"
  stage 8 "$generation"           asr-kd distill --unlabelled $shards/unlabelled --targets "$exp/targets/$labeller" \
                                    --teacher $(models_of "$labeller") --labelled $shards/labelled "${training[@]}" \
                                    --config "$conf/$generation.yaml" --out "$exp/$generation"
  labeller=$generation
  systems+=("$labeller")
done

if ((${all_text:-0})); then
  for n in 0 1; do
    stage_bg 8 "teacher $n"       asr-kd train $shards/labelled --alignments $exp/realigned "${dev[@]}" \
                                    --config $conf/teacher_on_labels.yaml --seed $((10 * seed + n)) --out $exp/teacher_$n
  done
  join
  systems+=(teacher) students=() compared=() shown=(--student teacher)
else
  # The generations together label for the student. For the oracle alone the last also aligns the text of the references.
  stage 9 "tune teacher"          asr-kd tune $shards/dev --model $(models_of teacher) --graph $graph \
                                    ${tune_options[@]+"${tune_options[@]}"} --out $exp/tune/teacher
  if ((oracle_epochs)); then # apart from the shards that students learn from
    stage 9 "reference shards"    asr-kd shard $exp/manifests/unlabelled_references.jsonl --out $exp/references
  fi
  teachers=("${first[@]}")
  if ((${#generations[@]})); then teachers=("${generations[@]/#/$exp/}"); fi
  stage_bg 10 "targets"           asr-kd label $shards/unlabelled --teacher "${teachers[@]}" --graph $graph \
                                    --decoding-scales $exp/tune/teacher --out $exp/targets/teacher
  # Three students of one size: with the labelled text only (baseline); distilled; with all the text (oracle), if known.
  stage_bg 11 "labelled-only student" asr-kd train $shards/labelled "${training[@]}" --config $conf/student.yaml \
                                    --out $exp/student_labelled_only
  students=(student_labelled_only student_distilled) compared=(--baseline student_labelled_only) shown=()
  if ((oracle_epochs)); then
    stage_bg 12 "reference alignments" asr-kd align $exp/references/unlabelled_references --model $(models_of teacher) \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/reference_alignments
  fi
  join
  stage_bg 13 "distilled student" asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets/teacher \
                                    --teacher "${teachers[@]}" --labelled $shards/labelled "${training[@]}" \
                                    --config $conf/distill.yaml --out $exp/student_distilled
  if ((oracle_epochs)); then
    stage_bg 14 "oracle student"  asr-kd train $shards/labelled $exp/references/unlabelled_references \
                                    --alignments $exp/{realigned,reference_alignments} \
                                    "${dev[@]}" --seed "$seed" --config $conf/student.yaml \
                                    --set epochs=$oracle_epochs --out $exp/student_oracle
    students+=(student_oracle) compared+=(--oracle student_oracle)
  fi
  join
fi

# Scales are chosen on held-out labelled speakers; the test is then decoded once. All systems have the same graph.
systems+=(${students[@]+"${students[@]}"})
for system in "${systems[@]}"; do
  [[ $system == teacher && -z ${all_text:-} ]] ||
    stage_bg 15 "tune $system"    asr-kd tune $shards/dev --model $(models_of "$system") --graph $graph \
                                    ${tune_options[@]+"${tune_options[@]}"} --out "$exp/tune/$system"
done
join
hypotheses=(${other_hypotheses[@]+"${other_hypotheses[@]}"}) metrics=("${systems[0]}=${first[0]}/metrics.jsonl")
for system in "${systems[@]}"; do
  stage_bg 16 "decode $system"    asr-kd decode $shards/test --model $(models_of "$system") --graph $graph \
                                    --decoding-scales "$exp/tune/$system" --out "$exp/decode/$system"
  hypotheses+=("$system=$exp/decode/$system")
  models=($(models_of "$system"))
  [[ $system == "${systems[0]}" ]] || metrics+=("$system=${models[0]}/metrics.jsonl")
done
join

configs=()
for file in "$conf"/*.yaml; do
  configs+=("$(basename "$file" .yaml)=$file")
done
stage 17 "scores"                 asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" ${by:+--by "$by"} \
                                    ${compared[@]+"${compared[@]}"} --out $exp/scores
if ((${#students[@]})); then # what is used: asr-kd transcribe $exp/export FILE...
  stage 18 "export"               asr-kd export $exp/student_distilled --graph $graph \
                                    --decoding-scales $exp/tune/student_distilled --scores $exp/scores --out $exp/export
fi
stage 19 "report"                 asr-kd report --scores $exp/scores --audio $shards/test --metrics "${metrics[@]}" \
                                    --run-configs "${configs[@]}" --title "$title" \
                                    ${shown[@]+"${shown[@]}"} \
                                    --seed "$seed" --command "$recipe_command" --started "$SECONDS_STARTED" --out $exp
