"""The last ten minutes of File Replication Requests: an SVG polyline drawn here, and a table of the same."""

from __future__ import annotations

from dataclasses import dataclass

WIDTH, HEIGHT = 300, 64
SPAN_US = 600_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The backlog at an instant; None while it was unknown."""

    at_us: int
    requests: int | None


@dataclass(frozen=True, slots=True)
class Chart:
    """`lines` are SVG `points`, one per stretch of known values; `minutes` are rows (minutes ago, highest)."""

    lines: tuple[str, ...]
    areas: tuple[str, ...]
    top: int
    minutes: tuple[tuple[int, int | None], ...]
    width: int = WIDTH
    height: int = HEIGHT


def chart(samples: tuple[Sample, ...], now_us: int) -> Chart:
    """Draw what lies within ten minutes before `now_us`; samples are in order of time."""
    recent = [sample for sample in samples if now_us - SPAN_US <= sample.at_us <= now_us]
    top = max((sample.requests or 0 for sample in recent), default=0)
    stretches = _stretches(recent)
    lines = tuple(" ".join(_point(sample, now_us, top) for sample in stretch) for stretch in stretches)
    areas = tuple(_area(stretch, now_us, top) for stretch in stretches)
    return Chart(lines, areas, top, _minutes(recent, now_us))


def _stretches(samples: list[Sample]) -> list[list[Sample]]:
    """Split at unknown values: a gap in knowledge is a gap in the line."""
    found: list[list[Sample]] = [[]]
    for sample in samples:
        if sample.requests is None:
            found.append([])
        else:
            found[-1].append(sample)
    return [stretch for stretch in found if stretch]


def _x(sample: Sample, now_us: int) -> float:
    return WIDTH * (1 - (now_us - sample.at_us) / SPAN_US)


def _point(sample: Sample, now_us: int, top: int) -> str:
    y = HEIGHT - 2 - (HEIGHT - 6) * (sample.requests or 0) / max(top, 1)
    return f"{_x(sample, now_us):.1f},{y:.1f}"


def _area(stretch: list[Sample], now_us: int, top: int) -> str:
    left, right = _x(stretch[0], now_us), _x(stretch[-1], now_us)
    inside = " ".join(_point(sample, now_us, top) for sample in stretch)
    return f"{left:.1f},{HEIGHT} {inside} {right:.1f},{HEIGHT}"


def _minutes(samples: list[Sample], now_us: int) -> tuple[tuple[int, int | None], ...]:
    """The highest known value of each of the ten minutes, the latest first; None where nothing is known."""
    highest: dict[int, int] = {}
    for sample in samples:
        minute = min(9, (now_us - sample.at_us) // 60_000_000)
        if sample.requests is not None:
            highest[minute] = max(highest.get(minute, 0), sample.requests)
    return tuple((minute, highest.get(minute)) for minute in range(10))
