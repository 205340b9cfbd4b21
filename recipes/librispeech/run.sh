#!/usr/bin/env bash
# LibriSpeech: 100 h with text (train-clean-100), 860 h without (train-clean-360, train-other-500). --labelled 10h, 1h or
# 10min: that much of Libri-Light's limited set with text, all 960 h without. For GPUs: --ranks 8 trains on eight of this
# machine, --ray labels on a Ray cluster; on several machines give torchrun the commands of --dry-run.
#
# It needs the corpora: $LIBRISPEECH_ROOT, $LIBRILIGHT_ROOT, else $ASR_KD_DATA or data/ has librispeech/ and librilight/,
# to which 100h downloads what is missing (60 GB). Beside LibriSpeech/ in its folder are read, from openslr.org/11:
# librispeech-lexicon.txt, and as language model 3-gram.pruned.3e-7.arpa.gz (without it, one of the labelled text).
#
# Not run at full size yet: the project has no such machine. What runs in its tests is this script with --conf
# recipes/librispeech/conf_tiny on minutes of synthetic speech in the layout of LibriSpeech.
# Figures of others, WER test-clean / test-other, offline and with larger models, 100 h and 860 h:
#   4.2 / 8.6 noisy student training, 4.74 / 12.20 the best before it (Park et al., arXiv 2005.09629)
# Results: exp/librispeech/report.html, utterances.html and results.json.
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards root=$(corpus_root LIBRISPEECH_ROOT librispeech)
first_teachers=1 generations=(teacher) oracle_epochs=4 by=subset
title="LibriSpeech, ${labelled:-100h} labelled"

arpa=$root/3-gram.pruned.3e-7.arpa.gz
[[ -e $root/librispeech-lexicon.txt ]] || lexicon= # cmudict, and letters
[[ -n $general_lm || ! -e $arpa ]] || lm_text=() lm_options=(--arpa "$arpa")
case ${labelled:-100h} in
  100h) stage 0 "manifests"       asr-kd prepare librispeech "$root" --download --out $exp/manifests ;;
  10h | 1h | 10min)
        stage 0 "manifests"       asr-kd prepare librilight "$(corpus_root LIBRILIGHT_ROOT librilight)" --download \
                                    --limited "$labelled" --librispeech "$root" \
                                    --unlabelled-subsets train-clean-100 train-clean-360 train-other-500 \
                                    --out $exp/manifests ;;
  *) say "--labelled $labelled: give 100h, 10h, 1h or 10min"; exit 2 ;;
esac
stage 1 "shards"                  asr-kd shard $exp/manifests/{labelled,dev,unlabelled,test}.jsonl \
                                    --config $conf/shard.yaml --out $shards

. recipes/semi_supervised.sh
