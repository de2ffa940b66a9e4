"""Settings: a flag wins over the environment, the environment over the default.

``Config.parse`` is called once, in each process's ``main``; everything else gets the frozen result as an argument.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from _jobqueue.keys import Key, parse_keys
from _jobqueue.records import DURABILITIES, MAX_QUEUES, NAME, QUEUES_MAX, Policy
from _jobqueue.redis_url import check_redis_url, without_password
from _jobqueue.webhooks.address import NOTHING, Allowed
from _jobqueue.webhooks.signing import parse_secrets

Address = IPv4Address | IPv6Address
PROGRAMS = ("api", "worker", "reaper", "history", "outbox")
EVERY = (*PROGRAMS, "jobqueue")
API, WORKER, REAPER, HISTORY, OUTBOX = (("api",), ("worker",), ("reaper",), ("history",), ("outbox",))

OTHER_VARIABLES = {"REDIS_HOST", "REDIS_PORT", "API_KEY", "JOBQUEUE_KEY"}  # the last two are of callers
LIKE = 0.85  # of 1: how alike two names are when one is a slip of the other


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", text) or not low <= float(text) <= high:
            raise ValueError(f"must be a number of seconds from {low:.10g} to {high:.10g}")
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


def _record_url(text: str) -> str:
    """'' for none: a setting that is empty counts as not given."""
    if text == "off":
        return ""
    if not re.match(r"sqlite:///.|postgres(ql)?://", text):
        raise ValueError("must be like sqlite:///data/history.db or postgresql://user@host/name, or off")
    return text


def _switch(text: str) -> bool:
    return bool(_whole(0, 1)(text))


def _address(text: str) -> Address:
    """IPv4 also where it is written as IPv6."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address") from None
    return getattr(address, "ipv4_mapped", None) or address


