"""Settings: a flag wins over the environment, the environment over the default. Logging and signal set-up.

``Config.parse`` is called once, in each process's ``main``; everything else gets the frozen result as an argument.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) or not low <= float(text) <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}")
        return float(text)

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {' or '.join(choices)}")
        return text

    return parse


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


_SERVER = r"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}"
_SEVERAL = re.compile(rf"[a-z+]+://(?:[^@/?#]*@)?({_SERVER}(?:,{_SERVER})*)(/[^@?#]*)?(?:\?[^@#]*)?")


def _redis_url(text: str) -> str:
    scheme = text.partition("://")[0]
    if scheme in ("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"):
        return _several_servers(text, scheme)
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            "must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// (or rediss+ of these)"
        )
    try:
        parts = urlsplit(text)
        if parts.port == 0 or (parts.scheme != "unix" and "@" in parts.path + parts.fragment):
            raise ValueError
    except ValueError:  # urlsplit's text may hold a part of the password
        raise ValueError("has no valid host and port; in a password, write / ? # @ as %2F %3F %23 %40") from None
    return text


def _several_servers(text: str, scheme: str) -> str:
    """The URL of Sentinels or of a Cluster. What is said of a wrong one quotes nothing: it may hold a part of the password."""
    parts = _SEVERAL.fullmatch(text)
    if not parts or any(int(server.rpartition(":")[2]) > 65535 for server in parts[1].split(",")):
        raise ValueError(
            f"must be {scheme}://user:password@host:port,host:port...; in a password, write / ? # @ as %2F %3F %23 %40"
        )
    path = parts[2] or ""
    if scheme.endswith("sentinel") and not re.fullmatch(r"/[A-Za-z0-9_.-]+(/[0-9]{0,4})?", path):
        raise ValueError(
            "must name the service behind the Sentinels, like host:port,host:port/mymaster or .../mymaster/0"
        )
    if scheme.endswith("cluster") and path not in ("", "/", "/0"):
        raise ValueError("must not name a database: a Cluster has only number 0")
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("must be an IP address") from None


def _api_keys(text: str) -> str:
    for entry in text.split(","):
        if not re.fullmatch(r"\s*[\w.-]{1,64}:(read|submit|admin):[0-9a-f]{64}\s*", entry):
            raise ValueError(
                "must be name:scope:sha256 (scopes read, submit, admin), comma-separated; see api.py --new-key"
            )
    return text


def _queues(text: str) -> str:
    parse_queues(text, 1)
    return text


def parse_queues(text: str, threads: int) -> dict[str, int]:
    """Threads for each queue: ``default=6,email=2`` as it says; names alone share ``threads`` evenly."""
    shares: dict[str, int] = {}
    named = [part.partition("=") for part in text.split(",")]
    for name, equals, number in named:
        if not _NAME.fullmatch(name) or name in shares:
            raise ValueError("must name queues once each, like default or default=6,email=2")
        if bool(equals) != bool(named[0][1]):
            raise ValueError("give a number of threads to every queue or to none")
        shares[name] = _whole(1, 1000)(number) if equals else 0
    if not named[0][1]:
        more, extra = divmod(threads, len(shares))
        shares = {name: max(1, more + (at < extra)) for at, name in enumerate(shares)}
    return shares


def _setting(default: Any, parse: Callable[[str], Any], help: str, flag: str = "", secret: bool = False) -> Any:
    return field(default=default, metadata={"parse": parse, "help": help, "flag": flag, "secret": secret})


@dataclass(frozen=True)
class Config:
    """What is in effect. Each field is the environment variable of the same name in capitals."""

    redis_url: str = _setting("redis://localhost:6379/0", _redis_url, "where Redis is", "--redis-url", secret=True)

    api_host: str = _setting("127.0.0.1", _text, "address to listen on", "--host")
    api_port: int = _setting(8000, _whole(1, 65535), "port to listen on", "--port")
    # A request is one round trip to Redis: 16 wait side by side without holding each other up.
    api_threads: int = _setting(16, _whole(1, 256), "requests served at the same time", "--threads")
    # They hold no thread, each a connection to its client.
    api_waiters: int = _setting(128, _whole(0, 1000), "requests with wait_s that wait at the same time")
    api_processes: int = _setting(
        1, _whole(1, 64), "processes that share the port, for machines with more cores", "--processes"
    )
    api_one_core: int = _setting(0, _whole(0, 1), "1 keeps each API process on one core of its own")
    api_keys: str = _setting(
        "", _api_keys, "name:scope:sha256, comma-separated; scopes read, submit, admin", secret=True
    )
    api_insecure: int = _setting(0, _whole(0, 1), "1 lets it listen beyond this machine without keys")
    allowed_hosts: str = _setting(
        "", _text, "host names it is called by, comma-separated; * for any (default: loopback names)"
    )
    trusted_proxy: str = _setting("", _address, "address of the proxy whose X-Forwarded-For is believed")
    # Enough for a busy service, low enough that one runaway client does not fill Redis within minutes.
    rate_limit_max: int = _setting(6000, _whole(0, 100_000), "POSTs of one client in a window; 0 is no limit")
    rate_limit_window_s: int = _setting(60, _whole(1, 3600), "length of that window in seconds")
    max_body_bytes: int = _setting(2**20, _whole(1024, 2**30), "largest request body")
    max_batch_bytes: int = _setting(8 * 2**20, _whole(1024, 2**30), "largest body of POST /jobs/batch")
    max_result_bytes: int = _setting(2**20, _whole(16, 2**30), "largest result of a handler, as JSON")

    worker_threads: int = _setting(8, _whole(1, 1000), "jobs run at the same time in one process", "--threads")
    worker_processes: int = _setting(1, _whole(1, 256), "worker processes, for CPU-bound handlers", "--processes")
    queues: str = _setting("default", _queues, "queues to serve: default, or default=6,email=2 threads", "--queues")
    handlers: str = _setting("handlers", _text, "module with the job types", "--handlers")
    # Below the 45 s that docker-compose.yml gives a container to stop.
    drain_s: float = _setting(30.0, _seconds(0, 86400), "how long a stopping worker lets its jobs finish", "--drain")

    # T: long enough for most jobs, short enough that a dead worker's jobs run again soon.
    processing_timeout_s: float = _setting(10.0, _seconds(1, 86400), "default timeout of a job, and the lease length")
    max_attempts: int = _setting(2, _whole(1, 100), "default number of attempts of a job")
    backoff_s: float = _setting(1.0, _seconds(0, 86400), "default first delay between attempts; it doubles each time")

    reaper_interval_s: float = _setting(1.0, _seconds(0.05, 60), "time between two ticks of the reaper", "--interval")
    # At least a minute: a submit that is sent again by itself must find the job that its first copy stored.
    result_ttl_s: int = _setting(86400, _whole(60, 10**9), "how long done and cancelled jobs are kept")
    failed_ttl_s: int = _setting(604800, _whole(60, 10**9), "how long dead letters are kept")

    # Python runs one thread at a time; handing over to a thread on another core costs more than a small job.
    one_core: int = _setting(0, _whole(0, 1), "1 keeps each worker process on one core: faster for many small jobs")
    durability: str = _setting("fast", _one_of("fast", "fsync", "replicated"), "what a submit's 201 waits for")
    log_format: str = _setting("auto", _one_of("auto", "text", "json"), "auto: text on a terminal, else json")
    # A line for each job costs more than a job that does nothing: turn it off where they come by the thousand.
    log_jobs: str = _setting(
        "all", _one_of("all", "failures"), "failures: no log lines for attempts and requests that went well"
    )
    simulated_work_s: float = _setting(1.0, _seconds(0, 3600), "scales the sleeps of the sample handlers")
    simulated_failures: int = _setting(1, _whole(0, 1), "0 turns the random failures of the sample handlers off")

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None
    ) -> Config:
        """Read, check and freeze. ValueError names the variable or flag that is wrong."""
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for setting in fields(cls):
            source, text = _source(setting, environment, flags or {})
            if text is not None:
                try:
                    values[setting.name] = setting.metadata["parse"](text)
                except ValueError as error:
                    shown = "" if setting.metadata["secret"] else f" is {text[:100]!r}:"
                    raise ValueError(f"{source}{shown} {error}") from None
        return cls(**values)

    @classmethod
    def parse(
        cls,
        description: str,
        names: Iterable[str],
        extra: Callable[[argparse.ArgumentParser], None] | None = None,
        arguments: list[str] | None = None,
    ) -> tuple[Config, argparse.Namespace]:
        """A process's command line: flags for the named settings, the rest from the environment. Exits 2 on a mistake."""
        parser = argparse.ArgumentParser(
            description=description, epilog=_epilog(cls), formatter_class=_HelpFormatter, allow_abbrev=False
        )
        settings = {setting.name: setting for setting in fields(cls)}
        for name in ("redis_url", *names):
            setting = settings[name]
            default = "" if setting.metadata["secret"] else f", default {setting.default}"
            parser.add_argument(
                setting.metadata["flag"] or "--" + name.replace("_", "-"),
                dest=name,
                metavar=name.rpartition("_")[2].upper(),
                help=f"{setting.metadata['help']} ({name.upper()}{default})",
            )
        if extra:
            extra(parser)
        options = parser.parse_args(arguments)
        given = {name: value for name, value in vars(options).items() if name in settings and value is not None}
        try:
            return cls.from_environment(flags=given), options
        except ValueError as error:
            parser.error(str(error))

    def policy(self) -> tuple[int, int, int]:
        """Default max_attempts, timeout in ms and backoff in ms."""
        return self.max_attempts, round(self.processing_timeout_s * 1000), round(self.backoff_s * 1000)

    def in_effect(self) -> dict[str, Any]:
        """All settings without secrets, for the log."""
        shown = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        keys = [entry.strip().rpartition(":")[0] for entry in self.api_keys.split(",")] if self.api_keys else []
        return shown | {"redis_url": without_password(self.redis_url), "api_keys": keys}


