"""Each manifest becomes a folder of shards: OUT/<manifest stem>/shard-000000.tar, with an index beside every tar and
catalogue.parquet, which lists them all.

The same command resumes a stopped run; finished shards stay. Utterances whose audio cannot be read are skipped and
listed in OUT/<manifest stem>/rejected.jsonl; they are tried again when their file has changed. If they are more than
--max-skipped of a manifest, the command fails after writing its shards. A failing disk, mount or memory stops the
command; run it again afterwards.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from asr_kd.core.commands import command
from asr_kd.core.files import atomic_path
from asr_kd.core.options import argument, option
from asr_kd.core.progress import SECONDS_PER_HOUR
from asr_kd.core.renames import renamed_file
from asr_kd.core.skipped import MAX_SKIPPED, Skipped, SkippedOptions
from asr_kd.core.storage import basename
from asr_kd.core.terminal import show
from asr_kd.corpora.containers.names import in_reading_order
from asr_kd.corpora.corpus import REJECTED, warn_of_long
from asr_kd.corpora.corpus_name import corpus_name
from asr_kd.corpora.manifest import read_manifest
from asr_kd.shards.catalogue_writer import CATALOGUE_NAME, HERE, CatalogueRow, write_catalogue
from asr_kd.shards.reader import open_shard
from asr_kd.shards.writer import SHARD_NAME, SHARD_SECONDS, write_shards

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, kw_only=True)
class ShardRun(SkippedOptions):
    """What `asr-kd shard` is given."""

    manifests: tuple[Path, ...] = argument("manifests (.jsonl) of `asr-kd prepare`", metavar="MANIFEST")
    out: Path = option("output folder: one folder of shards per manifest")
    minutes: float = option("minutes of audio per shard, at most", SHARD_SECONDS / SECONDS_PER_MINUTE)
    name: str = option(
        "name of the corpus, which begins the names of its shards: shards of several corpora go together where they "
        "are called differently",
        SHARD_NAME,
        parse=corpus_name,
    )
    jobs: int = option("shards that are written at the same time", 1, metavar="N")
    strip_text: bool = option("leave the transcripts out of the shards", False)


@command()
def make_shards(config: ShardRun) -> None:
    """Write the shards of every manifest."""
    if config.jobs < 1:
        raise ValueError(f"--jobs {config.jobs}: at least one job is needed")
    manifests = [path for path in config.manifests if path.name != REJECTED]  # it lies beside them and shells glob it
    for path in manifests:
        if why := renamed_file(path.name):
            raise ValueError(f"{path}:{why} Rename it, or run `asr-kd prepare` again.")
    stems = [path.stem for path in manifests]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    if twice:
        raise ValueError(f"two manifests are called {min(twice)}; their shards would share a folder. Shard them apart.")
    if not manifests:
        raise ValueError(f"{REJECTED} lists what was left out; give manifests")
    for manifest in manifests:
        out, seconds = config.out / manifest.stem, config.minutes * SECONDS_PER_MINUTE
        shard_manifest(manifest, out, seconds, config.strip_text, config.jobs, config.max_skipped, config.name)


def shard_manifest(
    manifest: Path,
    out: Path,
    shard_seconds: float,
    strip_text: bool = False,
    jobs: int = 1,
    max_skipped: float = MAX_SKIPPED,
    name: str = SHARD_NAME,
) -> list[Path]:
    """Write one manifest's shards and say what became of it.

    ValueError when none of its audio could be read, or more than a share of `max_skipped` could not.
    """
    skipped = Skipped(f"utterances of {manifest}", max_skipped)
    utterances = list(read_manifest(manifest))
    if not utterances:
        raise ValueError(f"{manifest}: holds no utterance; leave it out")
    utterances = [utterances[i] for i in in_reading_order([u.audio_filepath for u in utterances])]
    tars = write_shards(utterances, out, shard_seconds, strip_text=strip_text, jobs=jobs, name=name)
    shards = [open_shard(tar) for tar in tars]
    write_catalogue(out / CATALOGUE_NAME, (CatalogueRow.of(shard, basename(shard.path)) for shard in shards), [HERE])
    rejected = [item for shard in shards for item in shard.set_aside]
    count, hours = sum(len(shard.entries) for shard in shards), sum(s.seconds for s in shards) / SECONDS_PER_HOUR
    show(f"{out}: {len(tars)} shards, {count} utterances, {hours:.3f} h")
    warn_of_long((entry.seconds for shard in shards for entry in shard.entries), str(out))
    _list_rejected(out / REJECTED, rejected)
    files = {u.id: u.audio_filepath for u in utterances}
    for item in rejected:
        skipped.add(item["id"], item["error"], files.get(item["id"]))
    skipped.check(len(utterances), out / REJECTED)
    return tars


def _list_rejected(path: Path, rejected: list[dict[str, str]]) -> None:
    if not rejected:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary:
        temporary.write_text(
            "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rejected), encoding="utf-8"
        )
