"""Plays what README and docs show, as it stands there: ``python -m tests.readme README.md docs/limits.md``.

A page is played from top to bottom in one shell, beside one ``run.py`` on ports of its own. What a page says is printed stands in the
block behind the commands, behind ``# →``, or below a line that begins with ``$``. It must be printed so, but for ids and times; ``...``
stands for anything. The same id of the page is always the same id of the run. A command that only looks is repeated for a while, as a
reader would."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.harness import ROOT, Program, free_port

# Where it is tried what is not played here, by page and the beginning of a line of the block.
ELSEWHERE = {
    ("CONTRIBUTING.md", "git clone"): ".ci/run",
    ("CONTRIBUTING.md", ".venv/bin/python -m pytest"): "tests/processes/test_documents.py",
    ("README.md", "API=http"): "tests/processes/test_examples.py",
    ("docs/handlers.md", "pip install"): "tests/library/test_wheel.py",
    ("docs/handlers.md", "<your venv>"): "tests/library/test_wheel.py",
    ("docs/http.md", "python loadtest.py"): "tests/processes/test_loadtest.py",
    ("docs/operations.md", "python api.py --new-key"): "tests/processes/test_documents.py",
    ("docs/operations.md", "ALLOWED_HOSTS="): "tests/http/test_security.py",
    ("docs/record.md", "python history.py"): "tests/processes/test_history.py",
    ("docs/record.md", "python outbox.py"): "tests/processes/test_outbox.py",
    ("docs/upgrade.md", "python jobqueue.py migrate"): "tests/faults/test_upgrade.py",
    ("docs/webhooks.md", "export WEBHOOK_SECRETS"): "tests/http/test_webhooks_over_http.py",
    ("docs/your-project.md", ""): "tests/processes/test_your_project.py",
    ("examples/drip/README.md", ""): "tests/processes/test_example_applications.py",
    ("examples/go/README.md", ""): "tests/processes/test_examples.py",
    ("examples/javascript/README.md", ""): "tests/processes/test_examples.py",
    ("examples/shell/README.md", ""): "tests/processes/test_examples.py",
    ("examples/sync/README.md", ""): "tests/processes/test_example_applications.py",
    ("examples/thumbnails/README.md", ""): "tests/processes/test_example_applications.py",
}
BY_HAND = re.compile(r"(\w+=\S+ )*make |docker |pip ")  # what sets up or never ends
PROGRAM = re.compile(r"python (api|worker|reaper|history)\.py")
READY = re.compile("listening|ready|starting|keeping")
LONGEST_S = 60  # of one command
LOOK = re.compile(r"curl -si? (?!.* -(?:[dX]|-data\S*) )|sqlite3 ", re.DOTALL)
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
ASIDE = {
    "any": r"\.\.\.|…",
    "id": ID,
    "time": r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|[+-]\d\d:\d\d)",
    "worker": r"\b[\w-]{22}\b",
    "lease": r"(?<=timeout_s)\W+10\.0",  # PROCESSING_TIMEOUT_S, which is shorter here
    "blanks": r" {2,}",
}
STANDS_FOR = {"any": ".*", "blanks": " +", "worker": r"[\w-]{22}", "lease": r"\W+3\.0"}


class Block(NamedTuple):
    page: str
    line: int
    kind: str
    text: str
    printed: str  # what the block behind it says


class Wrong(AssertionError):
    """A page does not say what happens."""


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = list(re.finditer(r"^```(\w*)\n(.*?)^```\n", text, re.MULTILINE | re.DOTALL))
    made = []
    for at, block in enumerate(found):
        after = found[at + 1] if at + 1 < len(found) else None
        follows = after and after[1] in ("", "json") and after.start() == block.end()
        line = text.count("\n", 0, block.start()) + 2
        made.append(Block(page, line, block[1], block[2], after[2] if after and follows else ""))
    return made


def elsewhere(block: Block) -> str:
    """The test that tries this block instead."""
    for (page, begin), test in ELSEWHERE.items():
        if page == block.page and any(line.startswith(begin) for line in block.text.splitlines()):
            return test
    return ""


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command, and what it prints where that is said with it."""
    if block.text.startswith("$ "):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed
        return
    lines: list[str] = []
    for line in block.text.splitlines():
        lines.append(line)
        whole = "\n".join(lines)
        if not line.endswith("\\") and _is_whole(whole):
            command, _, printed = whole.partition("# → ")
            yield command, printed
            lines = []
    if lines:
        raise Wrong(f"{block.page}:{block.line}: no whole command: {lines}")


def _is_whole(text: str) -> bool:
    looked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    return looked.returncode == 0 and not looked.stderr  # it only warns of a here-document without an end