def _source(setting: Field[Any], environment: Mapping[str, str], flags: Mapping[str, str]) -> tuple[str, str | None]:
    variable = setting.name.upper()
    if setting.name in flags:
        return setting.metadata["flag"] or "--" + setting.name.replace("_", "-"), flags[setting.name]
    if variable == "REDIS_URL" and not environment.get(variable):
        host, port = environment.get("REDIS_HOST"), environment.get("REDIS_PORT")
        return "REDIS_HOST, REDIS_PORT", f"redis://{host or 'localhost'}:{port or 6379}/0" if host or port else None
    return variable, environment.get(variable) or None


def _epilog(cls: type[Config]) -> str:
    rows = [
        f"  {setting.name.upper():22} {setting.metadata['help']} (default {setting.default})" for setting in fields(cls)
    ]
    return "environment, for all processes (a flag wins over it):\n" + "\n".join(rows)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=110)


def without_password(url: str) -> str:
    """The URL with its credentials and query left out, even where a password was not quoted as it should be."""
    scheme, _, rest = url.partition("://")
    place = re.split("[?#]", rest)[0]
    if "@" in rest[len(place) :]:  # nobody can say where the password ends
        return f"{scheme}://***"
    return f"{scheme}://" + ("***@" if "@" in place else "") + place.rpartition("@")[2]


