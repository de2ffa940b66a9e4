"""The scripts as text: each names the parts that it needs, and what must have one place has one place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from _jobqueue.pieces import MAX_IN_PIECES_BYTES, PIECE_BYTES
from _jobqueue.records import PRIORITY_STEP
from _jobqueue.store.scripts import CONSTANT, Script

FILES = {str(path.relative_to(Script.folder)): path.read_text() for path in Script.folder.rglob("*.lua")}
SCRIPTS = sorted(name.removesuffix(".lua") for name in FILES if "/" not in name)
PARTS = {name.removeprefix("parts/").removesuffix(".lua"): text for name, text in FILES.items() if "/" in name}

# Where a status or a key is not written out, and why the place is right all the same.
STATUS_WRITES = {
    (
        "parts/ends.lua",
        "call('HSET', key('job:' .. job.id), 'status', status, 'finished', now_text, ...)",
    ): "`ended` itself",
    (
        "repair.lua",
        "call('HSET', key('job:' .. job.id), 'status', status)",
    ): "what has failed returns before, to `ended`",
}
INDEX_WRITES = {
    ("parts/ends.lua", "call('ZADD', key(status), unpack(list))"): "writes what `ended` has gathered",
    ("repair.lua", "call('ZADD', key(index), score, job.id)"): "puts an id back into the index that its hash names",
    ("trim.lua", "call('ZADD', key(index), unpack(read))"): "stays where it stands, to be looked at later",
    ("rung.lua", "call('ZADD', prefix .. 'kits', now, kit)"): "kits, of several queues",
    ("rung.lua", "call('ZADD', prefix .. 'workers', 'XX', now, ARGV[i])"): "workers, of several queues",
}
REMOVALS = {
    ("parts/leases.lua", "call('ZREM', key('leases'), unpack(ids))"): "`left_processing` itself",
    ("reap.lua", "call('ZREM', key('leases'), unpack(stale))"): "stale ids: their hashes are not in processing",
    ("lower.lua", "call('ZREM', key('leases'), id)"): "the next line writes the lease again, with an earlier end",
    ("stop.lua", "call('ZREM', key('leases'), id)"): "the same",
    ("repair.lua", "call('ZREM', key(index), job.id)"): "the branch before it has the leases",
    ("delete.lua", "call('ZREM', key(INDEX[answers[i]] or 'failed'), id)"): "any status but processing",
    ("retry.lua", "call('ZREM', key(job.status), job.id)"): "failed or cancelled",
    ("trim.lua", "call('ZREM', key(index), unpack(gone))"): "done, failed or cancelled",
    ("cancel.lua", "call('ZREM', key(answers[i]), id)"): "scheduled or blocked",
}
# Commands that could move an id past the two that are looked for.
UNSEEN = "ZINCRBY ZPOPMIN ZPOPMAX BZPOPMIN BZPOPMAX ZMPOP BZMPOP ZRANGESTORE ZUNIONSTORE ZINTERSTORE ZDIFFSTORE "
UNSEEN += "ZREMRANGEBYSCORE ZREMRANGEBYRANK ZREMRANGEBYLEX HMSET HSETNX RENAME RENAMENX COPY MOVE RESTORE SORT"


class Call(NamedTuple):
    file: str
    text: str
    arguments: list[str]

    @property
    def command(self) -> str:
        return self.arguments[0].strip("'")

    @property
    def key(self) -> str | None:
        """The beginning of the key's name; None where it is computed."""
        named = re.match(r"(?:key\(|KEYS\[1\] \.\. )'([^']*)'", self.arguments[1])
        return named[1] if named else None


def code_of(text: str) -> str:
    return re.sub(r"--.*", "", text)


def arguments_at(code: str, start: int) -> tuple[list[str], int]:
    """The arguments behind the parenthesis at ``start``, and where they end."""
    depth, at, arguments = 0, start, [""]
    for token in re.finditer(r"'[^']*'|.", code[start:], re.DOTALL):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(token[0], 0)
        at += len(token[0])
        if depth == 0:
            break
        if token[0] == "," and depth == 1:
            arguments.append("")
        elif token.start():
            arguments[-1] += token[0]
    return [argument.strip() for argument in arguments], at


def calls() -> Iterator[Call]:
    for file, text in sorted(FILES.items()):
        code = code_of(text)
        for found in re.finditer(r"\bcall\(", code):
            arguments, end = arguments_at(code, found.end() - 1)
            yield Call(file, code[found.start() : end], arguments)


def found(*of: Call) -> set[tuple[str, str]]:
    return {(call.file, re.sub(r"\s+", " ", call.text)) for call in of}


def status_written_by(call: Call) -> str | None:
    at = call.arguments.index("'status'") if "'status'" in call.arguments else None
    return call.arguments[at + 1] if at else None


def defined_in(text: str) -> set[str]:
    functions = re.findall(r"^local function (\w+)", text, re.MULTILINE)
    locals_ = re.findall(r"^local ([\w, ]+) =", code_of(text), re.MULTILINE)
    return {*functions, *(name.strip() for names in locals_ for name in names.split(","))}


def uses(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.:])[A-Za-z_]\w*", re.sub(r"'[^']*'", "", code_of(text))))


def needs(script: str) -> list[str]:
    first = FILES[f"{script}.lua"].splitlines()[0]
    return first.removeprefix("-- needs: ").split() if first.startswith("-- needs: ") else []


def called(script: str) -> list[str]:
    """Scripts that stand in front of this one as functions, with their parts."""
    line = re.search(r"^-- calls: (.+)$", FILES[f"{script}.lua"], re.MULTILINE)
    return line[1].split() if line else []


