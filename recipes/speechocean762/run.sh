#!/usr/bin/env bash
# speechocean762: 30 min of English read by Mandarin speakers, half of them children, are labelled (--labelled FILE:
# others), the rest has no text. The test is the official half where the root has it, else other speakers.
# Results: exp/speechocean762/report.html, utterances.html and results.json.   27 min on 2 cores.
# WER test: teacher 82.6, labelled only 85.1, distilled 83.4, oracle 76.5 (seed 0)
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards
first_teachers=1 generations=(teacher) oracle_epochs=8 by=group title="speechocean762, 30 minutes labelled"

stage 0 "manifests"               asr-kd prepare speechocean762 "$(corpus_root SPEECHOCEAN_ROOT speechocean762)" --download \
                                    ${labelled:+--labelled "$labelled"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard $exp/manifests/{labelled,dev,unlabelled,test}.jsonl --out $shards

. recipes/semi_supervised.sh
