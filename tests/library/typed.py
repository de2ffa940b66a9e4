"""What type checkers say of a user's code. A line marked ``refused`` must be an error of that kind, and no other line."""

from __future__ import annotations

from jobqueue import Context, JobQueue, NewJob, handler, inline, on_start


@on_start
def connect() -> None: ...


@on_start
def wants_something(config: str) -> None: ...  # above: refused [type-var]


@handler("thumbnail", queue="cpu", timeout=60, max_attempts=4, backoff=2, max_backoff=600, jitter=0.2)
def thumbnail(payload: dict[str, int], ctx: Context) -> int:
    ctx.progress(0.5)
    ctx.submit("album", [1], key="a", delay_s=5)
    ctx.submit("album", [1], delay=5)  # refused [call-arg]
    ctx.progres(0.5)  # refused [attr-defined]
    return payload["width"]


@handler("page")
async def page(payload: str, ctx: Context) -> None: ...


@handler("untyped")
def untyped(payload, ctx):  # type: ignore[no-untyped-def]
    return payload


@handler("short")  # refused [arg-type]
def short(payload: str) -> None: ...


@handler("misspelt", timeuot=5)  # refused [call-arg]
def misspelt(payload: str, ctx: Context) -> None: ...


status: str = thumbnail.submit({"width": 5}, key="a", delay_s=5, tags=["x"], priority="high", after=["*"]).status
thumbnail.submit({"width": 5}, que="typo")  # refused [call-arg]
thumbnail.submit({"width": 5}, delay_s="5")  # refused [arg-type]
thumbnail.submit(5)  # refused [arg-type]
page.submit("home", unique_key="home")
untyped.submit(None)

queue = JobQueue()
thumbnail.submit({"width": 5}, via=queue)
queue.submit("thumbnail", {"width": 5}, key="a", timeout_s=5)
queue.submit("thumbnail", {"width": 5}, timeout=5)  # refused [call-arg]
result: object = queue.wait("id", timeout_s=5).result
queue.submit_one(NewJob("thumbnail", prioritty=5))  # refused [call-arg]

with inline("my_jobs") as jobs:
    page.submit("home", via=jobs)
    jobs.submit("page", "home", que="typo")  # refused [call-arg]


def called_as_a_function(ctx: Context) -> int:
    thumbnail({"width": "5"}, ctx)  # refused [dict-item]
    return thumbnail({"width": 5}, ctx)
