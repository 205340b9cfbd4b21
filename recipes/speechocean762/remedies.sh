#!/usr/bin/env bash
# What makes distillation worth more on speechocean762: CTC models of characters, alone and with a choice of the surest
# utterances, a second generation of teachers, another corpus's text for the teacher. Each with three seeds.
# Results: exp/speechocean762/remedies/compare.md and compare.json.
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

stage 0 "manifests"               asr-kd prepare speechocean762 "$(corpus_root SPEECHOCEAN_ROOT speechocean762)" --download \
                                    ${labelled:+--labelled "$labelled"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard $exp/manifests/{labelled,dev,unlabelled,test}.jsonl --out $exp/shards

# Not a stage: it resumes by itself, and its inputs change while the recipe goes on in the same folder.
asr-kd experiment recipes/speechocean762/remedies.yaml --exp $exp $exp $exp --var more="$(corpus_root AN4_ROOT an4)" \
  --title "speechocean762, CTC" ${dry_run:+--dry-run} --out $exp/remedies