def test_calls_are_found_with_their_arguments() -> None:
    assert len(list(calls())) > 150
    code = "call('HSET', key('job:' .. id), 'status', f(a, { b }), ...)"
    assert arguments_at(code, 4)[0] == ["'HSET'", "key('job:' .. id)", "'status'", "f(a, { b })", "..."]


def test_status_of_an_ended_job_is_written_in_one_place() -> None:
    written = [c for c in calls() if c.command == "HSET" and status_written_by(c)]
    open_ = {"'queued'", "'scheduled'", "'blocked'", "'processing'"}
    assert found(*(call for call in written if status_written_by(call) not in open_)) == STATUS_WRITES.keys()


def test_indexes_of_ended_jobs_are_written_in_one_place() -> None:
    elsewhere = {
        "queue",
        "held",
        "lane:",
        "lanes",
        "scheduled",
        "leases",
        "workers",
        "kits",
        "kit:",
        "tag:",
        "kind:",
        "counted",
        "schedules",
    }
    elsewhere |= {"blocked", "then:", "ends", "stuck", "expires", "turns"}
    elsewhere |= {"limited", "shut", "group:", "groups:"}
    elsewhere |= {"deliveries", "calls:"}
    elsewhere |= {"unsaved"}  # of the record, which no transition reads
    added = [call for call in calls() if call.command == "ZADD" and call.key not in elsewhere]
    assert found(*added) == INDEX_WRITES.keys()


def test_jobs_leave_processing_in_one_place() -> None:
    removed = [call for call in calls() if call.command == "ZREM" and call.key in (None, "leases")]
    assert found(*removed) == REMOVALS.keys()


def test_no_other_command_could_end_a_job() -> None:
    assert {call.command for call in calls()} & set(UNSEEN.split()) == {"HSETNX", "RENAME"}
    renamed = [(call.file, *call.arguments[1:]) for call in calls() if call.command == "RENAME"]
    assert renamed == [("parts/erase.lua", "key('job:' .. id)", "key('gone:' .. id)")]
    set_once = {(call.key, call.arguments[2]) for call in calls() if call.command == "HSETNX"}
    assert set_once == {("slots", "slot"), ("job:", "'cancel'"), ("types", "ARGV[i]"), ("meta", "'gates'")}
    assert all(call.arguments[0].startswith("'") or call.file == "page.lua" for call in calls()), "computed commands"


def test_tokens_are_read_and_made_in_one_place() -> None:
    patterns = {
        name for name, text in FILES.items() if re.search(r"'\^?\(?\.\*\)?(:|%-)|':\(|\.\. ':' \.\.", code_of(text))
    }
    assert patterns == {"parts/tokens.lua"}


@pytest.mark.parametrize("once", ["2 ^ 43", "TIMEOUT_GRACE_MS = ", "KINDS_KEPT", "IDEMPOTENCY_MS = "])
def test_constants_stand_in_one_file(once: str) -> None:
    assert sum(once in code_of(text) for text in FILES.values()) == 1


def test_constants_of_both_languages_agree() -> None:
    most = MAX_IN_PIECES_BYTES // PIECE_BYTES
    assert f"for piece = 1, {most - 1} do" in FILES["retry.lua"]
    assert PRIORITY_STEP == 2**43


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_names_the_parts_that_it_needs_and_no_other(script: str) -> None:
    parts, used = needs(script), uses(FILES[f"{script}.lua"])
    for at, part in reversed(list(enumerate(parts))):
        assert defined_in(PARTS[part]) & used, f"nothing needs {part}"
        used |= uses(PARTS[part])
        for other, text in PARTS.items():
            if other not in parts[:at] and other != part:
                assert not defined_in(text) & uses(PARTS[part]), f"{part} needs {other} before it"
    for part in PARTS.keys() - parts:
        assert not defined_in(PARTS[part]) & used - defined_in(FILES[f"{script}.lua"]), f"needs {part}"


def test_script_that_stands_in_another_brings_its_parts() -> None:
    assert {script: called(script) for script in SCRIPTS if called(script)} == {
        "claim": ["exchange"],
        "finish": ["exchange"],
        "fire": ["submit"],
        "operate": ["cancel", "retry", "run"],
    }
    text = Script("fire").text
    for part in {*needs("submit"), *needs("fire")}:
        constants = {name for name, _ in CONSTANT.findall(PARTS[part])}
        assert not constants & uses(text), "their values stand there"
        for name in defined_in(PARTS[part]) - constants:
            assert len(re.findall(rf"^local (?:function )?{name}\b|^local .*\b{name}\b.*=", text, re.MULTILINE)) == 1
    for name in defined_in(PARTS["fair"]):  # seldom needed
        assert f"{name} = {name}" in text and f"seldom().{name}(" in text
    assert text.count("\nlocal function submit(ARGV)\n" + FILES["submit.lua"].split("\n")[0]) == 1


def test_every_part_is_needed() -> None:
    assert {part for script in SCRIPTS for part in needs(script)} == PARTS.keys()


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_opens_with_its_contract(script: str) -> None:
    head = re.match(r"(?:-- .*\n)+", FILES[f"{script}.lua"])
    assert head
    assert re.search(r"^-- KEYS  1 ", head[0], re.MULTILINE) and re.search(r"[Rr]eturns", head[0])
    assert "ARGV" in head[0] or script == "kinds"


def test_folder_holds_scripts_and_parts_alone() -> None:
    assert {path.suffix for path in Path(Script.folder).rglob("*") if path.is_file()} == {".lua"}
