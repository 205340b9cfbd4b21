# Sourced by recipes/NAME/*.sh that train the distilled student anew with something changed: distils, tunes, decodes, scores.
#
#   variants=(NAME ...)       what the students are called; they lie in $out/NAME
#   targets_of NAME           prints the folder of a variant's soft targets
#   options_of NAME           prints its options of asr-kd distill, as words
#   hypotheses=(NAME=DIR ...) systems to score beside them; may be empty
#   shards, exp, conf, out, graph, teachers                    as in the recipe

for variant in "${variants[@]}"; do
  # shellcheck disable=SC2046  # options are words
  stage_bg 1 "distil $variant"    asr-kd distill --unlabelled $shards/unlabelled --targets "$(targets_of "$variant")" \
                                    --teacher "${teachers[@]}" --labelled $shards/labelled --alignments $exp/realigned \
                                    --dev $shards/dev --seed "$seed" --config $conf/distill.yaml $(options_of "$variant") \
                                    --out "$out/$variant"
  hypotheses+=("$variant=$out/decode/$variant")
done
join
for variant in "${variants[@]}"; do
  stage_bg 2 "tune $variant"      asr-kd tune $shards/dev --model "$out/$variant" --graph $graph --out "$out/tune/$variant"
done
join
for variant in "${variants[@]}"; do
  stage_bg 3 "decode $variant"    asr-kd decode $shards/test --model "$out/$variant" --graph $graph \
                                    --decoding-scales "$out/tune/$variant" --out "$out/decode/$variant"
done
join
stage 4 "scores"                  asr-kd score --ref $exp/manifests/test.jsonl --hyp "${hypotheses[@]}" \
                                    --variants-of "$recipe_command" --run-seed "$seed" --out $out
