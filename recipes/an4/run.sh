#!/usr/bin/env bash
# AN4: 20% of the speakers labelled (--labelled FILE: others), the rest without text.   35 min on 2 cores.
# --labelled all: the teacher alone, trained on all text (give it an --exp of its own).
# Results: exp/an4/report.html and results.json.
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards
training=(--dev $shards/dev --seed "$seed")
parts=(labelled dev unlabelled hidden test)
systems=(first_teachers second_teacher teacher student_labelled_only student_distilled student_oracle)
numbers=(0 1 2) first=()
if [[ $labelled == all ]]; then
  parts=(labelled dev test) systems=(teacher) numbers=(0) first=(--set epochs=10)
fi

manifests=()
for part in "${parts[@]}"; do manifests+=("$exp/manifests/$part.jsonl"); done

stage 0 "manifests"               asr-kd prepare an4 "$(corpus_root AN4_ROOT an4)" --download \
                                    ${labelled:+--labelled "$labelled"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard "${manifests[@]}" --out $shards

# Senones: flat start, tied states, alignments. The first teachers learn them: small ones, whose mean is right more
# often than any of them. Together they align anew.
stage 2 "senones"                 asr-kd align $shards/labelled --also $shards/dev --config $conf/align.yaml \
                                    --lexicon $exp/manifests/lexicon.txt --out $exp/aligned
first_teachers=()
for number in "${numbers[@]}"; do
  first_teachers+=("$exp/first_teacher_$number")
  stage_bg 3 "first teacher $number" asr-kd train $shards/labelled --alignments $exp/aligned --dev $shards/dev \
                                    --seed "$((10 * seed + number))" --config $conf/first_teacher.yaml "${first[@]}" \
                                    --out "$exp/first_teacher_$number"
done
join
stage 4 "realignment"             asr-kd align $shards/labelled --also $shards/dev --model "${first_teachers[@]}" \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/realigned

stage 5 "graph"                   asr-kd graph $exp/manifests/labelled.jsonl --lexicon $exp/aligned/lexicon.txt \
                                    --inventory $exp/aligned --out $exp/graph

if [[ $labelled == all ]]; then
  stage 8 "teacher"               asr-kd train $shards/labelled --alignments $exp/realigned "${training[@]}" \
                                    --config $conf/all_teacher.yaml --out $exp/teacher
else
  # Two more generations, the last of them large, each taught by the one before on the unlabelled audio too. Soft targets
  # go through the lattices of a search, so lexicon and language model correct them.
  stage 6 "tune first_teachers"   asr-kd tune $shards/dev --model "${first_teachers[@]}" --graph $exp/graph \
                                    --out $exp/tune/first_teachers
  stage 7 "first soft targets"    asr-kd label $shards/unlabelled --teacher "${first_teachers[@]}" \
                                    --graph $exp/graph --scales $exp/tune/first_teachers \
                                    --out $exp/targets/first_teachers
  stage_bg 8 "second teacher"     asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets/first_teachers \
                                    --teacher "${first_teachers[@]}" --labelled $shards/labelled \
                                    --alignments $exp/realigned "${training[@]}" \
                                    --config $conf/second_teacher.yaml --out $exp/second_teacher
  # Beside it the baseline: a student that is trained on the labelled text only.
  stage_bg 9 "labelled-only student" asr-kd train $shards/labelled --alignments $exp/realigned "${training[@]}" \
                                    --config $conf/student.yaml --out $exp/student_labelled_only
  join
  stage 10 "tune second_teacher"  asr-kd tune $shards/dev --model $exp/second_teacher --graph $exp/graph \
                                    --out $exp/tune/second_teacher
  stage 11 "second soft targets"  asr-kd label $shards/unlabelled --teacher $exp/second_teacher --graph $exp/graph \
                                    --scales $exp/tune/second_teacher --out $exp/targets/second_teacher
  stage 12 "teacher"              asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets/second_teacher \
                                    --teacher $exp/second_teacher --labelled $shards/labelled \
                                    --alignments $exp/realigned "${training[@]}" \
                                    --config $conf/teacher.yaml --out $exp/teacher
fi
stage 13 "tune teacher"           asr-kd tune $shards/dev --model $exp/teacher --graph $exp/graph --out $exp/tune/teacher

if [[ $labelled != all ]]; then
  # With the second it labels what has no text. For the oracle alone it also aligns the text that was hidden.
  stage_bg 14 "soft targets"      asr-kd label $shards/unlabelled --teacher $exp/{second_teacher,teacher} \
                                    --graph $exp/graph --scales $exp/tune/teacher --out $exp/targets/teacher
  stage_bg 15 "hidden alignments" asr-kd align $shards/hidden --model $exp/teacher \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/hidden
  join

  # Two more students of the baseline's size: distilled; and with all the text (oracle).
  stage_bg 16 "distilled student" asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets/teacher \
                                    --teacher $exp/{second_teacher,teacher} --labelled $shards/labelled \
                                    --alignments $exp/realigned "${training[@]}" --config $conf/distill.yaml \
                                    --out $exp/student_distilled
  stage_bg 17 "oracle student"    asr-kd train $shards/{labelled,hidden} --alignments $exp/{realigned,hidden} \
                                    "${training[@]}" --config $conf/student.yaml --set epochs=16 \
                                    --out $exp/student_oracle
  join

  # Scales are chosen on held-out labelled speakers; the test is then decoded once.
  for student in student_labelled_only student_distilled student_oracle; do
    stage_bg 18 "tune $student"   asr-kd tune $shards/dev --model $exp/$student --graph $exp/graph --out $exp/tune/$student
  done
  join
fi

hypotheses=() metrics=("first_teacher=$exp/first_teacher_0/metrics.jsonl")
for system in "${systems[@]}"; do
  models=("$exp/$system")
  if [[ $system == first_teachers ]]; then models=("${first_teachers[@]}"); fi
  stage_bg 19 "decode $system"      asr-kd decode $shards/test --model "${models[@]}" --graph $exp/graph \
                                      --scales $exp/tune/$system --out $exp/decode/$system
  hypotheses+=("$system=$exp/decode/$system")
  [[ $system == first_teachers ]] || metrics+=("$system=$exp/$system/metrics.jsonl")
done
join

configs=(align=$conf/align.yaml first_teacher=$conf/first_teacher.yaml
  second_teacher=$conf/second_teacher.yaml teacher=$conf/teacher.yaml
  student=$conf/student.yaml distill=$conf/distill.yaml)
compared=(--baseline student_labelled_only --oracle student_oracle)
title="AN4, 20% of the speakers labelled"
if [[ $labelled == all ]]; then
  compared=() title="AN4, all training text"
fi
stage 20 "scores"                 asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" --by gender \
                                    "${compared[@]}" --out $exp/scores
stage 21 "report"                 asr-kd report --scores $exp/scores --audio $shards/test --metrics "${metrics[@]}" \
                                    --config "${configs[@]}" --title "$title" \
                                    --seed "$seed" --command "$recipe_command" --started "$SECONDS_STARTED" --out $exp