class Reader:
    """Somebody who types a page."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.ids: dict[str, str] = {}
        self.programs: list[tuple[str, Program]] = []
        self.shell: Any = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def close(self) -> None:
        for _, program in self.programs:
            program.kill()
        self.shell.stdin.close()
        self.shell.wait(30)

    def types(self, command: str) -> str:
        """What the command prints."""
        for shown, actual in self.ids.items():
            command = command.replace(shown, actual)
        for shown, name in (
            ("localhost:8000", "API"),
            ("127.0.0.1:8000", "API"),
            ("redis://localhost:6379/0", "REDIS_URL"),
        ):
            command = command.replace(shown, self.environment[name])
        self.shell.stdin.write(f"{{ {command}\n}} </dev/null\necho; echo ':played:'\n")
        self.shell.stdin.flush()
        lines = []
        late = threading.Timer(LONGEST_S, os.killpg, (self.shell.pid, signal.SIGKILL))
        late.start()
        try:
            for line in self.shell.stdout:
                if line == ":played:\n":
                    return "".join(lines).strip()
                lines.append(line)
        finally:
            late.cancel()
        raise Wrong(f"the shell has ended, or it takes too long: {command}\n{''.join(lines)}")

    def plays(self, block: Block) -> None:
        if block.kind == "python":
            done = subprocess.run(
                [sys.executable, "-"],
                input=block.text.replace("redis://localhost:6379/0", self.environment["REDIS_URL"]),
                cwd=self.folder, env=self.environment, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode:
                raise Wrong(f"{block.page}:{block.line}: {done.stderr}")
            return
        todo = [(command, printed) for command, printed in commands(block) if not BY_HAND.match(command)]
        answers = block.printed.splitlines()
        one_each = len(answers) == len(todo) and all(command.startswith("curl ") for command, _ in todo)
        for at, (command, printed) in enumerate(todo):
            if one_each:
                printed = printed or answers[at]
            elif at == len(todo) - 1:
                printed = printed or block.printed
            self.plays_one(f"{block.page}:{block.line}", command, printed.strip())
        self.stops()

    def plays_one(self, place: str, command: str, printed: str) -> None:
        if PROGRAM.match(command):
            self.programs.append((f"{place}: {command}", self.starts(command)))
            return
        deadline = time.monotonic() + 30
        while True:
            said = self.types(command)
            if not printed or self.recognizes(printed, said):
                break
            if not LOOK.match(command) or time.monotonic() > deadline:
                raise Wrong(f"{place}: {command}\n--- shown:\n{printed}\n--- printed:\n{said}")
            time.sleep(0.05)
        if (
            re.search(r"command not found|Traceback|^curl: \(|problems/|\"status\": 4\d\d", said, re.MULTILINE)
            and not printed
        ):
            raise Wrong(f"{place}: {command}\n{said}")

    def recognizes(self, shown: str, said: str) -> bool:
        """Whether this is what the page shows. Ids that it shows are known from then on."""
        parts, new, at = list[str](), list[str](), 0
        for found in re.finditer("|".join(f"(?P<{name}>{what})" for name, what in ASIDE.items()), shown):
            parts.append(re.escape(shown[at : found.start()]))
            at = found.end()
            if found.lastgroup == "id" and found[0] in self.ids:
                parts.append(self.ids[found[0]])
            elif found.lastgroup == "id":
                parts.append(f"({ID})")
                new.append(found[0])
            else:
                parts.append(STANDS_FOR.get(str(found.lastgroup)) or ASIDE[str(found.lastgroup)])
        parts.append(re.escape(shown[at:]))
        match = re.fullmatch("".join(parts), said, re.DOTALL)
        if match:
            self.ids.update(zip(new, match.groups(), strict=True))
        return match is not None

    def starts(self, command: str) -> Program:
        """One of the programs, beside those of `make run`."""
        environment = {**self.environment, "API_PORT": str(free_port())}
        words = shlex.split(command, comments=True)
        return Program([str(ROOT / words[1]), *words[2:]], environment, self.folder)

    def stops(self) -> None:
        """Each program must have got ready, and stop when it is told to."""
        deadline = time.monotonic() + 30
        try:
            for _, program in self.programs:
                while not READY.search(program.log) and program.process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                program.signal(signal.SIGTERM)
            for place, program in self.programs:
                if program.process.wait(30) or not READY.search(program.log):
                    raise Wrong(f"{place}\n{program.log}")
        finally:
            for _, program in self.programs:
                program.kill()
                program.path.unlink()
            self.programs.clear()


@contextmanager
def running(**environment: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """`make run` in a folder that looks like the clone: it, and what a shell in it knows."""
    folder = Path(tempfile.mkdtemp(prefix="jobqueue-readme-"))
    for entry in ROOT.iterdir():
        if entry.name != "data":
            (folder / entry.name).symlink_to(entry)
    modules = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for name, text in modules:
        (folder / f"{name}.py").write_text(text)
    api, redis = free_port(), free_port()
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    known["PATH"] = f"{Path(sys.executable).parent}:{known['PATH']}"
    known |= {"API": f"127.0.0.1:{api}", "API_PORT": str(api), "REDIS_URL": f"redis://127.0.0.1:{redis}/0"}
    known |= {"PROCESSING_TIMEOUT_S": "3", "HANDLERS": ",".join(["handlers", *(name for name, _ in modules)])}
    program = Program([str(ROOT / "run.py")], known | environment | {"PYTHONUNBUFFERED": "1"}, folder)
    try:
        program.says("see what became of it")
        yield folder, known | environment
    finally:
        program.signal(signal.SIGINT)
        program.process.wait(30)
        program.path.unlink()
        shutil.rmtree(folder)


def play(page: str, folder: Path, environment: dict[str, str]) -> int:
    """How many blocks of a page were played; raises Wrong at the first that is not as it is shown."""
    reader, played = Reader(folder, environment), 0
    try:
        for block in blocks(page):
            named = block.kind == "python" and block.text.startswith("# ")
            if block.kind in ("sh", "python") and not named and not elsewhere(block):
                reader.plays(block)
                played += 1
    finally:
        reader.close()
    return played


def pages() -> list[str]:
    """All pages that show commands."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*/*.md")]
    every = sorted(str(path.relative_to(ROOT)) for path in paths)
    return [page for page in every if any(block.kind == "sh" for block in blocks(page))]


def played() -> list[str]:
    return [page for page in pages() if any(block.kind == "sh" and not elsewhere(block) for block in blocks(page))]


def main(chosen: list[str]) -> int:
    with running() as (folder, environment):
        for page in chosen or played():
            print(f"{page}: {play(page, folder, environment)} blocks are as they are shown")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
