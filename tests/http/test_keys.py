"""API keys as text: what API_KEYS may hold."""

from __future__ import annotations

import pytest

from _jobqueue.keys import new_key, new_key_says, parse_keys
from tests.harness import System


def test_a_file_with_what_was_printed_lets_the_keys_in(system: System) -> None:
    said = [new_key_says("billing", "submit"), new_key_says("ops-1", "admin")]
    billing, ops = (text.splitlines()[1].strip() for text in said)
    system.api(API_KEYS="\n".join(said) + "\n")
    for key, status in ((billing, 403), (ops, 404), ("billing", 401)):
        assert system.post("/queues/unused/pause", Authorization=f"Bearer {key}").status_code == status


def test_entries_may_stand_one_a_line() -> None:
    entries = [new_key(name, "read")[1] for name in ("me", "you", "me")]
    assert parse_keys("\n".join(entries) + "\n\n") == parse_keys(",".join(entries))
    assert [key.name for key in parse_keys(f"{entries[0]},\n{entries[1]}".replace(",\n", " ,  "))] == ["me", "you"]


def test_only_what_was_printed_may_stand_around_an_entry() -> None:
    (key, entry), (other, _) = new_key("me", "read"), new_key("me", "read")
    assert len(parse_keys(f"{key}\n{entry}")) == 1
    for text in (
        "",
        "\n",
        key,
        f"{other}\n{entry}",
        f"hello\n{entry}",
        f"{entry},",
        f"Add this:\n{entry}",
        f"{entry}\nx:",
    ):
        with pytest.raises(ValueError, match="must be name:scope:sha256") as error:
            parse_keys(text)
        assert key not in str(error.value) and "hello" not in str(error.value)
