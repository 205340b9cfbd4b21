#!/usr/bin/env bash
# AN4: what the student's targets should be, one change at a time from the recipe's distilled student: how many posteriors
# are kept, their tail, temperature, hard labels, clean input. Needs recipes/an4/run.sh first (the same --exp and --seed).
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards out=$exp/ablation graph=$exp/transcripts/graph/second_teacher
clean=(augment.noise_probability=0 augment.gain_db=[0,0] augment.spec_time_masks=0 augment.spec_mel_masks=0)

# name=options of asr-kd distill
variants=(k1="--k 1" k5="--k 5" k20="--k 20" kall="" renormalised="--tail renormalise" k5_renormalised="--k 5 --tail renormalise"
  hard="--hard" T2="--temperature 2" T4="--temperature 4" clean="--set ${clean[*]}")

stage 0 "all posteriors"          asr-kd label $shards/unlabelled --teacher $exp/{second_teacher,teacher} \
                                    --graph $graph --scales $exp/tune/teacher --k 255 --floor 0 --levels 30 \
                                    --out $out/targets_all

hypotheses=("recipe (classes above 0.0006, tail, soft, T 1, noisy)=$exp/decode/student_distilled")
for variant in "${variants[@]}"; do
  label=${variant%%=*} options=${variant#*=} targets=$exp/targets/teacher
  [[ $label != kall ]] || targets=$out/targets_all
  # shellcheck disable=SC2086  # options are words
  stage_bg 1 "distil $label"      asr-kd distill --unlabelled $shards/unlabelled --targets $targets \
                                    --teacher $exp/{second_teacher,teacher} --labelled $shards/labelled \
                                    --alignments $exp/realigned --dev $shards/dev --seed "$seed" --config $conf/distill.yaml $options --out $out/$label
  hypotheses+=("$label=$out/decode/$label")
done
join
for variant in "${variants[@]}"; do
  label=${variant%%=*}
  stage_bg 2 "tune $label"        asr-kd tune $shards/dev --model $out/$label --graph $graph --out $out/tune/$label
done
join
for variant in "${variants[@]}"; do
  label=${variant%%=*}
  stage_bg 3 "decode $label"      asr-kd decode $shards/test --model $out/$label --graph $graph \
                                    --scales $out/tune/$label --out $out/decode/$label
done
join
stage 4 "scores"                  asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" \
                                    --variants-of "$recipe_command" --run-seed "$seed" --out $out
