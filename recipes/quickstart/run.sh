#!/usr/bin/env bash
# Quick start: synthetic voices (espeak-ng), no download. A few minutes of labelled speech (--labelled MINUTES: others)
# train a teacher, it labels what has no text, and a small streaming student learns from that.   11 min on 2 cores.
# Results: exp/quickstart/report.html and results.json.
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards
training=(--dev $shards/dev --seed "$seed")

stage 0 "manifests"               asr-kd prepare voices --unlabelled-minutes 60 \
                                    ${labelled:+--labelled-minutes "$labelled"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard $exp/manifests/{labelled,dev,unlabelled,hidden,test}.jsonl --out $shards

# Senones: flat start, tied states, alignments. The teacher learns them, and so does the baseline: a student that is
# trained on the labelled text only.
stage 2 "senones"                 asr-kd align $shards/labelled --also $shards/dev --config $conf/align.yaml \
                                    --lexicon $exp/manifests/lexicon.txt --out $exp/aligned
stage_bg 3 "teacher"              asr-kd train $shards/labelled --alignments $exp/aligned "${training[@]}" \
                                    --config $conf/teacher.yaml --out $exp/teacher
stage_bg 4 "labelled-only student" asr-kd train $shards/labelled --alignments $exp/aligned "${training[@]}" \
                                    --config $conf/student.yaml --out $exp/student_labelled_only
join

# The teacher labels what has no text; lexicon and language model correct it through the lattices of a search.
# For the oracle alone it also aligns the text that was hidden.
stage 5 "graph"                   asr-kd graph $exp/manifests/labelled.jsonl --lexicon $exp/aligned/lexicon.txt \
                                    --inventory $exp/aligned --out $exp/graph
stage 6 "tune teacher"            asr-kd tune $shards/dev --model $exp/teacher --graph $exp/graph --out $exp/tune/teacher
stage_bg 7 "soft targets"         asr-kd label $shards/unlabelled --teacher $exp/teacher --graph $exp/graph \
                                    --scales $exp/tune/teacher --out $exp/targets
stage_bg 8 "hidden alignments"    asr-kd align $shards/hidden --model $exp/teacher \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/hidden
join

# Two more students of the baseline's size: distilled; and with all the text (oracle).
stage_bg 9 "distilled student"    asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets \
                                    --teacher $exp/teacher --labelled $shards/labelled --alignments $exp/aligned \
                                    "${training[@]}" --config $conf/distill.yaml --out $exp/student_distilled
stage_bg 10 "oracle student"      asr-kd train $shards/{labelled,hidden} --alignments $exp/{aligned,hidden} \
                                    "${training[@]}" --config $conf/student.yaml --set epochs=10 --out $exp/student_oracle
join

# Scales are chosen on held-out labelled speakers; the test is then decoded once.
systems=(teacher student_labelled_only student_distilled student_oracle)
for system in "${systems[@]:1}"; do
  stage_bg 11 "tune $system"        asr-kd tune $shards/dev --model $exp/$system --graph $exp/graph \
                                      --out $exp/tune/$system
done
join
for system in "${systems[@]}"; do
  stage_bg 12 "decode $system"      asr-kd decode $shards/test --model $exp/$system --graph $exp/graph \
                                      --scales $exp/tune/$system --out $exp/decode/$system
done
join

hypotheses=() metrics=()
for system in "${systems[@]}"; do
  hypotheses+=("$system=$exp/decode/$system") metrics+=("$system=$exp/$system/metrics.jsonl")
done
configs=(align=$conf/align.yaml teacher=$conf/teacher.yaml student=$conf/student.yaml distill=$conf/distill.yaml)
stage 13 "scores"                 asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" --by snr \
                                    --baseline student_labelled_only --oracle student_oracle --out $exp/scores
# WER test: teacher 40.3, labelled only 47.4, distilled 41.8, oracle 37.0 (seed 0)
stage 14 "report"                 asr-kd report --scores $exp/scores --audio $shards/test --metrics "${metrics[@]}" \
                                    --config "${configs[@]}" --title "Quick start: synthetic voices" \
                                    --seed "$seed" --command "$recipe_command" --started "$SECONDS_STARTED" --out $exp