def _hosts(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError("must be host names, comma-separated")
    return names


def _queues(text: str) -> tuple[tuple[str, int], ...]:
    """Names with their threads; 0 threads: an even part of WORKER_THREADS."""
    queues: dict[str, int] = {}
    named = [part.partition("=") for part in text.split(",")]
    for name, equals, number in named:
        if not NAME.fullmatch(name) or name in queues:
            raise ValueError("must name queues once each, like default or default=6,email=2")
        if bool(equals) != bool(named[0][1]):
            raise ValueError("give a number of threads to every queue or to none")
        queues[name] = _whole(1, 1000)(number) if equals else 0
    return tuple(queues.items())


def _as_given(queues: tuple[tuple[str, int], ...]) -> str:
    return ",".join(f"{name}={threads}" if threads else name for name, threads in queues)


def _setting(
    default: Any,
    parse: Callable[[str], Any],
    help: str,
    flag: str = "",
    *,
    of: tuple[str, ...] = PROGRAMS,
    secret: bool = False,
    show: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """``parse`` gives the final type, which is the default's too. ``of`` names the programs that use it: no other checks it.
    ``show`` gives what may be seen of it. A ``secret`` text is quoted in no error."""
    metadata = {"parse": parse, "help": help, "flag": flag, "of": of, "secret": secret, "show": show}
    return field(default=default, metadata=metadata, repr=not secret)


def _shown(setting: Field[Any], value: Any) -> Any:
    return setting.metadata["show"](value)


@dataclass(frozen=True)
class Config:
    """What is in effect. Each field is the environment variable of the same name in capitals."""

    redis_url: str = _setting(
        "redis://localhost:6379/0",
        check_redis_url,
        "where Redis is",
        "--redis-url",
        of=EVERY,
        secret=True,
        show=without_password,
    )

    api_host: str = _setting("127.0.0.1", _text, "address to listen on", "--host", of=API)
    api_port: int = _setting(8000, _whole(1, 65535), "port to listen on", "--port", of=API)
    # A request is one round trip to Redis: 16 wait side by side without holding each other up.
    api_threads: int = _setting(16, _whole(1, 256), "requests served at the same time", "--threads", of=API)
    # They hold no thread, each a connection to its client.
    api_waiters: int = _setting(128, _whole(0, 1000), "requests with wait_s that wait at the same time", of=API)
    api_processes: int = _setting(
        1,
        _whole(1, 64),
        "processes that share the port, for machines with more cores",
        "--processes",
        of=API,
    )
    api_one_core: bool = _setting(True, _switch, "0 lets an API process use all cores", show=int, of=API)
    api_keys: tuple[Key, ...] = _setting(
        (),
        parse_keys,
        "name:scope:sha256, comma-separated; scopes read, submit, admin and work, perhaps with queues, like work@email",
        secret=True,
        show=lambda keys: [key.shown() for key in keys],
        of=API,
    )
    api_insecure: bool = _setting(False, _switch, "1 lets it listen beyond this machine without keys", show=int, of=API)
    allowed_hosts: tuple[str, ...] = _setting(
        (),
        _hosts,
        "host names it is called by, comma-separated; * for any (default: loopback names)",
        show=",".join,
        of=API,
    )
    trusted_proxy: Address | None = _setting(  # noqa: RUF009 (it knows immutable types by name)
        None,
        _address,
        "address of the proxy whose X-Forwarded-For is believed",
        show=lambda address: str(address or ""),
        of=API,
    )
    # Enough for a busy service, low enough that one runaway client does not fill Redis within minutes.
    rate_limit_max: int = _setting(6000, _whole(0, 100_000), "POSTs of one client in a window; 0 is no limit", of=API)
    rate_limit_window_s: int = _setting(60, _whole(1, 3600), "length of that window in seconds", of=API)
    # Workers claim and settle all the time, and are few.
    work_rate_max: int = _setting(0, _whole(0, 100_000), "the same for workers over HTTP; 0 is no limit", of=API)
    max_body_bytes: int = _setting(2**20, _whole(1024, 2**30), "largest request body", of=API)
    max_batch_bytes: int = _setting(8 * 2**20, _whole(1024, 2**30), "largest body of POST /jobs/batch", of=API)
    max_result_bytes: int = _setting(
        2**20, _whole(16, 2**30), "largest result of a handler, as JSON", of=(*API, *WORKER)
    )

    worker_threads: int = _setting(
        8, _whole(1, 1000), "jobs run at the same time in one process", "--threads", of=WORKER
    )
    worker_processes: int = _setting(
        1, _whole(1, 256), "worker processes, for CPU-bound handlers", "--processes", of=WORKER
    )
    queues: tuple[tuple[str, int], ...] = _setting(
        (("default", 0),),
        _queues,
        "queues to serve: default, or default=6,email=2 threads",
        "--queues",
        show=_as_given,
        of=WORKER,
    )
    handlers: str = _setting(
        "handlers", _text, "modules or files with the job types, comma-separated", "--handlers", of=WORKER
    )
    # Below the 45 s that docker-compose.yml gives a container to stop.
    drain_s: float = _setting(
        30.0, _seconds(0, 86400), "how long a stopping worker lets its jobs finish", "--drain", of=WORKER
    )

    # T: long enough for most jobs, short enough that a dead worker's jobs run again soon.
    processing_timeout_s: float = _setting(10.0, _seconds(1, 86400), "default timeout of a job, and the lease length")
    max_attempts: int = _setting(2, _whole(1, 100), "default number of attempts of a job")
    backoff_s: float = _setting(1.0, _seconds(0, 86400), "default first delay between attempts; it doubles each time")

    reaper_interval_s: float = _setting(
        1.0, _seconds(0.05, 60), "time between two ticks of the reaper", "--interval", of=REAPER
    )
    # At least a minute: a submit that is sent again by itself must find the job that its first copy stored.
    result_ttl_s: int = _setting(86400, _whole(60, 10**9), "how long done and cancelled jobs are kept", of=REAPER)
    failed_ttl_s: int = _setting(604800, _whole(60, 10**9), "how long dead letters are kept", of=REAPER)
    unhandled_ttl_s: int = _setting(
        604800, _whole(1, 10**9), "how long jobs wait whose type nobody handles; then they are dead letters", of=REAPER
    )

    webhook_secrets: tuple[bytes, ...] = _setting(
        (),
        parse_secrets,
        "whsec_<base64>, one or two with a comma: webhooks may be named, and are signed with them",
        secret=True,
        show=len,
        of=(*API, *WORKER, *OUTBOX),
    )
    webhook_http: bool = _setting(
        False, _switch, "1 takes http addresses too, for tests", show=int, of=(*API, *WORKER, *OUTBOX)
    )
    webhook_allow: Allowed = _setting(  # noqa: RUF009 (it cannot change)
        NOTHING,
        Allowed.of,
        "networks and names that webhooks may lead to beside the global addresses: 10.1.0.0/16, hooks.internal",
        show=str,
        of=WORKER,
    )

    history_url: str = _setting(
        "",
        _record_url,
        "the database with the record: sqlite:///data/history.db or postgresql://user@host/name; off: none",
        "--database",
        secret=True,
        show=lambda url: url and without_password(url),
        of=("api", "history"),
    )
    history_detail: str = _setting(
        "changes", _one_of("changes", "all"), "all: the record learns of each claim too", of=HISTORY
    )
    # About 150 bytes of Redis each; one that is past its retention keeps its job too.
    history_hold_max: int = _setting(
        1_000_000, _whole(1000, 10**9), "changes that wait for the record; above it the oldest are given up", of=HISTORY
    )
    history_ttl_days: int = _setting(90, _whole(0, 36500), "how long ended jobs stay in it; 0: for good", of=HISTORY)
    history_payloads: bool = _setting(True, _switch, "0 leaves payloads out of it", show=int, of=HISTORY)

    outbox_url: str = _setting(
        "",
        _record_url,
        "the database with the table jobqueue_outbox: sqlite:///shop.db or postgresql://user@host/name",
        "--database",
        secret=True,
        show=lambda url: url and without_password(url),
        of=OUTBOX,
    )

    # Python runs one thread at a time; handing over to a thread on another core costs more than a small job.
    one_core: bool = _setting(
        False,
        _switch,
        "1 keeps each worker process on one core: faster for many small jobs",
        show=int,
        of=WORKER,
    )
    # Each costs every tick of the reaper and every look at all of them; whoever may submit may name new ones.
    queues_max: int = _setting(
        QUEUES_MAX, _whole(1, MAX_QUEUES), "queues above which a submit to a new one is refused", of=(*API, *OUTBOX)
    )
    durability: str = _setting("fast", _one_of(*DURABILITIES), "what a submit's 201 waits for", of=(*API, *OUTBOX))
    log_format: str = _setting("auto", _one_of("auto", "text", "json"), "auto: text on a terminal, else json")
    # A line for each job costs more than a job that does nothing: turn it off where they come by the thousand.
    log_jobs: str = _setting(
        "all",
        _one_of("all", "failures"),
        "failures: no log lines for attempts and requests that went well",
        of=(*API, *WORKER),
    )
    simulated_work_s: float = _setting(1.0, _seconds(0, 3600), "scales the sleeps of the sample handlers", of=WORKER)
    simulated_failures: bool = _setting(
        True,
        _switch,
        "0 turns the random failures of the sample handlers off",
        show=int,
        of=WORKER,
    )

    program: str = field(default="", compare=False)  # whose settings these are; '': all

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None, program: str = ""
    ) -> Config:
        """Read, check and freeze the settings of one program, or of all. ValueError names the variable or flag that is wrong."""
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {"program": program}
        for setting in settings_of(program):
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
        program: str,
        description: str,
        names: Iterable[str],
        extra: Callable[[argparse.ArgumentParser], None] | None = None,
        arguments: list[str] | None = None,
    ) -> tuple[Config, argparse.Namespace]:
        """A process's command line: flags for the named settings, the rest from the environment. Exits 2 on a mistake."""
        parser = argparse.ArgumentParser(
            description=description, epilog=_epilog(program), formatter_class=_HelpFormatter, allow_abbrev=False
        )
        settings = {setting.name: setting for setting in settings_of(program)}
        for name in ("redis_url", *names):
            setting = settings[name]
            default = "" if setting.metadata["secret"] else f", default {_default(setting)}"
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
            return cls.from_environment(flags=given, program=program), options
        except ValueError as error:
            parser.error(str(error))

    @property
    def policy(self) -> Policy:
        """For jobs whose type and submit say nothing else."""
        return Policy(self.max_attempts, round(self.processing_timeout_s * 1000), round(self.backoff_s * 1000))

    @property
    def webhooks(self) -> str:
        """What a submit may name, as JobQueue takes it."""
        if not self.webhook_secrets:
            return "off"
        return "http" if self.webhook_http else "https"

    @property
    def shares(self) -> dict[str, int]:
        """The threads of each queue; queues without a number share ``worker_threads`` evenly, with at least one each."""
        more, extra = divmod(self.worker_threads, len(self.queues))
        return {name: threads or max(1, more + (at < extra)) for at, (name, threads) in enumerate(self.queues)}

    def in_effect(self) -> dict[str, Any]:
        """The program's settings without secrets, for people and as JSON."""
        return {setting.name: _shown(setting, getattr(self, setting.name)) for setting in settings_of(self.program)}


