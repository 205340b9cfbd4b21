"""Which files of a folder are audio: by their names, and by their content where the name does not say."""

from pathlib import Path

from asr_kd.core.errors import is_system_error
from asr_kd.core.extras import how_to_install
from asr_kd.core.terminal import say
from asr_kd.corpora.any_audio import is_audio
from asr_kd.corpora.audio import FFMPEG_SUFFIXES, SUFFIXES
from asr_kd.corpora.ffmpeg_container import has_ffmpeg
from asr_kd.corpora.walk import files_below

NO_AUDIO = frozenset(
    (
        *(".arpa", ".bak", ".bmp", ".conf", ".cfg", ".csv", ".ctm", ".css", ".db", ".doc", ".docx", ".eaf"),
        *(".gif", ".gz", ".html", ".ini", ".ipynb", ".jpeg", ".jpg", ".js", ".json", ".jsonl", ".lab", ".log"),
        *(".lrc", ".md", ".md5", ".npy", ".npz", ".ods", ".odt", ".parquet", ".pdf", ".png", ".ppt", ".pptx"),
        *(".pt", ".pth", ".py", ".rar", ".rst", ".rtf", ".scp", ".sha256", ".sh", ".sql", ".srt", ".stm"),
        *(".svg", ".tar", ".tex", ".textgrid", ".tgz", ".tif", ".tiff", ".toml", ".tsv", ".txt", ".vtt", ".webp"),
        *(".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip", ".7z"),
    )
)
"""Suffixes of what is never opened as audio: text, tables, pictures, archives."""
HOLDERS = {".arrow", ".parquet", ".tar", ".tgz", ".zip"}
"""Suffixes of files that other readers find audio in."""
RESOURCE_FORK = "._"
"""Begins the names of files with attributes, which macOS writes beside each file on foreign disks."""


def audio_files(root: Path) -> tuple[list[Path], dict[Path, str]]:
    """Every audio file below `root`, sorted; and those that cannot be read here, each with its reason.

    A file of an unknown suffix counts where it is audio by its content. How many others there are is said, but for the
    transcripts NAME.txt beside NAME.flac. ValueError when there is no audio.
    """
    known = {suffix.lower() for suffix in SUFFIXES}
    by_ffmpeg = set(FFMPEG_SUFFIXES) if not has_ffmpeg() else set()
    paths: list[Path] = []
    unreadable: dict[Path, str] = {}
    others: list[Path] = []
    for path in files_below(root):
        suffix = path.suffix.lower()
        if path.name.startswith(RESOURCE_FORK) or suffix in NO_AUDIO:
            others.append(path)
        elif suffix in by_ffmpeg:
            unreadable[path] = f"{path}: {path.suffix} files are decoded by FFmpeg. {how_to_install('formats')}"
        elif suffix in known:
            paths.append(path)
        else:
            _look_into(path, paths, unreadable, others)
    stems = {path.with_suffix("") for path in (*paths, *unreadable)}
    others = [path for path in others if not (path.suffix == ".txt" and path.with_suffix("") in stems)]
    if not paths:
        if unreadable:
            first = next(iter(unreadable.values()))
            raise ValueError(
                f"{root}: holds no audio but {len(unreadable)} files that cannot be read; the first: {first}"
            )
        raise ValueError(f"{root}: holds no audio ({len(others)} files of other kinds)")
    holders = [path for path in others if path.suffix.lower() in HOLDERS]
    if holders:
        say(
            f"{root}: {len(holders)} files such as {holders[0].relative_to(root)} may hold audio; it is not read here. "
            "`asr-kd prepare huggingface` reads Parquet and Arrow, `asr-kd prepare nemo-tarred` tars."
        )
        others = [path for path in others if path.suffix.lower() not in HOLDERS]
    if others:
        say(f"{root}: {len(others)} other files such as {others[0].relative_to(root)} are no audio")
    return paths, unreadable


def _look_into(path: Path, paths: list[Path], unreadable: dict[Path, str], others: list[Path]) -> None:
    try:
        with open(path, "rb") as file:
            (paths if is_audio(file, str(path)) else others).append(path)
    except OSError as e:
        if isinstance(e, PermissionError) or not is_system_error(e):
            unreadable[path] = f"{path}: not readable ({e.strerror})"
        else:
            raise
