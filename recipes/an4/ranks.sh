#!/usr/bin/env bash
# AN4, all text: one student trained on 1 rank and, by each strategy, on 4.   15 min on 2 cores.
# WER and its interval beside that of 1 rank: exp/an4-all/ranks/scores/scores.md. Megabytes that a rank sent: the column
# bytes_sent of exp/an4-all/ranks/STRATEGY/metrics.jsonl.
labelled=all
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

out=$exp/ranks
stage 0 "manifests"               asr-kd prepare an4 "$(corpus_root AN4_ROOT an4)" --download --labelled all \
                                    --out $exp/manifests
# Short shards: lanes own whole ones.
stage 1 "short shards"            asr-kd shard $exp/manifests/{labelled,dev,test}.jsonl --minutes 2 --out $out/shards
stage 2 "senones"                 asr-kd align $out/shards/labelled --align-only $out/shards/dev --config $conf/align.yaml \
                                    --lexicon $exp/manifests/lexicon.txt --out $out/aligned
stage 3 "graph"                   asr-kd graph $exp/manifests/labelled.jsonl --lexicon $out/aligned/lexicon.txt \
                                    --inventory $out/aligned --word-classes manifests/an4_classes.txt --out $out/graph

training=($out/shards/labelled --alignments $out/aligned --dev $out/shards/dev --seed "$seed" --config $conf/student.yaml)
ranks=(torchrun --standalone --nproc-per-node 4 --no-python)
stage 4 "1 rank"                  asr-kd train "${training[@]}" --out $out/single --set epochs=16
stage 4 "allreduce on 4 ranks"    "${ranks[@]}" asr-kd train "${training[@]}" --threads 1 --out $out/allreduce \
                                    --set epochs=16 train.lanes=4
stage 4 "bmuf on 4 ranks"         "${ranks[@]}" asr-kd train "${training[@]}" --threads 1 --out $out/bmuf \
                                    --set epochs=16 train.lanes=4 train.strategy.kind=bmuf train.strategy.block_steps=12
stage 4 "threshold on 4 ranks"    "${ranks[@]}" asr-kd train "${training[@]}" --threads 1 --out $out/threshold \
                                    --set epochs=16 train.lanes=4 train.strategy.kind=threshold train.strategy.threshold=0.01

systems=(single allreduce bmuf threshold) hypotheses=()
for system in "${systems[@]}"; do
  stage_bg 5 "tune $system"       asr-kd tune $out/shards/dev --model $out/$system --graph $out/graph --out $out/tune/$system
done
join
for system in "${systems[@]}"; do
  stage_bg 6 "decode $system"     asr-kd decode $out/shards/test --model $out/$system --graph $out/graph \
                                    --decoding-scales $out/tune/$system --out $out/decode/$system
  hypotheses+=("$system=$out/decode/$system")
done
join
stage 7 "scores"                  asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" \
                                    --baseline single --out $out/scores
