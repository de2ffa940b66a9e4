"""Tokens: the fence of a claim, ``<worker>-<number>:<seq>``. The scripts make and read them in lua/parts/tokens.lua."""

from __future__ import annotations


def make_token(slot: str, seq: int) -> str:
    """The token of a slot's claim."""
    return f"{slot}:{seq}"


def worker_of(token: bytes) -> str | None:
    """The worker that a token names; None for what is no token."""
    return token.decode(errors="replace").rpartition("-")[0] or None
