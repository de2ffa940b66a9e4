"""Answers in fewer bytes: files are compressed once, when they are first asked for, other answers as they are asked for.

A file is kept by browsers and asked for again each time (no-cache): while it is the same, the answer is 304 without a body.

The lengths of compressed answers give nothing away that matters (BREACH): an API key travels in a header of the request,
and no answer holds one.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from functools import cached_property
from pathlib import Path

import bottle

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}
SMALLEST = 1024  # bytes; below, all that is saved is lost again in headers and time
LEVEL, LARGE, LARGE_LEVEL = 6, 64 * 1024, 1  # 18 KB of /stats: 0.2 ms, 3.2 KB; 2 MB of a batch: 3.5 ms, 40 KB
GZIP = 16 + zlib.MAX_WBITS
SHEET = re.compile(r'<link rel="stylesheet" href="/static/([a-z-]+\.css)" />\n')
STATIC = Path(__file__).resolve().parent / "static"


class File:
    """What is served as it is until the process ends."""

    def __init__(self, name: str, plain: bytes) -> None:
        self.type, self.plain = TYPES[Path(name).suffix], plain
        digest = hashlib.sha256(plain).hexdigest()[:20]
        self.tag, self.packed_tag = f'"{digest}"', f'"{digest}-gzip"'  # two tags, since the bytes are not the same

    @cached_property
    def packed(self) -> bytes:
        """Made when somebody first asks: to pack all files would be half of an API's own work at its start."""
        return gzip.compress(self.plain, 9, mtime=0)

    def answer(self) -> bytes:
        """The body for this request; its headers are set."""
        packs = len(self.packed) < len(self.plain) and accepts_gzip(_header("HTTP_ACCEPT_ENCODING"))
        tag = self.packed_tag if packs else self.tag
        response = bottle.response
        response.content_type = self.type
        response.set_header("Cache-Control", "no-cache")
        response.set_header("Vary", "Accept-Encoding")
        response.set_header("ETag", tag)
        if is_among(tag, _header("HTTP_IF_NONE_MATCH")):
            response.status = 304
            return b""
        if packs:
            response.set_header("Content-Encoding", "gzip")
        return self.packed if packs else self.plain


def files() -> dict[str, File]:
    """The pages and what belongs to them, by their names. A page's style sheets are one file for each page: a browser fetches
    six files at once, and each further one costs a phone a round trip."""
    found = {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in TYPES}
    for page in [name for name in found if name.endswith(".html")]:
        found |= _with_one_sheet(page, found)
    return {name: File(name, plain) for name, plain in found.items()}


def _with_one_sheet(page: str, found: dict[str, bytes]) -> dict[str, bytes]:
    """The page with a link to one style sheet in the place of several, and that one."""
    html, sheet = found[page].decode(), page.replace(".html", "-page.css")
    names = SHEET.findall(html)
    together = b"".join(found[name] for name in names)
    first, *rest = SHEET.split(html)[::2]
    link = f'<link rel="stylesheet" href="/static/{sheet}" />\n'
    return {page: (first + link + "".join(rest)).encode(), sheet: together}


def compressed(body: bytes) -> bytes:
    """The body of an answer that is made for one request, compressed where that pays and the client takes it."""
    response = bottle.response
    if len(body) < SMALLEST or "Content-Encoding" in response.headers:
        return body
    response.set_header("Vary", "Accept-Encoding")
    if not accepts_gzip(_header("HTTP_ACCEPT_ENCODING")):
        return body
    response.set_header("Content-Encoding", "gzip")
    packing = zlib.compressobj(LARGE_LEVEL if len(body) > LARGE else LEVEL, zlib.DEFLATED, GZIP)
    return packing.compress(body) + packing.flush()


def _header(name: str) -> str:
    value: str = bottle.request.environ.get(name, "")
    return value


def accepts_gzip(header: str) -> bool:
    """Whether Accept-Encoding allows gzip, and does not like the bare answer better."""
    weights = {}
    for each in header.lower().split(","):
        name, _, parameter = each.partition(";")
        weights[name.strip()] = _weight(parameter)
    gzip_weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip_weight > 0 and gzip_weight >= weights.get("identity", 0.0)


def _weight(parameter: str) -> float:
    """Of ``q=0.5``; 1 without one, 0 when it is malformed: better too long an answer than one that cannot be read."""
    if not parameter.strip():
        return 1.0
    found = re.fullmatch(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*", parameter)
    return float(found[1]) if found else 0.0


def is_among(tag: str, header: str) -> bool:
    """Whether If-None-Match names the tag. A proxy on the way may have made it a weak one."""
    return header.strip() == "*" or tag in re.findall(r'"[^"]*"', header)
