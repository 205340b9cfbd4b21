#!/usr/bin/env bash
# AN4, all text: one student trained on 1 rank and, by each strategy, on 4.   20 min on 2 cores.
# WER beside that of 1 rank: the last stage, and exp/an4-all/ranks/scores/scores.json. Bytes that a rank sent: the column
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

# 4 lanes of 250 frames are the batch of 1 rank. --threads 1: results do not depend on the number of cores.
training=($out/shards/labelled --alignments $out/aligned --dev $out/shards/dev --seed "$seed" --config $conf/student.yaml)
four_ranks=(torchrun --standalone --nproc-per-node 4 --no-python)
four=(--threads 1 --set epochs=16 train.lanes=4 train.max_frames_per_batch=250)
stage 4 "1 rank"                  asr-kd train "${training[@]}" --out $out/single --set epochs=16
stage 4 "allreduce on 4 ranks"    "${four_ranks[@]}" asr-kd train "${training[@]}" --out $out/allreduce "${four[@]}"
stage 4 "bmuf on 4 ranks"         "${four_ranks[@]}" asr-kd train "${training[@]}" --out $out/bmuf "${four[@]}" \
                                    train.strategy.kind=bmuf train.strategy.block_steps=50
# Entries that wait are sent as a few large steps, which Adam's second moment makes smaller: the learning rate is twice as high.
stage 4 "threshold on 4 ranks"    "${four_ranks[@]}" asr-kd train "${training[@]}" --out $out/threshold "${four[@]}" \
                                    train.strategy.kind=threshold train.strategy.threshold=0.005 train.optim.lr=0.012

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
