"""The rows of the fault table that need the whole system under load."""

from __future__ import annotations

import re

from tests.faults import (
    rows_of_data,
    rows_of_fairness,
    rows_of_http_workers,
    rows_of_limits,
    rows_of_network,
    rows_of_processes,
    rows_of_redis,
    rows_of_types,
    rows_of_webhooks,
)
from tests.faults.row import ADDED, Row

__all__ = ["ROWS"]


def _number(row: Row) -> tuple[int, str]:
    found = re.fullmatch(r"F(\d+)(\w*)", row.name)
    assert found
    return int(found[1]), found[2]


_ROOMS = (
    rows_of_processes,
    rows_of_network,
    rows_of_redis,
    rows_of_data,
    rows_of_types,
    rows_of_fairness,
    rows_of_http_workers,
    rows_of_limits,
    rows_of_webhooks,
)  # each adds its rows
ROWS = {row.name: row for row in sorted(ADDED, key=_number)}
