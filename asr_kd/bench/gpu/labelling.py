"""Labelling on one GPU: the job against the bare forward pass; where the time goes; the same bytes twice."""

import contextlib
import io
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from asr_kd.bench import forward
from asr_kd.bench.gpu.sections import Report, Setup, seconds_of
from asr_kd.bench.peak import flops_per_frame
from asr_kd.bench.synthetic import random_teacher
from asr_kd.core.errors import PartFailed
from asr_kd.core.runtime import synchronise
from asr_kd.label.label import LabelRun, label_shards
from asr_kd.label.posteriors import LabelConfig
from asr_kd.models.checkpoint import load_model, save_model
from asr_kd.shards.index import index_path
from asr_kd.shards.reader import Shard
from asr_kd.targets.codec import encode_table
from asr_kd.targets.sidecar import sidecar_path, write_sidecar
from asr_kd.targets.topk import select_top_k_batch
from asr_kd.teachers.inference import Inference, pad_waves

STAGE_SHARDS = 4
JOB_SECONDS = 8.0
"""Work that a measured job is given, at the rate of the bare forward pass: a GPU labels an hour in less than a second,
and start-up is taken off."""
MAX_COPIES = 400
CEILING_HOURS = 0.5
"""Audio of the bare forward pass."""


def labelling(setup: Setup, report: Report) -> dict[str, Any]:
    """Job and bare forward pass of the paper's teacher and the conformer, in each precision and by workers."""
    found: dict[str, Any] = {}
    peaks = report.figures.get("machine", {})
    for preset in ("teacher-tiny",) if setup.tiny else ("teacher-paper", "teacher-conformer"):
        path = setup.folder / preset
        save_model(path, random_teacher(preset, setup.classes), {"weights": "random"})
        for precision in setup.precisions:
            ceiling = _ceiling(setup, path, precision, peaks)
            best = max(found.values(), key=lambda result: result["ratio"])["workers"] if found else None
            for workers in _worker_counts(setup) if best is None else (best,):
                if time.monotonic() > setup.deadline:
                    break
                rate = _job_rate(setup, path, precision, workers, ceiling)
                found[f"{preset} {precision} {workers} workers"] = ceiling | {
                    "workers": workers,
                    "hours_per_second": rate,
                    "ratio": rate / ceiling["ceiling_hours_per_second"],
                }
                report.add(
                    f"label {preset:17} {precision:8} {workers:2} workers: job {rate:7.3f} h/s, bare forward "
                    f"{ceiling['ceiling_hours_per_second']:7.3f} h/s, ratio "
                    f"{rate / ceiling['ceiling_hours_per_second']:.3f}, "
                    f"forward at {100 * (ceiling['share_of_product'] or 0):.1f}% of the matrix product"
                )
    return found


def _worker_counts(setup: Setup) -> tuple[int, ...]:
    return (1,) if setup.tiny else tuple(n for n in (1, 4, 8, 16) if n <= setup.cores)


def _ceiling(setup: Setup, path: Path, precision: str, peaks: dict[str, Any]) -> dict[str, Any]:
    """The bare forward pass at its best batch size, features in the device's memory."""
    teacher = Inference(load_model(path), setup.device, precision)
    some, held_s = [], 0.0
    for shard in setup.shards:
        some.append(shard)
        held_s += shard.seconds
        if held_s >= CEILING_HOURS * 3600:
            break
    features = forward.read_features(some, teacher)
    sizes = (500, 2000) if setup.tiny else forward.TRIED_FRAMES_GPU
    best, tried = forward.find_best(teacher, features, sizes, [precision], [(1, setup.cores)])
    batches = forward.padded(features, best.frames_per_batch, setup.device)
    times = [forward.forward_seconds(teacher, batches, precision, setup.cores) for _ in range(3)]
    frames_per_s = sum(len(x_TF) for x_TF in features) / sorted(times)[1]
    flops, product = flops_per_frame(teacher.model), peaks.get(f"product_tflops_{precision}")
    # A recurrent network reads its weights at every step of time, which a cache may spare it.
    weights_bytes = sum(p.numel() for p in teacher.model.parameters()) * (2 if precision == "bf16" else 4)
    read_gb_per_s = weights_bytes * sum(x_BTF.shape[1] for x_BTF, _ in batches) / sorted(times)[1] / 1e9
    copy_gb_per_s = peaks.get("copy_gb_per_s")
    return {
        "ceiling_hours_per_second": frames_per_s * teacher.frontend.frame_shift_s / 3600,
        "frames_per_batch": best.frames_per_batch,
        "tried": tried,
        "flops_per_frame": flops,
        "weights_bytes": weights_bytes,
        "share_of_product": flops * frames_per_s / 1e12 / product if product else None,
        "share_of_bandwidth": read_gb_per_s / copy_gb_per_s if copy_gb_per_s else None,
    }


