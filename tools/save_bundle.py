"""Writes one of torchaudio's bundles, or a file of weights with its description, as one file that describes itself.

  python tools/save_bundle.py WAV2VEC2_ASR_BASE_960H wav2vec2.safetensors        # fetches the weights
  python tools/save_bundle.py weights.pth wav2vec2.safetensors                   # weights.pth.json describes them

`asr-kd label --teacher bundle:wav2vec2.safetensors` reads it, without a network.
"""

import argparse
import sys
from pathlib import Path

from asr_kd.teachers.wav2vec2_files import load_bundle, save_bundle


def main() -> int:
    """Arguments: what, and where to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "bundle", help="a name of torchaudio.pipelines, or a file (see asr_kd/teachers/wav2vec2_files.py)"
    )
    parser.add_argument("out", type=Path, help="the file to write (.safetensors)")
    args = parser.parse_args()
    try:
        model = load_bundle(args.bundle)
        save_bundle(args.out, model, {"source": args.bundle})
    except ValueError as e:
        print(e, file=sys.stderr)
        return 2
    print(
        f"{args.out}: {model.parameter_count / 1e6:.1f}M weights, "
        f"{model.inventory.num_classes} classes {model.fingerprint}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
