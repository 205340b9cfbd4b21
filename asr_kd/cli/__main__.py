"""`python -m asr_kd.cli`: the same as `asr-kd`."""

import sys

from asr_kd.cli import main

if __name__ == "__main__":
    sys.exit(main())
