#!/usr/bin/env bash
# Audio without any text: bash recipes/no_labels/run.sh FOLDER|MANIFEST. Recordings of any length are cut in pauses.
# Whisper transcribes them; the transcripts that it is surest of take the place of labels, and what it heard is all that
# the language model knows. An own teacher learns them, labels all audio softly, and a small streaming student learns that.
#
#   --references FILE   manifest with text that people wrote (manifests/README.md), of other audio or some of this: the
#                       test. Its speakers and recordings are not trained on. Without it a tenth of the audio is held out
#                       and the "WER" is how often the students' words differ from Whisper's
#   --whisper NAME      tiny.en, small, ... or a folder of weights for CTranslate2 (default: small.en; extra `whisper`)
#   --language CODE     spoken language (default: en)
#   --keep SHARE        share of the transcribed hours whose transcripts are learnt (default: 0.8)
#
# An hour or more of several speakers (sub-folders) or recordings is needed. Results: exp/no_labels/report.html and
# results.json. Give each set of data its own --exp.
takes="a folder of audio or a manifest" own_options="references whisper language keep" own_paths="references whisper"
whisper=${ASR_KD_WHISPER:-small.en} language=en keep=0.8 references=
. "$(dirname "$0")/../../tools/recipe.sh" "$@"

if [[ -n $references && ! -r $references ]]; then
  say "--references $references: no such file, or it is closed to you. Give a manifest with text (manifests/README.md)."
  exit 2
fi
if [[ ! $keep =~ ^(0?\.[0-9]*[1-9][0-9]*|1(\.0*)?)$ ]]; then
  say "--keep $keep: a share above 0, at most 1, is needed. See --help."
  exit 2
fi
shards=$exp/shards lexicon= by= first_teachers=1 generations=() oracle_epochs=0 title="No labels: $(basename "$data")"
kind=manifest
[[ ! -d $data ]] || kind=folder
other_hypotheses=("whisper=$exp/whisper")

stage 0 "recordings"              asr-kd prepare $kind "$data" --language "$language" --out $exp/recordings
if [[ -z $dry_run && ! -e $exp/recordings/unlabelled.jsonl ]]; then
  say "$data: all audio has text. recipes/mine/run.sh learns from it; this recipe is for audio without."
  exit 2
fi
if [[ -z $dry_run && -s $exp/recordings/labelled.jsonl ]]; then
  say "$data: recordings with text are left out. recipes/mine/run.sh learns from them."
fi
stage 0 "segments"                asr-kd segment $exp/recordings/unlabelled.jsonl --out $exp/segments
stage 0 "all shards"              asr-kd shard $exp/segments/unlabelled.jsonl --out $exp/all
stage 0 "transcripts"             asr-kd label $exp/all/unlabelled --teacher "whisper:$whisper" --language "$language" \
                                    --out $exp/transcripts
stage 0 "choice"                  asr-kd filter $exp/transcripts --keep-share "$keep" --out $exp/kept.jsonl
stage 0 "manifests"               asr-kd prepare pseudo-labels $exp/segments/unlabelled.jsonl --transcripts $exp/kept.jsonl \
                                    --language "$language" ${references:+--references "$references"} --out $exp/manifests
stage 1 "shards"                  asr-kd shard $exp/manifests/{labelled,dev,unlabelled,test}.jsonl --out $shards
stage 1 "test by Whisper"         asr-kd label $shards/test --teacher "whisper:$whisper" --language "$language" \
                                    --out $exp/whisper

. recipes/semi_supervised.sh
