"""What the system must survive, done to it. ``make faults`` plays everything; the tests alone play a part of it, in minutes."""

import os
from typing import Any

ALL = os.environ.get("FAULTS") == "all"


def cases(usual: list[Any], more: list[Any]) -> list[Any]:
    """What a test is parametrized with: all of it under FAULTS=all."""
    return usual + more if ALL else usual
