"""The errors of Redis and of the network, and what they mean here."""

from __future__ import annotations

import redis

from _jobqueue.errors import Unavailable

# Another try, perhaps at another server, may go well.
PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.exceptions.AskError,  # and MOVED, which is one
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
)
_AWAY = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.RedisClusterException, OSError)
NO_ANSWER, REFUSED = "Redis does not answer", "Redis refused"
_SILENT = (redis.TimeoutError, TimeoutError)


class _Weather:
    """Turns every error of Redis or the network into Unavailable. A class, because a generator as context manager costs a
    microsecond a call."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, (redis.RedisError, redis.exceptions.RedisClusterException, OSError)):
            raise unavailable(error) from error


weather = _Weather()


def unavailable(error: BaseException) -> Unavailable:
    """The address of Redis may stand in an error's text: that is for the log."""
    text = " ".join(str(error).split())[:200]
    away = isinstance(error, _AWAY) and not isinstance(error, redis.AuthenticationError)  # that one is both
    public = NO_ANSWER if away else REFUSED
    # A Cluster's client tells of the last node that it has asked.
    silent = isinstance(error, _SILENT) or isinstance(error.__cause__, _SILENT)
    return Unavailable(public, text, silent=silent)


def is_replica(error: redis.ResponseError) -> bool:
    """The server takes no writes. redis-py cuts the code off its own class; Redis 6 puts it inside another error."""
    return isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in str(error)
