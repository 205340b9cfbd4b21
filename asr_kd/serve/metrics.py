"""What the server counts, in the text format that Prometheus reads."""

from dataclasses import dataclass, field

LATENCY_BUCKETS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


@dataclass
class Metrics:
    """Since the server started."""

    streams: int = 0
    """That are open now, those of files too."""
    streams_total: int = 0
    audio_seconds: float = 0.0
    work_seconds: float = 0.0
    rejected_total: int = 0
    """Requests that were refused for a fault of the client or a limit."""
    errors_total: int = 0
    """Streams that failed for a fault of the server."""
    final_latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_S) + 1))
    """How many final results came within each of LATENCY_BUCKETS_S, or later."""
    final_latency_seconds: float = 0.0

    def add_final(self, seconds: float) -> None:
        """A final result was sent so long after the audio, or the end of the stream, that completed it came in."""
        self.final_latency[sum(seconds > limit for limit in LATENCY_BUCKETS_S)] += 1
        self.final_latency_seconds += seconds

    def text(self) -> str:
        """All of it."""
        lines = ["# TYPE asr_kd_streams gauge", f"asr_kd_streams {self.streams}"]
        for name in ("streams_total", "audio_seconds", "work_seconds", "rejected_total", "errors_total"):
            whole = f"asr_kd_{name.removesuffix('_total')}_total"
            lines += [f"# TYPE {whole} counter", f"{whole} {getattr(self, name):g}"]
        lines.append("# TYPE asr_kd_final_latency_seconds histogram")
        seen = 0
        for limit, count in zip([*map(str, LATENCY_BUCKETS_S), "+Inf"], self.final_latency, strict=True):
            seen += count
            lines.append(f'asr_kd_final_latency_seconds_bucket{{le="{limit}"}} {seen}')
        lines += [f"asr_kd_final_latency_seconds_sum {self.final_latency_seconds:g}"]
        lines += [f"asr_kd_final_latency_seconds_count {seen}"]
        return "\n".join(lines) + "\n"
