"""Plays rows of the fault table and prints it: ``python -m tests.faults.table --seconds 60`` (all), ``F1 F7`` (those)."""

from __future__ import annotations

import argparse
import random
import sys

from tests.faults.rows import ROWS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="row", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seconds", type=float, default=20, help="that each fault goes on (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    failed = []
    print(f"seed {options.seed}\n\n| | fault | injected | jobs | runs | wrong | also |\n|---|---|---|---|---|---|---|")
    for name in options.rows:
        row = ROWS[name]
        verdict, passed = row.play(options.seconds, options.seed)
        mark = "" if passed else " **FAILED**"
        print(
            f"| {name}{mark} | {row.fault} | {row.injected} | {verdict.acked} | {verdict.runs} | {verdict.wrong} | {verdict.also} |",
            flush=True,
        )
        if not passed:
            failed.append(name)
            print("\n".join(verdict.violations[:20]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
