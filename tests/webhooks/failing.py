from typing import Any

from jobqueue import handler


@handler("odd.fail")
def fail(payload: Any, ctx: Any) -> None:
    raise RuntimeError("it always fails")


@handler("echo")
def echo(payload: Any, ctx: Any) -> Any:
    return payload
