"""Alignments for the fixture `tone_shards`, and small runs on them."""

import numpy as np
import pyarrow as pa

from asr_kd.frontend.fbank import FrontEnd, FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.shards.reader import open_shard
from asr_kd.targets.sidecar import sidecar_path, write_sidecar
from asr_kd.teachers.inference import pad_waves
from asr_kd.train.trainer import Trainer

INVENTORY = Senones.monophone(["SIL", "AH", "EE", "OH"])
FRONTEND = FrontEndConfig(mel_bins=20)


def align_tones(shards, out, set_aside=(), shift=0):
    """Write OUT/inventory.json and OUT/FOLDER/SHARD.parquet: the class of a frame is its loudest mel bin, coarsely."""
    INVENTORY.save(out / "inventory.json")
    frontend = FrontEnd(FRONTEND)
    for path in shards:
        shard = open_shard(path)
        states = []
        for row, entry in enumerate(shard.entries):
            x_BTF, _ = frontend.fbank(*pad_waves([shard.audio(row)]))
            middle_TF = x_BTF[0, 1 : 3 * (x_BTF.shape[1] // 3) : 3]
            state_T = 1 + (middle_TF.argmax(-1).numpy() // 4 + shift) % 3
            states.append(None if entry.id in set_aside else state_T.astype(np.int16))
        table = pa.table({"id": [e.id for e in shard.entries], "states": pa.array(states, pa.list_(pa.int16()))})
        description = {"kind": "alignment", "inventory": INVENTORY.fingerprint, "shard": shard.digest}
        write_sidecar(sidecar_path(out / path.parent.name, shard), table, description)
    return out


def damage(tar, *ids):
    """Overwrite the audio of these utterances with zeros, as a bad disk block would."""
    with open(tar, "r+b") as f:
        for entry in open_shard(tar).entries:
            if entry.id in ids:
                f.seek(entry.audio_offset)
                f.write(bytes(entry.audio_size))


def fit(*arguments, **options):
    """Train to the end of the schedule."""
    return Trainer(*arguments, **options).run()