def settings_of(program: str = "") -> list[Field[Any]]:
    """Those that a program uses, or all."""
    return [each for each in fields(Config) if each.metadata and (not program or program in each.metadata["of"])]


def misspelt(environment: Mapping[str, str], program: str = "") -> dict[str, str]:
    """Variables that are no setting but look like one of the program's -> the nearest."""
    names = {setting.name.upper() for setting in settings_of(program)}
    known = {setting.name.upper() for setting in settings_of()} | OTHER_VARIABLES
    found = {}
    for variable in environment.keys() - known:
        nearest = difflib.get_close_matches(variable.upper(), known, 1, LIKE)
        if nearest and nearest[0] in names:
            found[variable] = nearest[0]
    return found


def _source(setting: Field[Any], environment: Mapping[str, str], flags: Mapping[str, str]) -> tuple[str, str | None]:
    variable = setting.name.upper()
    if setting.name in flags:
        return setting.metadata["flag"] or "--" + setting.name.replace("_", "-"), flags[setting.name]
    if variable == "REDIS_URL" and not environment.get(variable):
        host, port = environment.get("REDIS_HOST"), environment.get("REDIS_PORT")
        return "REDIS_HOST, REDIS_PORT", f"redis://{host or 'localhost'}:{port or 6379}/0" if host or port else None
    return variable, environment.get(variable) or None


def _default(setting: Field[Any]) -> str:
    shown = _shown(setting, setting.default)
    return "none" if shown in ("", []) else str(shown)


def _epilog(program: str) -> str:
    rows = [
        f"  {setting.name.upper():22} {setting.metadata['help']} (default {_default(setting)})"
        for setting in settings_of(program)
    ]
    return "environment (a flag wins over it):\n" + "\n".join(rows)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=110)
