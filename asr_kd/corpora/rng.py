"""Random generators named by what they are for, so that drawing more of one thing never changes another."""

import numpy as np

from asr_kd.core.files import fingerprint


def seeded_rng(*key: object) -> np.random.Generator:
    """A generator that depends on `key` (texts and numbers) alone."""
    return np.random.Generator(np.random.PCG64(int(fingerprint(list(key)), 16)))
