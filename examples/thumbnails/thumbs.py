"""The handlers: a picture becomes a small one, and the small ones become a contact sheet."""

import os
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from jobqueue import Fail, handler

PX, ACROSS = 128, 4


@handler("thumb.make", timeout=60, max_attempts=3)
def make(payload, ctx):
    source = Path(payload["source"])
    try:
        with Image.open(source) as picture:
            picture.thumbnail((PX, PX))
            small = picture.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise Fail(f"{source.name} is no picture") from error  # another attempt would end no better
    return {"file": save(small, Path(payload["folder"]) / f"{source.name}.jpg", ctx)}


@handler("thumb.sheet", timeout=60, max_attempts=3)
def sheet(payload, ctx):
    parents = ctx.parents().values()
    small = [each["result"]["file"] for each in parents if each["status"] == "done"]
    paper = Image.new("RGB", (ACROSS * PX, -(-len(small) // ACROSS) * PX or PX), "white")
    for n, file in enumerate(small):
        ctx.check()
        ctx.progress(n / len(small), Path(file).name)
        with Image.open(file) as picture:
            paper.paste(picture, (n % ACROSS * PX, n // ACROSS * PX))
    file = save(paper, Path(payload["folder"]) / "sheet.jpg", ctx)
    return {"file": file, "pictures": len(small), "left_out": [each["error"] for each in parents if each["error"]]}


def save(picture, path, ctx):
    """Written beside, then renamed: nobody reads half a file, and another attempt ends with the same one."""
    beside = path.with_name(f".{ctx.job_id}-{ctx.attempt}")
    picture.save(beside, "JPEG")
    os.replace(beside, path)
    return str(path)
