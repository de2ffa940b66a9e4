"""What a request may look like, judged on the bytes that came, before a parser makes something of them."""

from __future__ import annotations

import re
from typing import Any

LINE_BYTES, FRAMING_BYTES, FRAMING_SHARE = 2**13, 2**16, 16

REQUEST_LINE = re.compile(rb"[^ ]+ [^ ]+(?: HTTP/([0-9]\.[0-9]))?")
BLANKS = re.compile(rb"[ \t]{128}")
FOLDED = re.compile(rb"\r\n[ \t]")
LENGTHS = re.compile(rb"^(content-length|transfer-encoding)[ \t]*:(.*)", re.IGNORECASE | re.MULTILINE)


def objection(head: bytes) -> str:
    """Why it is refused; "" where it is not.

    Two opinions on where a body ends, one of them perhaps a proxy's, are a way to smuggle a second request. And some of
    waitress's expressions take seconds for a line of 16 KB that matches almost."""
    line, _, fields = head.partition(b"\r\n")
    request = REQUEST_LINE.fullmatch(line.rstrip())
    if not request:
        return "the request line is malformed"
    if BLANKS.search(head):
        return "a line has 128 blanks in a row"
    if FOLDED.search(fields):
        return "a header goes on one line"
    lengths = LENGTHS.findall(fields)
    encodings = [value for name, value in lengths if name.lower() == b"transfer-encoding"]
    if encodings and (len(encodings) < len(lengths) or request[1] != b"1.1"):
        return "Transfer-Encoding belongs to HTTP/1.1 and goes without Content-Length"
    if len(encodings) > 1 or b"," in b"".join(encodings):
        return "a body is chunked once"
    return ""


def frames_too_much(body: Any, received: int) -> bool:
    """Of a body in chunks, half read: a chunk costs its reader microseconds, a piece of a line the copy of that line."""
    if len(body.control_line) + len(body.trailer) > LINE_BYTES:
        return True
    return received - len(body) > FRAMING_BYTES + len(body) // FRAMING_SHARE
