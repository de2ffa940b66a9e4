"""Answers go out compressed where the client takes it, and files are not sent again to who has them."""

from __future__ import annotations

import gzip
import http.client
import json
import re
from collections.abc import Iterator

import pytest

from _jobqueue.web.compression import LARGE, SMALLEST, STATIC, accepts_gzip, is_among
from tests.harness import System

FILES = ["/", "/docs", "/redoc", "/static/dashboard.js", "/static/base.css", "/static/icon.svg", "/openapi.json"]


class Answer:
    """As it came over the wire."""

    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.sent = raw.status, raw.headers, raw.read()
        self.body = gzip.decompress(self.sent) if self.headers["Content-Encoding"] == "gzip" else self.sent


@pytest.fixture
def connection(api: System) -> Iterator[http.client.HTTPConnection]:
    """One that is kept: an answer whose end is not where it says would spoil the next one."""
    opened = http.client.HTTPConnection(api.api_url.removeprefix("http://"), timeout=30)
    yield opened
    opened.close()


def ask(
    connection: http.client.HTTPConnection, path: str, encoding: str | None = "gzip", method: str = "GET", **more: str
) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if encoding is not None:
        headers["Accept-Encoding"] = encoding
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    return Answer(connection.getresponse())


# ----------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_sent_in_the_form_that_the_client_takes(connection: http.client.HTTPConnection, path: str) -> None:
    packed, plain = ask(connection, path), ask(connection, path, None)
    assert (packed.status, plain.status) == (200, 200)
    assert packed.headers["Content-Encoding"] == "gzip" and plain.headers["Content-Encoding"] is None
    assert packed.body == plain.body and len(packed.sent) < len(plain.sent)
    assert packed.headers["ETag"] != plain.headers["ETag"]
    for answer in (packed, plain):
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers.get_all("Cache-Control") == ["no-cache"]
        assert int(answer.headers["Content-Length"]) == len(answer.sent)


def test_what_is_served_is_what_stands_in_the_tree(connection: http.client.HTTPConnection) -> None:
    for path in STATIC.iterdir():
        if path.suffix != ".html":
            assert ask(connection, f"/static/{path.name}").body == path.read_bytes()


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_the_client_has_is_not_sent_again(connection: http.client.HTTPConnection, path: str) -> None:
    for encoding in ("gzip", None):
        tag = ask(connection, path, encoding).headers["ETag"]
        for known in (tag, f"W/{tag}", f'"another", {tag}', "*"):
            again = ask(connection, path, encoding, If_None_Match=known)
            assert (again.status, again.sent, again.headers["ETag"]) == (304, b"", tag), known
            assert again.headers["Vary"] == "Accept-Encoding"
            assert again.headers["Content-Encoding"] is None and again.headers["Content-Type"] is None
        for unknown in ('"another"', tag.strip('"'), ""):
            assert ask(connection, path, encoding, If_None_Match=unknown).status == 200, unknown


def test_the_tag_of_one_form_is_not_that_of_the_other(connection: http.client.HTTPConnection) -> None:
    packed = ask(connection, "/static/base.css").headers["ETag"]
    assert ask(connection, "/static/base.css", None, If_None_Match=packed).status == 200


@pytest.mark.parametrize("path", [*FILES, "/system"])
@pytest.mark.parametrize("encoding", ["gzip", None])
def test_head_says_what_get_would_send(connection: http.client.HTTPConnection, path: str, encoding: str | None) -> None:
    got, head = ask(connection, path, encoding), ask(connection, path, encoding, "HEAD")
    assert (head.status, head.sent) == (200, b"")
    for name in ("Content-Type", "Content-Encoding", "Content-Length", "ETag", "Vary", "Cache-Control"):
        assert head.headers[name] == got.headers[name], name


def test_a_part_of_a_file_is_answered_with_the_whole(connection: http.client.HTTPConnection) -> None:
    whole = ask(connection, "/static/base.css")
    part = ask(connection, "/static/base.css", Range="bytes=0-9", If_Range=whole.headers["ETag"])
    assert (part.status, part.body, part.headers["Content-Range"]) == (200, whole.body, None)


