#!/usr/bin/env bash
# speechocean762: 30 min of English read by Mandarin speakers, half of them children, are labelled (--labelled FILE:
# others), the rest has no text. The test is the official half where the root has it, else other speakers.
# Results: exp/speechocean762/report.html and results.json.
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards
training=(--dev $shards/dev --seed "$seed")
parts=(labelled dev unlabelled hidden test)
systems=(first_teacher teacher student_labelled_only student_distilled student_oracle)

manifests=()
for part in "${parts[@]}"; do manifests+=("$exp/manifests/$part.jsonl"); done

stage 0 "manifests"               asr-kd prepare speechocean762 "$(corpus_root SPEECHOCEAN_ROOT speechocean762)" --download \
                                    ${labelled:+--labelled "$labelled"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard "${manifests[@]}" --out $shards

# Senones: flat start, tied states, alignments. A first teacher learns them and aligns anew.
stage 2 "senones"                 asr-kd align $shards/labelled --also $shards/dev --config $conf/align.yaml \
                                    --lexicon $exp/manifests/lexicon.txt --out $exp/aligned
stage 3 "first teacher"           asr-kd train $shards/labelled --alignments $exp/aligned "${training[@]}" \
                                    --config $conf/first_teacher.yaml --out $exp/first_teacher
stage 4 "realignment"             asr-kd align $shards/labelled --also $shards/dev --model $exp/first_teacher \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/realigned

stage 5 "graph"                   asr-kd graph $exp/manifests/labelled.jsonl --lexicon $exp/aligned/lexicon.txt \
                                    --inventory $exp/aligned --out $exp/graph

# The teacher: a larger one, taught by the first on the unlabelled audio too. Soft targets go through the lattices of a
# search, so lexicon and language model correct them.
stage 6 "tune first_teacher"    asr-kd tune $shards/dev --model $exp/first_teacher --graph $exp/graph \
                                  --out $exp/tune/first_teacher
stage 7 "first soft targets"    asr-kd label $shards/unlabelled --teacher $exp/first_teacher --graph $exp/graph \
                                  --scales $exp/tune/first_teacher --out $exp/first_targets
stage_bg 8 "teacher"            asr-kd distill --unlabelled $shards/unlabelled --targets $exp/first_targets \
                                  --teacher $exp/first_teacher --labelled $shards/labelled \
                                  --alignments $exp/realigned "${training[@]}" \
                                  --config $conf/teacher.yaml --out $exp/teacher
# Beside it the baseline: a student that is trained on the labelled text only.
stage_bg 9 "labelled-only student" asr-kd train $shards/labelled --alignments $exp/realigned "${training[@]}" \
                                  --config $conf/student.yaml --out $exp/student_labelled_only
join
stage 10 "tune teacher"          asr-kd tune $shards/dev --model $exp/teacher --graph $exp/graph --out $exp/tune/teacher

# It labels what has no text. For the oracle alone it also aligns the text that was hidden.
stage_bg 11 "soft targets"      asr-kd label $shards/unlabelled --teacher $exp/teacher --graph $exp/graph \
                                  --scales $exp/tune/teacher --out $exp/targets
stage_bg 12 "hidden alignments" asr-kd align $shards/hidden --model $exp/teacher \
                                  --lexicon $exp/aligned/lexicon.txt --out $exp/hidden
join

# Two more students of the baseline's size: distilled; and with all the text (oracle).
stage_bg 13 "distilled student" asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets \
                                  --teacher $exp/teacher --labelled $shards/labelled --alignments $exp/realigned \
                                  "${training[@]}" --config $conf/distill.yaml --out $exp/student_distilled
stage_bg 14 "oracle student"    asr-kd train $shards/{labelled,hidden} --alignments $exp/{realigned,hidden} \
                                  "${training[@]}" --config $conf/student.yaml --set epochs=8 \
                                  --out $exp/student_oracle
join

# Scales are chosen on held-out labelled speakers; the test is then decoded once.
for student in student_labelled_only student_distilled student_oracle; do
  stage_bg 15 "tune $student"     asr-kd tune $shards/dev --model $exp/$student --graph $exp/graph --out $exp/tune/$student
done
join
hypotheses=() metrics=()
for system in "${systems[@]}"; do
  stage_bg 16 "decode $system"      asr-kd decode $shards/test --model $exp/$system --graph $exp/graph \
                                      --scales $exp/tune/$system --out $exp/decode/$system
  hypotheses+=("$system=$exp/decode/$system") metrics+=("$system=$exp/$system/metrics.jsonl")
done
join

configs=(align=$conf/align.yaml first_teacher=$conf/first_teacher.yaml teacher=$conf/teacher.yaml
  student=$conf/student.yaml distill=$conf/distill.yaml)
stage 17 "scores"                 asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" --by group \
                                    --baseline student_labelled_only --oracle student_oracle --out $exp/scores
stage 18 "report"                 asr-kd report --scores $exp/scores --audio $shards/test --metrics "${metrics[@]}" \
                                    --config "${configs[@]}" --title "speechocean762, 30 minutes labelled" \
                                    --seed "$seed" --command "$recipe_command" --started "$SECONDS_STARTED" --out $exp
