#!/usr/bin/env bash
# Common Voice in any of its languages: bash recipes/common_voice/run.sh FOLDER, the folder of a language as downloaded
# (clips/, train.tsv, dev.tsv, test.tsv, validated.tsv).
#
# A fifth of the train part, whole speakers, keeps its text (--labelled SHARE); the text of the rest and of the other
# validated clips is hidden and known to the oracle alone. Words are pronounced in the phonemes of espeak-ng (extra
# `voices`, about 100 languages); where it lacks the language, write `pronunciations: graphemes` in align.yaml of a copy
# of recipes/common_voice/conf and give it with --conf. For GPUs: --ranks 8, --ray.
#
# Not run on Common Voice yet: it is not at hand here. What runs in the tests is this script on a small folder in its
# layout. The configs are for some 10 to 100 labelled hours; with less, more epochs and smaller models (recipes/mine/conf).
# Results: exp/common_voice/report.html, utterances.html and results.json. Give each language its own --exp.
takes="the folder of a language of Common Voice"
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards lexicon= by= first_teachers=1 generations=(teacher) oracle_epochs=4
title="Common Voice: $(basename "$data")"

stage 0 "manifests"               asr-kd prepare common-voice "$data" --labelled-fraction "${labelled:-0.2}" \
                                    --unlabelled validated --out $exp/manifests
stage 1 "shards"                  asr-kd shard $exp/manifests/{labelled,dev,unlabelled,test}.jsonl \
                                    --config $conf/shard.yaml --out $shards

. recipes/semi_supervised.sh
