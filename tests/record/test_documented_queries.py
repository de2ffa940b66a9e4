"""The queries of docs/record.md, each on both databases."""

from __future__ import annotations

import re

import pytest

from _jobqueue.record import schema
from _jobqueue.record.database import Record
from tests.harness import ROOT
from tests.record.rows import T0, a_job, an_error, failed, rows_of, waiting

TEXT = (ROOT / "docs/record.md").read_text()
SECTION = TEXT.partition("## Ten queries")[2].partition("\n## ")[0]
TITLES = re.findall(r"^### (.+)$", SECTION, re.MULTILINE)


def queries(title: str) -> dict[str, str]:
    """Database -> the query for it."""
    part = SECTION.partition(f"### {title}\n")[2].partition("\n### ")[0]
    blocks = re.findall(r"```sql\n(.+?);\n```", part, re.DOTALL)
    if len(blocks) == 1:
        return dict.fromkeys(("sqlite", "postgresql"), blocks[0])
    return {re.match(r"-- (\w+)", block)[1].lower(): block for block in blocks}  # type: ignore[index]


def test_there_are_ten_and_each_is_for_both_databases() -> None:
    assert len(TITLES) >= 10
    for title in TITLES:
        assert queries(title).keys() == {"sqlite", "postgresql"}, title


@pytest.mark.parametrize("title", TITLES)
def test_a_query_finds_what_its_title_asks_for(record: Record, title: str) -> None:
    shown = "0f8fad5b-d9cb-8000-a165-70867728950e"
    second = a_job(3, attempts=2, errors=[an_error(1)], id=shown, tags=["import:42"])
    jobs = [a_job(1, payload={"to": "ada@example.org"}), failed(2), second, waiting(4, created_ms=T0 - 5)]
    assert record.write(rows_of(*jobs)) == []
    query = queries(title)[record._asked(lambda db: db.name)]
    rows = record._asked(lambda db: db.all(query))
    counted = {
        "How did each type fare today?": 2,
        "What happened to one job?": 2,
        "Which jobs needed more than one attempt, and what went wrong before?": 1,
        "What has been open for long?": 1,
    }
    assert len(rows) == counted.get(title, len(rows)) and rows, title


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_table_and_column_is_documented(database: str) -> None:
    part = TEXT.partition("## Schema")[2].partition("\n## ")[0]
    text = "\n".join(file for _, _, file in schema.files(database))
    tables = re.findall(r"CREATE TABLE (\w+) \((.+?)^\)", text, re.MULTILINE | re.DOTALL)
    assert len(tables) >= 4
    for name, inside in tables:
        assert f"`{name}`" in part
        for column in re.findall(r"^ {4}([a-z_]+) +[a-zA-Z]", inside, re.MULTILINE):
            assert f"`{column}`" in part, (name, column)


def test_both_databases_have_the_same_columns() -> None:
    def columns(database: str) -> list[str]:
        text = "\n".join(file for _, _, file in schema.files(database))
        return re.findall(r"^(?:CREATE TABLE (\w+)| {4}([a-z_]+) )", text, re.MULTILINE)

    assert columns("sqlite") == columns("postgresql") and len(columns("sqlite")) > 30