def _job_rate(setup: Setup, path: Path, precision: str, workers: int, ceiling: dict[str, Any]) -> float:
    """Hours per second of the labelling job: two runs, one with little audio, so that start-up falls out."""
    wanted_hours = (1 if setup.tiny else JOB_SECONDS) * ceiling["ceiling_hours_per_second"]
    count = min(MAX_COPIES, max(2, round(wanted_hours / setup.audio_hours)))
    longest = sorted(setup.shards, key=lambda shard: -shard.seconds)
    few = (longest * workers)[:workers]
    options = {"precision": precision, "workers": workers, "threads": max(1, setup.cores // workers)}
    taken, hours = [], []
    for name, chosen in (("few", few), ("many", [*few, *setup.shards * count])):
        folder = setup.folder / f"job-{path.name}-{precision}-{workers}-{name}"
        tars = copies(chosen, folder / "shards")
        started = time.perf_counter()
        _label(setup, path, tars, folder / "targets", **options)
        taken.append(time.perf_counter() - started)
        hours.append(sum(shard.seconds for shard in chosen) / 3600)
        shutil.rmtree(folder)
    if taken[1] <= taken[0]:
        raise ValueError(f"{path.name}: start-up hid the work of {hours[1]:.1f} h of audio; give more audio")
    return (hours[1] - hours[0]) / (taken[1] - taken[0])


def copies(shards: list[Shard], folder: Path) -> list[Path]:
    """The shards under new names, as links: so much audio needs no more room."""
    folder.mkdir(parents=True)
    made = []
    for number, shard in enumerate(shards):
        assert isinstance(shard.path, Path)
        tar = folder / f"shard-{number:06d}.tar"
        for source, target in ((shard.path, tar), (index_path(shard.path), index_path(tar))):
            try:
                os.link(source, target)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, target)
        made.append(tar)
    return made


def stages(setup: Setup, report: Report) -> dict[str, Any]:
    """Seconds that each step takes for an hour of audio, one after the other: one core, or the GPU.

    The cores that feed one GPU are the seconds of a core over the seconds of the GPU.
    """
    model = random_teacher("teacher-tiny" if setup.tiny else "teacher-paper", setup.classes)
    teacher = Inference(model, setup.device, setup.precisions[0])
    on, config, threads = setup.device, LabelConfig(), torch.get_num_threads()
    torch.set_num_threads(1)
    spent: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        synchronise(on)
        started = time.perf_counter()
        value = work()
        synchronise(on)
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - started
        return value

    shards = setup.shards[:STAGE_SHARDS]
    for shard in [shards[0], *shards]:  # the first warms up and is counted again below
        if shard is shards[0]:
            spent.clear()
        waves = timed("read and decode", lambda s=shard: [s.audio(row) for row in range(len(s.entries))])
        wave_BN, samples_B = timed("pad", lambda w=waves: pad_waves(w))
        with torch.inference_mode():
            timed("features on one core", lambda w=wave_BN, s=samples_B: teacher.frontend(w, s))
            x_BTF, frames_B = timed(
                "copy and features on the device", lambda w=wave_BN, s=samples_B: teacher.frontend(w.to(on), s)
            )
            log_p_BTC = timed("forward", lambda x=x_BTF, f=frames_B: teacher.log_posteriors(x, f))
            chosen = timed(
                "selection and copy", lambda p=log_p_BTC, f=frames_B: select_top_k_batch(p, f.cpu(), config.selection)
            )
        ids = [entry.id for entry in shard.entries]
        rows = [targets if targets is not None else "not finite" for targets in chosen]
        table = timed("coding", lambda i=ids, r=rows: encode_table(i, r, config.quantiser))
        description = {"kind": "posteriors", "shard": shard.digest}
        timed("writing", lambda t=table, d=description: write_sidecar(setup.folder / "stage.parquet", t, d))
    torch.set_num_threads(threads)
    hours = sum(shard.seconds for shard in shards) / 3600
    per_hour = {name: seconds / hours for name, seconds in spent.items()}
    on_device = ("copy and features on the device", "forward", "selection and copy")
    device_s = sum(per_hour[name] for name in on_device)
    core_s = sum(s for name, s in per_hour.items() if name not in (*on_device, "features on one core"))
    for name, seconds in per_hour.items():
        report.add(f"stage {name:32} {seconds:9.4f} s an hour of audio")
    report.add(f"cores that feed one device: {core_s / device_s:.1f} (features on the device)")
    return {
        "seconds_per_hour": per_hour,
        "cores_per_device": core_s / device_s,
        "gflop_per_frame": flops_per_frame(model) / 1e9,
    }


def same_bytes(setup: Setup, report: Report) -> dict[str, Any]:
    """Sidecars of two runs of the labelling job, byte by byte."""
    folder = setup.folder / "same-bytes"
    save_model(folder / "teacher", random_teacher("teacher-tiny", 41), {"weights": "random"})
    shards = setup.shards[:2]
    for run in ("first", "second"):
        _label(setup, folder / "teacher", [shard.path for shard in shards], folder / run)
    differing = [
        shard.path.name  # type: ignore[union-attr]
        for shard in shards
        if Path(sidecar_path(folder / "first", shard)).read_bytes()
        != Path(sidecar_path(folder / "second", shard)).read_bytes()
    ]
    if differing:
        report.wrong.append(f"sidecars differ between two runs: {', '.join(differing)}")
    report.add(f"sidecars of two runs: {'the same bytes' if not differing else 'DIFFER'} ({len(shards)} shards)")
    return {"differing": differing, "shards": len(shards)}


def lattices(setup: Setup, report: Report) -> dict[str, Any]:
    """The job of a trained teacher through lattices and without, hours of audio per second of all cores together."""
    if setup.teacher is None or setup.graph is None:
        report.add("lattices: no trained teacher and graph were given (the quick start makes them; then --prepare)")
        return {"skipped": "no trained teacher and graph"}
    shards = [shard.path for shard in setup.shards[: 2 if setup.tiny else 16]]
    hours = sum(shard.seconds for shard in setup.shards[: len(shards)]) / 3600
    found = {}
    for name, graph in (("plain", None), ("lattices", setup.graph)):
        started = time.perf_counter()
        workers = 1 if setup.tiny else setup.cores
        _label(setup, setup.teacher, shards, setup.folder / f"through-{name}", graph=graph, workers=workers)
        found[name] = hours / (time.perf_counter() - started)
        report.add(f"label, trained teacher, {name:9} {found[name]:.4f} h/s, start-up included")
    return {"hours_per_second": found, "hours": hours}


def _label(setup: Setup, teacher: Path, shards: list[Any], out: Path, **options: Any) -> None:
    """options: fields of LabelRun."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            label_shards(
                LabelRun(teacher=(str(teacher),), shards=tuple(shards), out=out, device=str(setup.device), **options)
            )
    except PartFailed as e:
        raise ValueError(f"asr-kd label: {e} {said.getvalue().strip()[-300:]}") from None


def lstm_kernels(setup: Setup, report: Report) -> dict[str, Any]:
    """Seconds of cuDNN's bidirectional LSTM, on packed and padded sequences, and of two directions run one by one."""
    cells, layers, batch, steps = (32, 2, 4, 50) if setup.tiny else (768, 5, 64, 400)
    on = setup.device
    both = torch.nn.LSTM(192, cells, layers, bidirectional=True).to(on).eval()
    widths = [192, *[2 * cells] * (layers - 1)]
    pairs = [tuple(torch.nn.LSTM(width, cells).to(on).eval() for _ in range(2)) for width in widths]
    x_TBF = torch.randn(steps, batch, 192, device=on)
    frames_B = torch.linspace(steps // 2, steps, batch).long()
    packed = torch.nn.utils.rnn.pack_padded_sequence(x_TBF, frames_B, enforce_sorted=False)
    found = {}

    def two_directions() -> None:
        h_TBF = x_TBF
        for forwards, backwards in pairs:
            h_TBF = torch.cat([forwards(h_TBF)[0], backwards(h_TBF.flip(0))[0].flip(0)], -1)

    for precision in setup.precisions:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        with torch.inference_mode(), torch.autocast(on.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            found[precision] = {
                "packed_s": seconds_of(on, lambda: both(packed)),
                "padded_s": seconds_of(on, lambda: both(x_TBF)),
                "two_directions_s": seconds_of(on, two_directions),
            }
        report.add(
            f"LSTM {layers} x {cells}, {batch} utterances of {steps // 2} to {steps} frames, {precision:8} packed "
            + "{packed_s:.4f} s, padded {padded_s:.4f} s, two directions {two_directions_s:.4f} s".format(
                **found[precision]
            )
        )
    return found
