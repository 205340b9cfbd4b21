#!/usr/bin/env bash
# speechocean762, training half: 30 min of English read by Mandarin speakers, half of them children, are labelled
# (--labelled FILE or all: others), the rest has no text; other speakers are the test.   90 min on 2 cores.
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards
training=(--dev $shards/dev --seed "$seed")

stage 0 "manifests"               asr-kd prepare speechocean762 "$(corpus_root SPEECHOCEAN_ROOT speechocean762)" --download \
                                    ${labelled:+--labelled "$labelled"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard $exp/manifests/{labelled,dev,unlabelled,hidden,test}.jsonl --out $shards

# Senones: flat start, tied states, alignments. The teacher learns them, aligns anew, and learns again.
stage 2 "senones"                 asr-kd align $shards/labelled --also $shards/dev --config $conf/align.yaml \
                                    --lexicon $exp/manifests/lexicon.txt --out $exp/aligned
stage 3 "first teacher"           asr-kd train $shards/labelled --alignments $exp/aligned "${training[@]}" \
                                    --config $conf/teacher.yaml --out $exp/first_teacher
stage 4 "realignment"             asr-kd align $shards/labelled --also $shards/dev --model $exp/first_teacher \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/realigned
stage 5 "teacher"                 asr-kd train $shards/labelled --alignments $exp/realigned "${training[@]}" \
                                    --config $conf/teacher.yaml --out $exp/teacher

# The teacher labels what has no text. For the oracle alone it also aligns the text that was hidden.
stage_bg 6 "soft targets"         asr-kd label $shards/unlabelled --teacher $exp/teacher --out $exp/targets
stage_bg 7 "hidden alignments"    asr-kd align $shards/hidden --model $exp/teacher \
                                    --lexicon $exp/aligned/lexicon.txt --out $exp/hidden
join

# Three students of one size: distilled; with all the text (oracle); with the labelled text only (baseline).
stage_bg 8 "distilled student"    asr-kd distill --unlabelled $shards/unlabelled --targets $exp/targets \
                                    --teacher $exp/teacher --labelled $shards/labelled --alignments $exp/realigned \
                                    "${training[@]}" --config $conf/distill.yaml --out $exp/student_distilled
stage_bg 9 "oracle student"       asr-kd train $shards/{labelled,hidden} --alignments $exp/{realigned,hidden} \
                                    "${training[@]}" --config $conf/student.yaml --out $exp/student_oracle
join
stage_bg 10 "labelled-only student" asr-kd train $shards/labelled --alignments $exp/realigned "${training[@]}" \
                                    --config $conf/student.yaml --out $exp/student_labelled_only
stage_bg 11 "graph"               asr-kd graph $exp/manifests/labelled.jsonl --lexicon $exp/aligned/lexicon.txt \
                                    --inventory $exp/aligned --out $exp/graph
join

# Scales are chosen on held-out labelled speakers; the test is then decoded once.
systems=(teacher student_labelled_only student_distilled student_oracle)
for system in "${systems[@]}"; do
  stage_bg 12 "tune $system"        asr-kd tune $shards/dev --model $exp/$system --graph $exp/graph \
                                      --out $exp/tune/$system
done
join
for system in "${systems[@]}"; do
  stage_bg 13 "decode $system"      asr-kd decode $shards/test --model $exp/$system --graph $exp/graph \
                                      --scales $exp/tune/$system --out $exp/decode/$system
done
join

hypotheses=() metrics=()
for system in "${systems[@]}"; do
  hypotheses+=("$system=$exp/decode/$system") metrics+=("$system=$exp/$system/metrics.jsonl")
done
configs=(align=$conf/align.yaml teacher=$conf/teacher.yaml student=$conf/student.yaml distill=$conf/distill.yaml)
stage 14 "scores"                 asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" --by group \
                                    --baseline student_labelled_only --oracle student_oracle --out $exp/scores
# WER test: not measured yet
stage 15 "report"                 asr-kd report --scores $exp/scores --audio $shards/test --metrics "${metrics[@]}" \
                                    --config "${configs[@]}" --title "speechocean762, 30 min labelled" \
                                    --seed "$seed" --command "$recipe_command" --started "$SECONDS_STARTED" --out $exp
