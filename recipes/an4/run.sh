#!/usr/bin/env bash
# AN4: 20% of the speakers labelled (--labelled FILE: others), the rest without text.   11 to 19 min on 2 cores.
# --labelled all: two teachers alone, trained on all text; results in exp/an4-all. WER test: 6.0 (seed 0)
# Results: exp/an4/report.html, utterances.html and results.json.
# WER test, mean of seeds 0, 1, 2: teacher 26.5, labelled only 33.4, distilled 26.6, oracle 18.1
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards
first_teachers=3 generations=(second_teacher teacher) oracle_epochs=16 by=gender
lm_options=(--word-classes manifests/an4_classes.txt) transcripts=1
title="AN4, 20% of the speakers labelled" parts=(labelled dev unlabelled test)
if [[ $labelled == all ]]; then
  first_teachers=1 first_options=(--set epochs=10) all_text=1 generations=()
  title="AN4, all training text" parts=(labelled dev test)
fi
parts=("${parts[@]/#/$exp/manifests/}")

stage 0 "manifests"               asr-kd prepare an4 "$(corpus_root AN4_ROOT an4)" --download \
                                    ${labelled:+--labelled "$labelled"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard "${parts[@]/%/.jsonl}" --out $shards

. recipes/semi_supervised.sh
