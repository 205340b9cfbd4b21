# Sourced by recipes/NAME/run.sh when it has made its shards: senones, teachers, students, scores, report.
#
#   first_teachers=N    how many first teachers align and label together
#   first_options=(...) of their training; may be empty
#   generations=(...)   the teachers after them, each taught by the one before with conf/GENERATION.yaml; the last is
#                       `teacher`. None: that one is trained on labels alone (conf/teacher_on_labels.yaml), no students
#   oracle_epochs=N     passes over all audio of the student that is given all text
#   by=FIELD            conditions of the test whose WER is shown apart
#   title=TEXT          of the report

dev=(--dev $shards/dev)

# Flat start, tied states, alignments. First teachers learn them and align anew. Where there are several they differ in
# their seeds, and their mean is right more often than any of them.
stage 2 "senones"                 asr-kd align $shards/labelled --also $shards/dev --config $conf/align.yaml \
                                    --lexicon $exp/manifests/lexicon.txt --out $exp/aligned
first=()
for ((number = 0; number < first_teachers; number++)); do
  first+=("$exp/first_teacher_$number")
  stage_bg 3 "first teacher $number" asr-kd train $shards/labelled --alignments $exp/aligned "${dev[@]}" \
                                    --config $conf/first_teacher.yaml --seed $((10 * seed + number)) \
                                    ${first_options[@]+"${first_options[@]}"} --out "$exp/first_teacher_$number"
done
join
models_of() { if [[ $1 == first_teacher ]]; then echo "${first[@]}"; else echo "$exp/$1"; fi; }

stage 4 "realignment"             asr-kd align $shards/labelled --also $shards/dev --model "${first[@]}" \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/realigned
stage 5 "graph"                   asr-kd graph $exp/manifests/labelled.jsonl --lexicon $exp/aligned/lexicon.txt \
                                    --inventory $exp/aligned --out $exp/graph
training=(--alignments $exp/realigned "${dev[@]}" --seed "$seed")

# Each generation labels what has no text for the next. Soft targets go through the lattices of a search, so lexicon and
# language model correct them. Beside the first of them trains the baseline, a student that has the labelled text only.
systems=(first_teacher)
for generation in ${generations[@]+"${generations[@]}"}; do
  labeller=${systems[${#systems[@]} - 1]} beside=stage
  [[ $labeller != first_teacher ]] || beside=stage_bg
  stage 6 "tune $labeller"        asr-kd tune $shards/dev --model $(models_of "$labeller") --graph $exp/graph \
                                    --out "$exp/tune/$labeller"
  stage 7 "targets by $labeller"  asr-kd label $shards/unlabelled --teacher $(models_of "$labeller") \
                                    --graph $exp/graph --scales "$exp/tune/$labeller" --out "$exp/targets/$labeller"
  $beside 8 "$generation"         asr-kd distill --unlabelled $shards/unlabelled --targets "$exp/targets/$labeller" \
                                    --teacher $(models_of "$labeller") --labelled $shards/labelled "${training[@]}" \
                                    --config "$conf/$generation.yaml" --out "$exp/$generation"
  if [[ $beside == stage_bg ]]; then
    stage_bg 9 "labelled-only student" asr-kd train $shards/labelled "${training[@]}" --config $conf/student.yaml \
                                    --out $exp/student_labelled_only
  fi
  join
  systems+=("$generation")
done

if ((${#generations[@]})); then
  # All generations label for the student. For the oracle alone the last also aligns the text that was hidden.
  taught=("${systems[@]:1}") taught=("${taught[@]/#/$exp/}")
  stage 10 "tune teacher"         asr-kd tune $shards/dev --model $exp/teacher --graph $exp/graph --out $exp/tune/teacher
  stage_bg 11 "targets"           asr-kd label $shards/unlabelled --teacher "${taught[@]}" --graph $exp/graph \
                                    --scales $exp/tune/teacher --out $exp/targets/teacher
  stage_bg 12 "hidden alignments" asr-kd align $shards/hidden --model $exp/teacher \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/hidden
  join

  # Two more students of the baseline's size: distilled; and with all the text (oracle).
  stage_bg 13 "distilled student" asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets/teacher \
                                    --teacher "${taught[@]}" --labelled $shards/labelled "${training[@]}" \
                                    --config $conf/distill.yaml --out $exp/student_distilled
  stage_bg 14 "oracle student"    asr-kd train $shards/{labelled,hidden} --alignments $exp/{realigned,hidden} \
                                    "${dev[@]}" --seed "$seed" --config $conf/student.yaml \
                                    --set epochs=$oracle_epochs --out $exp/student_oracle
  join
  students=(student_labelled_only student_distilled student_oracle)
  compared=(--baseline student_labelled_only --oracle student_oracle)
else
  stage 8 "teacher"               asr-kd train $shards/labelled "${training[@]}" \
                                    --config $conf/teacher_on_labels.yaml --out $exp/teacher
  stage 10 "tune teacher"         asr-kd tune $shards/dev --model $exp/teacher --graph $exp/graph --out $exp/tune/teacher
  systems=(teacher) students=() compared=()
fi

# Scales are chosen on held-out labelled speakers; the test is then decoded once.
for student in ${students[@]+"${students[@]}"}; do
  stage_bg 15 "tune $student"     asr-kd tune $shards/dev --model "$exp/$student" --graph $exp/graph \
                                    --out "$exp/tune/$student"
  systems+=("$student")
done
join
hypotheses=() metrics=("first_teacher=$exp/first_teacher_0/metrics.jsonl")
for system in "${systems[@]}"; do
  stage_bg 16 "decode $system"    asr-kd decode $shards/test --model $(models_of "$system") --graph $exp/graph \
                                    --scales "$exp/tune/$system" --out "$exp/decode/$system"
  hypotheses+=("$system=$exp/decode/$system")
  [[ $system == first_teacher ]] || metrics+=("$system=$exp/$system/metrics.jsonl")
done
join

configs=()
for file in "$conf"/*.yaml; do
  configs+=("$(basename "$file" .yaml)=$file")
done
stage 17 "scores"                 asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" --by "$by" \
                                    ${compared[@]+"${compared[@]}"} --out $exp/scores
stage 18 "report"                 asr-kd report --scores $exp/scores --audio $shards/test --metrics "${metrics[@]}" \
                                    --config "${configs[@]}" --title "$title" \
                                    --seed "$seed" --command "$recipe_command" --started "$SECONDS_STARTED" --out $exp
