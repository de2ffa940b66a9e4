"""Memory that a process has used and gives back."""

from __future__ import annotations

import os

ARENAS = 2
LARGE_BYTES = 64 * 1024  # a block from here on is given back to the system when it is freed
TRIM_BYTES = 1024 * 1024  # as is what is free at the end of the first arena

# malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def give_memory_back() -> None:
    """Call it before any thread starts. glibc would keep an arena for each thread that has ever handled a large body. It
    would learn from the first large block to keep the next ones. Does nothing where there is no mallopt, nor against the environment."""
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError):
        return
    for variable, option, value in (
        ("MALLOC_ARENA_MAX", M_ARENA_MAX, ARENAS),
        ("MALLOC_MMAP_THRESHOLD_", M_MMAP_THRESHOLD, LARGE_BYTES),
        ("MALLOC_TRIM_THRESHOLD_", M_TRIM_THRESHOLD, TRIM_BYTES),
    ):
        if variable not in os.environ:
            mallopt(option, value)