def test_a_host_that_is_not_ours_is_told_nothing_of_the_files(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("GET", "/static/base.css", skip_host=True, skip_accept_encoding=True)
    connection.putheader("Host", "rebound.example")
    connection.putheader("If-None-Match", "*")
    connection.endheaders()
    assert Answer(connection.getresponse()).status == 403


# ---------------------------------------------------------------------------------------------------- other answers


def test_a_long_answer_is_compressed_and_a_short_one_is_not(
    api: System, connection: http.client.HTTPConnection
) -> None:
    for characters in (0, SMALLEST, LARGE):
        path = f"/jobs/{api.submit('x' * characters)}"
        packed, plain = ask(connection, path), ask(connection, path, None)
        assert json.loads(packed.body) == json.loads(plain.body)
        assert plain.headers["Content-Encoding"] is None
        long = len(plain.sent) >= SMALLEST
        assert long == (characters > 0)
        assert packed.headers["Content-Encoding"] == ("gzip" if long else None)
        for answer in (packed, plain):
            assert answer.headers["Vary"] == ("Accept-Encoding" if long else None)
            assert answer.headers.get_all("Cache-Control") == ["no-store"]
            assert answer.headers["Content-Type"] == "application/json" and answer.headers["ETag"] is None
            assert int(answer.headers["Content-Length"]) == len(answer.sent)


def test_text_and_problems_are_compressed_too(api: System, connection: http.client.HTTPConnection) -> None:
    text = ask(connection, "/metrics?format=prometheus")
    assert text.headers["Content-Encoding"] == "gzip" and b"jobqueue_" in text.body
    wrong = ask(connection, "/jobs?" + "&".join(f"parameter_{n}=1" for n in range(30)))
    assert (wrong.status, wrong.headers["Content-Encoding"]) == (422, "gzip")
    assert json.loads(wrong.body)["code"] == "invalid_request"


# ------------------------------------------------------------------------------------------------------ what is asked


@pytest.mark.parametrize(
    "header",
    [
        "gzip",
        "GZip",
        "gzip, deflate, br",
        "br;q=1.0, gzip;q=0.8, *;q=0.1",
        "*",
        "x-gzip",
        "gzip ; q=0.001",
        "deflate,gzip",
    ],
)
def test_gzip_is_accepted(header: str) -> None:
    assert accepts_gzip(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "identity",
        "br, deflate",
        "gzip;q=0",
        "gzip;q=0.000, *",
        "*;q=0",
        "gzip;q=nan",
        "gzip;level=9",
        "identity, gzip;q=0.5",
        "notgzip",
        ",;,=",
    ],
)
def test_gzip_is_not_accepted(header: str) -> None:
    assert not accepts_gzip(header)


def test_a_tag_is_found_as_a_whole_only() -> None:
    assert is_among('"a"', 'W/"a"') and is_among('"a"', '"b","a"') and is_among('"a"', " * ")
    assert not is_among('"a"', '"ab"') and not is_among('"a"', "a") and not is_among('"a"', "")


@pytest.mark.parametrize(("page", "sheet"), [("/", "index-page.css"), ("/docs", "docs-page.css")])
def test_the_style_sheets_of_a_page_are_one_file(connection: http.client.HTTPConnection, page: str, sheet: str) -> None:
    html = ask(connection, page).body.decode()
    assert re.findall(r'"stylesheet" href="/static/(.+)"', html) == [sheet]
    source = (STATIC / sheet.replace("-page.css", ".html")).read_text()
    parts = re.findall(r'"stylesheet" href="/static/(.+)"', source)
    assert len(parts) > 1
    assert ask(connection, f"/static/{sheet}").body == b"".join((STATIC / part).read_bytes() for part in parts)
    assert re.sub(r"<link rel=.stylesheet.*/>\s*", "", html) == re.sub(r"<link rel=.stylesheet.*/>\s*", "", source)
