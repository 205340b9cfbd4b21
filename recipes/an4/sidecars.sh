#!/usr/bin/env bash
# AN4: what the student loses when the teacher's posteriors are stored in fewer bytes (docs/sidecars.md): the recipe's
# distilled student from several settings of `asr-kd label`, through lattices and from the teacher's own posteriors.
# Needs recipes/an4/run.sh first (the same --exp and --seed).
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards out=$exp/sidecars graph=$exp/transcripts/graph/second_teacher teachers=($exp/{second_teacher,teacher})
lattices=(--graph "$graph" --decoding-scales $exp/tune/teacher)

# name=options of asr-kd label; names that begin with plain_ do without lattices. `full` keeps all classes at the finest
# code there is, `top20` the paper's number of them.
settings=(full="--top-k 255 --min-prob 0 --quant-levels 30" top20="--top-k 20 --min-prob 0 --quant-levels 30" default=""
  floor002="--min-prob 0.002" floor005="--min-prob 0.005" mass99="--top-p 0.99" levels10="--quant-levels 10"
  plain_full="--top-k 255 --min-prob 0 --quant-levels 30" plain_top20="--top-k 20 --min-prob 0 --quant-levels 30" plain_default=""
  plain_floor002="--min-prob 0.002")

for setting in "${settings[@]}"; do
  label=${setting%%=*} options=(${setting#*=})
  [[ $label == plain_* ]] || options+=("${lattices[@]}")
  stage 0 "targets $label"        asr-kd label $shards/unlabelled --teacher "${teachers[@]}" \
                                    ${options[@]+"${options[@]}"} --out $out/targets/$label
done
variants=("${settings[@]%%=*}") hypotheses=()
targets_of() { echo "$out/targets/$1"; }
options_of() { :; }

. recipes/variants.sh
