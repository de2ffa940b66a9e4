"""Workers that speak HTTP, beside those in Python."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.http_worker import COUNTS
from tests.faults.row import reaped, repeated, row
from tests.faults.stage import PREFIX, Actor, Stage

SCRIPT = "tests/faults/http_worker.py"


def add_http_workers(stage: Stage, counts: Path) -> list[Actor]:
    """Two that behave badly, and the examples whose languages are installed."""
    flags = ("--api", f"http://127.0.0.1:{stage.port}")
    environment = stage.ledger.environment | {COUNTS: str(counts)}
    languages = [name for name, tool in (("javascript", "node"), ("go", "go")) if shutil.which(tool)]
    more = [[], [], *(["--language", name] for name in languages)]
    return [stage.add(SCRIPT, *flags, *each, **environment) for each in more]


@row(
    "F75",
    "workers over HTTP lose answers and repeat requests, hang up while they wait, settle twice, extend what they have lost",
    "5 % of the answers; beside it kill -9 of one every second, in JavaScript and Go too, and of the API every 4 s",
    expects=lambda verdict: verdict.notes["answers lost"] > 0,
)
def http_workers(stage: Stage, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        counts.touch()
        others = add_http_workers(stage, counts)
        stage.workers[0].kill()  # so that they have more to do
        turns = 0

        def strike() -> None:
            nonlocal turns
            turns += 1
            stage.rng.choice(others).restart()
            if turns % 4 == 0:
                stage.api.restart()

        kills = repeated(stage, seconds, 1.0, strike)
        stage.workers[0].start()
        stage.wait(1.0)
        for other in others:
            assert other.program.stop(30) == 0
        totals = stage.server.client.hgetall(f"{PREFIX}totals")
        told = Counter(counts.read_text().splitlines())
    return {
        "kills": kills,
        **dict(sorted(told.items())),
        "taken back": reaped(stage),
        "released": totals.get("released", 0),
    }