# ---------------------------------------------------------------------------------------------------------- logging


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _utc(record),
            "level": record.levelname.lower(),
            "process": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {name}={_plain(value)}" for name, value in getattr(record, "fields", {}).items())
        level = "" if record.levelno == logging.INFO else record.levelname.lower() + ": "
        line = f"{_utc(record)[11:23]} {record.name} {level}{_plain(record.getMessage())}{pairs}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _plain(value: Any) -> str:
    """On one line, whatever it holds: a log line must not be able to look like two."""
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def _utc(record: logging.LogRecord) -> str:
    from datetime import datetime, timezone

    return (
        datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


class Log:
    """``log("message", job=..., ms=...)``: one line to stderr, with fields."""

    def __init__(self, process: str) -> None:
        self._logger = logging.getLogger(process)

    def __call__(self, message: str, **fields: Any) -> None:
        self._logger.info(message, extra={"fields": fields})

    def warning(self, message: str, **fields: Any) -> None:
        self._logger.warning(message, extra={"fields": fields})

    def failure(self, message: str, **fields: Any) -> None:
        """With the traceback of the exception that is being handled."""
        self._logger.error(message, exc_info=True, extra={"fields": fields})


WAKE_S = 0.5


class Signals:
    """SIGTERM and SIGINT as something that the main thread can wait for.

    The handler only puts into a SimpleQueue, which is safe at any instant; setting a threading.Event there is not."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[int] = SimpleQueue()
        self.count = 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        self.count += 1
        self._arrived.put(number)

    def stop(self) -> None:
        """As if a signal had arrived; from any thread."""
        self._arrived.put(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the next signal, or for ``timeout`` seconds. True when one arrived.

        Never for long at a time: the kernel may hand a signal to another thread, which does not wake this one, and its
        handler runs here alone."""
        while True:
            try:
                self._arrived.get(timeout=WAKE_S if timeout is None else timeout)
                return True
            except Empty:
                if timeout is not None:
                    return False

    def is_set(self) -> bool:
        return self.count > 0


def _for_people(config: Config) -> bool:
    return config.log_format == "text" or (config.log_format == "auto" and sys.stderr.isatty())


def start_logging(config: Config, process: str) -> Log:
    """Log to stderr in the configured format."""
    stream = logging.StreamHandler()
    stream.setFormatter(_Text() if _for_people(config) else _Json())
    logging.basicConfig(level=logging.INFO, handlers=[stream], force=True)
    return Log(process)


def announce(config: Config, log: Log) -> None:
    """Say once what is in effect; to people, only what is not as usual."""
    shown = config.in_effect()
    if _for_people(config):
        usual = Config().in_effect()
        shown = {name: value for name, value in shown.items() if name == "redis_url" or value != usual[name]}
    log("starting", **shown)
