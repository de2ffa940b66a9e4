"""Everything at once, by chance: ``python -m tests.faults.chaos --seconds 60 --seed 7`` prints a verdict, and exits 1 when
it is bad. All capabilities are used (``tests/faults/mix``) while two threads each keep choosing one of the incidents, so that
two faults meet. A seed repeats the choices."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.mix.incidents import Hand, Scene
from tests.faults.mix.pair import Pair
from tests.faults.mix.record import has_postgres
from tests.faults.mix.whole import Whole
from tests.faults.rows_of_redis import with_movable_clock
from tests.faults.stage import Verdict

RATE = 20.0  # plain jobs a second; workflows, schedules and the outbox make some more


def run(
    seconds: float, seed: int, fsync: str = "always", *, record: str = "", rate: float = RATE, keep: str = ""
) -> tuple[Verdict, dict[str, Any]]:
    """Play so long, settle and judge. The verdict holds what went wrong on the way, too; beside it, what happened how often.

    Redis syncs each write. With everysec it may keep writes to itself while the disk is busy, and lose them when it is
    killed: here only our own losses count. ``keep``: a folder for the files of a bad end."""
    pair = Pair("--appendfsync", fsync)
    kind = record or ("postgresql" if has_postgres() and seed % 2 else "sqlite")
    whole = Whole(seed, pair, kind, programs=with_movable_clock)
    try:
        stage = whole.stage
        stage.producer.every_s = 4 / rate  # four threads

        def moved(port: int) -> None:
            for actor in stage.actors:
                actor.proxy.upstream = port
                actor.proxy.cut()

        pair.moved = moved
        scene = Scene(stage, whole.record)
        whole.start()
        until = time.monotonic() + seconds
        hands = [threading.Thread(target=Hand(scene, f"{seed}/{n}").go_on, args=(until,)) for n in range(2)]
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join()
        verdict, notes = whole.judge(whole.settle())
        verdict.violations += scene.wrong
        if keep and not verdict.good:
            whole.keep(Path(keep))
        return verdict, dict(sorted(scene.happened.items())) | notes
    finally:
        whole.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: by chance")
    parser.add_argument("--rate", type=float, default=RATE, help="plain jobs a second, default %(default)s")
    parser.add_argument(
        "--fsync", choices=["always", "everysec"], default="always", help="how often Redis does, default %(default)s"
    )
    parser.add_argument(
        "--record",
        choices=["sqlite", "postgresql"],
        default="",
        help="where the record is; default: PostgreSQL where it is installed and the seed is odd",
    )
    parser.add_argument("--keep", default="", metavar="FOLDER", help="copy the files of a bad end there")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.seconds:g} s, appendfsync {options.fsync}", flush=True)
    more = {"record": options.record, "rate": options.rate, "keep": options.keep}
    verdict, notes = run(options.seconds, options.seed, options.fsync, **more)
    print("; ".join(f"{name}: {value}" for name, value in notes.items()))
    print(verdict)
    print("\n".join(verdict.violations))
    print("PASS" if verdict.good else "FAIL")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that everything it started is ended
    sys.exit(main())
