"""The parser, and how a command ends. Exit codes: 0, 1 failed, 2 wrong usage, 75 not available now."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from _jobqueue.commands import care, jobs, limits, queues, show
from _jobqueue.commands.backend import OK, UNAVAILABLE, USAGE, Backend, code_of, sentence_of
from _jobqueue.commands.direct import OnRedis
from _jobqueue.commands.remote import OverHttp
from _jobqueue.config import Config
from _jobqueue.errors import JobQueueError, TooNew
from _jobqueue.redis_url import without_password
from jobqueue import JobQueue

INTERRUPTED = 130
OURS = "jobqueue"  # as it is installed with the library
EPILOG = """exit codes: 0 done, 1 failed or refused, 2 called in a wrong way, 75 Redis or the API is away: try again
environment: REDIS_URL, or REDIS_HOST and REDIS_PORT; JOBQUEUE_KEY, or API_KEY"""


def main(arguments: list[str] | None = None) -> int:
    """Do what the arguments say. Returns the exit code; argparse exits by itself with 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        show.warn(f"{parser.prog}: name a VERB, like list")
        return USAGE
    backend = _backend(parser, options)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if isinstance(backend, OnRedis):
            backend.jobs.check_format()
        code: int = options.do(backend, options)
        return code
    except TooNew as error:
        show.warn(f"jobqueue.py: {error}")
        return code_of(error)
    except JobQueueError as error:
        show.warn(f"cannot {options.doing}: {sentence_of(error, backend)}")
        if code_of(error) == UNAVAILABLE and options.command == "submit" and not options.idempotency_key:
            show.warn("it may be stored or not: with --idempotency-key a repeat is harmless")
        return code_of(error)
    except BrokenPipeError:  # whoever read has seen enough, like head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=OURS if Path(sys.argv[0]).name == OURS else "jobqueue.py",
        description="Submit jobs, see and operate them, and look after the queues; in Redis itself, or over HTTP.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    on_redis = argparse.ArgumentParser(add_help=False)
    on_redis.add_argument("--redis-url", help="default: REDIS_URL")
    common = argparse.ArgumentParser(add_help=False, parents=[on_redis])
    common.add_argument("--url", type=_url, help="of the HTTP API, like http://127.0.0.1:8000, instead of Redis")
    common.add_argument("--key", help="API key for it (JOBQUEUE_KEY, or API_KEY)")
    common.add_argument("--json", action="store_true", help="print JSON, on one line")
    verbs = parser.add_subparsers(dest="command", metavar="VERB")
    jobs.add(verbs, common)
    queues.add(verbs, common)
    limits.add(verbs, common)
    care.add(verbs, queues.add_schedules(verbs, common), common, on_redis)
    return parser


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/?#\s@]+(/[^?#\s]*)?", text):
        raise argparse.ArgumentTypeError("must be like http://127.0.0.1:8000")
    return text


def _backend(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Backend:
    url = getattr(options, "url", None)
    if url and options.redis_url:
        parser.error("give --url or --redis-url, not both")
    if url and getattr(options, "repair", False):
        parser.error("--repair works on Redis itself: leave out --url")
    if url:
        key = options.key or os.environ.get("JOBQUEUE_KEY") or os.environ.get("API_KEY")
        if key and not re.fullmatch(r"[!-~]+", key):
            parser.error("the API key must be visible ASCII characters: copy it anew")
        return OverHttp(url, key)
    try:
        flags = {"redis_url": options.redis_url} if options.redis_url else {}
        where = Config.from_environment(flags=flags, program="jobqueue").redis_url
    except ValueError as error:
        parser.error(str(error))
    return OnRedis(JobQueue(where), without_password(where))
