"""One line of JSON or text for each event, to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextvars import ContextVar
from typing import Any

from _jobqueue.config import Config, misspelt
from _jobqueue.output import Output, descriptor_of, fill_standard_descriptors
from _jobqueue.records import Claimed
from _jobqueue.rfc3339 import rfc3339

_to_json = json.JSONEncoder(default=str).encode


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "process": record.name,
            "message": record.getMessage(),
        }
        line |= _fields(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _to_json(line)


# What this thread or this task runs; the log lines of its handler name it.
running: ContextVar[Claimed | None] = ContextVar("running", default=None)
_USUAL = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Of a line of ours as they were given; of a handler's: its job, type and attempt, and what stands in ``extra``."""
    if "fields" in vars(record):
        return dict(record.fields)  # type: ignore[attr-defined]
    job = running.get()
    named = {"job": job.id, "type": job.type, "attempt": job.attempt, **trace_of(job)} if job else {}
    return named | {name: value for name, value in vars(record).items() if name not in _USUAL}


def trace_of(job: Claimed) -> dict[str, Any]:
    """The field that a job's log lines have more where it belongs to a trace."""
    return {"traceparent": job.traceparent} if job.traceparent else {}


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {name}={_plain(value)}" for name, value in _fields(record).items())
        level = "" if record.levelno == logging.INFO else record.levelname.lower() + ": "
        line = f"{_utc(record)[11:23]} {record.name} {level}{_plain(record.getMessage())}{pairs}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _plain(value: Any) -> str:
    """On one line, whatever it holds: a log line must not be able to look like two."""
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def _utc(record: logging.LogRecord) -> str:
    return str(rfc3339(int(record.created * 1000)))


class _Handler(logging.Handler):
    """Formats in the caller's thread and waits for nothing."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        self._output = Output(descriptor_of(sys.stderr), self._dropped)

    def createLock(self) -> None:
        """None is needed, and a handler of jobs that is interrupted inside logging could keep it."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        if passes := bool(self.filter(record)):
            self.emit(record)
        return passes

    def emit(self, record: logging.LogRecord) -> None:
        self._output.write(self._line(record))

    def flush(self) -> None:
        self._output.flush()

    def _line(self, record: logging.LogRecord) -> bytes:
        try:
            text = self.format(record)
        except Exception as error:  # the caller's arguments
            record.msg, record.args, record.exc_info = f"a log line that cannot be shown: {error!r}", None, None
            text = self.format(record)
        return text.encode(self._encoding, "backslashreplace") + b"\n"

    def _dropped(self, lines: int) -> bytes:
        text = "log lines were dropped: they could not be written"
        record = logging.LogRecord("log", logging.WARNING, "", 0, text, None, None)
        record.fields = {"n": lines}
        return self._line(record)


class Log:
    """``log("message", job=..., ms=...)``: one line to stderr, with fields."""

    def __init__(self, process: str) -> None:
        self._logger = logging.getLogger(process)

    def __call__(self, message: str, **fields: Any) -> None:
        self._say(logging.INFO, message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._say(logging.WARNING, message, fields)

    def failure(self, message: str, error: BaseException | None = None, **fields: Any) -> None:
        """With the traceback of an exception, by default the one that is being handled."""
        self._logger.error(message, exc_info=error or True, extra={"fields": fields})

    def _say(self, level: int, message: str, fields: dict[str, Any]) -> None:
        """As a logger does, but for the line of the source, which nobody is told."""
        if self._logger.isEnabledFor(level):
            extra = {"fields": fields}
            self._logger.handle(
                self._logger.makeRecord(self._logger.name, level, "", 0, message, (), None, extra=extra)
            )

    def flush(self) -> None:
        """Wait a moment for what was said to be written: before the process is ended without its exit."""
        for handler in logging.getLogger().handlers:
            handler.flush()


def _for_people(config: Config) -> bool:
    return config.log_format == "text" or (
        config.log_format == "auto" and sys.stderr is not None and sys.stderr.isatty()
    )


def start_logging(config: Config, process: str) -> Log:
    """Log to stderr in the configured format."""
    fill_standard_descriptors()
    handler = _Handler(_Text() if _for_people(config) else _Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    return Log(process)


def announce(config: Config, log: Log) -> None:
    """Say once what is in effect; to people, only what is not as usual. A variable that may be misspelt is a warning."""
    shown = config.in_effect()
    if _for_people(config):
        usual = Config(program=config.program).in_effect()
        shown = {name: value for name, value in shown.items() if name == "redis_url" or value != usual[name]}
    log("starting", **shown)
    for variable, nearest in misspelt(os.environ, config.program).items():
        log.warning(f"the variable {variable} is no setting; is {nearest} meant?")
