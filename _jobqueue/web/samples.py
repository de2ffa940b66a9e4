"""What metrics are made of, before they become text."""

from __future__ import annotations

from collections.abc import Iterator

from _jobqueue.histograms import BUCKETS_MS, Counts

Sample = tuple[dict[str, str], float]  # its labels; among them a suffix of the family's name
Family = tuple[str, str, str, list[Sample]]  # name, kind, help, samples


def histogram(labels: dict[str, str], counts: Counts, kind: str) -> Iterator[Sample]:
    """Of durations in ms, told in seconds. ``kind``: wait or run."""
    seen = 0
    for bound in (*BUCKETS_MS, "inf"):
        seen += counts.get(f"{kind}:{bound}", 0)
        edge = "+Inf" if isinstance(bound, str) else f"{bound / 1000:g}"
        yield {"suffix": "_bucket", **labels, "le": edge}, seen
    yield {"suffix": "_sum", **labels}, counts.get(f"{kind}:sum", 0) / 1000
    yield {"suffix": "_count", **labels}, seen
