"""Lists what is hard to read: ``python -m tests.language`` counts by file, with file names it shows each one.

Looked at are documents, docstrings, comments, messages and the headers of scripts. A sentence has at most 25 words, a paragraph at
most 5 lines of 100 columns. Words of code in a sentence count as one."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WORDS, LINES, COLUMNS = 25, 5, 100
ITEM = re.compile(r"[-*|#>]|\d+\. |KEYS|ARGV|Returns|.*\S {2,}\S")  # begins a paragraph: of lists, tables and contracts
KINDS = {".md", ".py", ".lua", ".js"}


class Finding(NamedTuple):
    line: int
    size: int  # words of a sentence, lines of a paragraph
    text: str


def joined(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Line and text of each paragraph: neighbouring lines up to an empty one or an item of a list."""
    begin, last, words = 0, -1, list[str]()
    for number, line in lines:
        text = line.strip()
        item = ITEM.match(text)
        if words and (number != last + 1 or not text or item):
            yield begin, " ".join(words)
            words = []
        if text:
            begin = begin if words else number
            words.append(text)
        last = number
    if words:
        yield begin, " ".join(words)


def of_markdown(text: str) -> Iterator[tuple[int, str]]:
    fenced, lines = False, list[tuple[int, str]]()
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            line = ""
        lines.append((number, "" if fenced else line))
    for number, paragraph in joined(iter(lines)):
        if paragraph.startswith("|"):  # a cell may be a list
            yield from ((number, each) for cell in paragraph.strip("|").split(" | ") for each in cell.split("; "))
        elif not paragraph.startswith("#"):
            yield number, paragraph


def of_python(text: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(text)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = set[ast.AST]()
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            docstrings.add(node.body[0].value)  # type: ignore[attr-defined]
            begin = node.body[0].lineno
            yield from joined(enumerate((ast.get_docstring(node) or "").splitlines(), begin))
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        said = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)
        if isinstance(node, (ast.JoinedStr, ast.Constant)) and node not in docstrings and _is_prose(said):
            yield node.lineno, said
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token for token in tokens if token.type == tokenize.COMMENT]
    alone = [token for token in comments if token.line.lstrip().startswith("#")]
    yield from joined((token.start[0], token.string.lstrip("# ")) for token in alone)
    yield from ((token.start[0], token.string.lstrip("# ")) for token in comments if token not in alone)


def _is_prose(text: str) -> bool:
    return text.count(" ") > 6 and "\n" not in text and not re.search(r"SELECT|INSERT|[{}<>=]{2}|\w=\d+ \w+=", text)


def of_other(text: str, mark: str) -> Iterator[tuple[int, str]]:
    """Comments of whole lines."""
    lines = ((n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(mark))
    yield from joined((n, line[len(mark) :]) for n, line in lines if not line.startswith(f"{mark} needs:"))


def paragraphs(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text()
    if path.suffix == ".md":
        return of_markdown(text)
    if path.suffix == ".py":
        return of_python(text)
    return of_other(text, "--" if path.suffix == ".lua" else "//")


def long_sentences(path: Path) -> list[Finding]:
    found = []
    for line, paragraph in paragraphs(path):
        plain = re.sub(r"`[^`]*`|\([^()]*\]\([^)]*\)|https?:\S+", "x", paragraph)
        ends = r"(?<=[.!?:])[\"'*)]* "
        if path.suffix == ".lua":  # a contract is a list
            ends += r"|; *|  +|[{},]+ "
        for sentence in re.split(ends, plain):
            words = len(re.findall(r"[^\W_]+(?:['’.,/-]\w+)*", sentence))
            if words > WORDS:
                found.append(Finding(line, words, sentence))
    return found


def long_paragraphs(path: Path) -> list[Finding]:
    counted = ((line, ceil(len(text) / COLUMNS), text) for line, text in paragraphs(path))
    return [Finding(*each) for each in counted if each[1] > LINES]


def main(names: list[str]) -> int:
    if names:
        for path in map(Path, names):
            for found in sorted(long_sentences(path) + long_paragraphs(path)):
                print(f"{path}:{found.line}: {found.size}: {found.text}")
        return 0
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in tracked.splitlines() if Path(name).suffix in KINDS]
    rows = [(len(long_sentences(path)), len(long_paragraphs(path)), path.relative_to(ROOT)) for path in files]
    for sentences, parts, name in sorted(rows, key=lambda row: (-row[0] - row[1], row[2])):
        if sentences or parts:
            print(f"{sentences:5} {parts:5}  {name}")
    print(
        f"{sum(row[0] for row in rows):5} {sum(row[1] for row in rows):5}  sentences above {WORDS} words, paragraphs above {LINES} lines"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
