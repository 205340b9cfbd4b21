#!/usr/bin/env bash
# AN4: what the student's targets should be, one change at a time from the recipe's distilled student: how many posteriors
# are kept, their tail, temperature, hard labels, clean input. Needs recipes/an4/run.sh first (the same --exp and --seed).
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards out=$exp/ablation graph=$exp/transcripts/graph/second_teacher teachers=($exp/{second_teacher,teacher})
clean=(augment.noise_prob=0 augment.volume_db=[0,0] augment.num_time_masks=0 augment.num_freq_masks=0)

variants=(k1 k5 k20 kall renormalised k5_renormalised hard T2 T4 clean)
options_of() {
  case $1 in
    k1) echo --top-k 1 ;;
    k5) echo --top-k 5 ;;
    k20) echo --top-k 20 ;;
    renormalised) echo --residual renormalise ;;
    k5_renormalised) echo --top-k 5 --residual renormalise ;;
    hard) echo --hard-labels ;;
    T2) echo --temperature 2 ;;
    T4) echo --temperature 4 ;;
    clean) echo --set "${clean[@]}" ;;
  esac
}
targets_of() { if [[ $1 == kall ]]; then echo $out/targets_all; else echo $exp/targets/teacher; fi; }

stage 0 "all posteriors"          asr-kd label $shards/unlabelled --teacher "${teachers[@]}" \
                                    --graph $graph --decoding-scales $exp/tune/teacher --top-k 255 --min-prob 0 --quant-levels 30 \
                                    --out $out/targets_all
hypotheses=("recipe (classes above 0.0006, tail, soft, T 1, noisy)=$exp/decode/student_distilled")

. recipes/variants.sh
