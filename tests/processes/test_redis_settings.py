"""How Redis is named: by an URL, by host and port, by several addresses."""

from __future__ import annotations

import re

import pytest
import redis

from _jobqueue.config import Config
from _jobqueue.redis_url import without_password
from jobqueue import JobQueue
from tests.processes.settings import SECRET, SETTINGS, refusal


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "redis://localhost:6379/0"),
        ({"REDIS_HOST": "redis"}, "redis://redis:6379/0"),
        ({"REDIS_PORT": "6380"}, "redis://localhost:6380/0"),
        ({"REDIS_HOST": "redis", "REDIS_PORT": "6380"}, "redis://redis:6380/0"),
        ({"REDIS_HOST": "redis", "REDIS_URL": ""}, "redis://redis:6379/0"),
        ({"REDIS_HOST": "redis", "REDIS_URL": "rediss://other:1/2"}, "rediss://other:1/2"),
    ],
)
def test_redis_is_named_by_its_url_or_by_host_and_port(environment: dict[str, str], url: str) -> None:
    assert Config.from_environment(environment).redis_url == url
    assert Config.from_environment(environment, {"redis_url": "redis://flag"}).redis_url == "redis://flag"


def test_bad_redis_port_is_named() -> None:
    assert refusal({"REDIS_PORT": "x"}).startswith("REDIS_HOST, REDIS_PORT")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        (f"redis://:{SECRET}@localhost:6379/0", "redis://***@localhost:6379/0"),
        (f"rediss://user:{SECRET}@h/1?ssl_ca_certs=/x", "rediss://***@h/1"),
        (f"redis://h:1/0?password={SECRET}", "redis://h:1/0"),
        (f"redis://h:1/0?password=a@{SECRET}", "redis://***"),
        (f"redis://:a@b@{SECRET}@h:1", "redis://***@h:1"),
        (f"redis://:1/{SECRET}@h:1/0", "redis://***@h:1/0"),
        (f"redis://:1?{SECRET}@h:1/0", "redis://***"),
        (f"redis://:1#{SECRET}@h:1/0", "redis://***"),
        (f"unix://user:{SECRET}@/run/redis.sock?db=1", "unix://***@/run/redis.sock"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        (f"redis+sentinel://user:{SECRET}@h:1,i:2/jobs/0", "redis+sentinel://***@h:1,i:2/jobs/0"),
        (f"redis+sentinel://h:1/jobs?sentinel_password={SECRET}", "redis+sentinel://h:1/jobs"),
        (f"rediss+cluster://:{SECRET}@h:1,i:2", "rediss+cluster://***@h:1,i:2"),
        (f"redis+cluster://:{SECRET},x@h:1", "redis+cluster://***@h:1"),
    ],
)
def test_password_is_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
    assert SECRET not in shown
    assert Config(redis_url=url).in_effect()["redis_url"] == shown


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@h",
        f":{SECRET}@h:1",
        f"redis://:{SECRET}/x@h:1",
        f"redis://:x@{SECRET}/y@h",
        f"redis://[{SECRET}",
        f"redis://:{SECRET}\u2100@h",
        f"redis+sentinel://:{SECRET}@h:1,h:2",
        f"redis+sentinel://:{SECRET}/x@h:1/jobs",
        f"redis+sentinel://:x@{SECRET}@h:1/jobs",
        f"redis+cluster://:{SECRET}@h",
        f"redis+cluster://:{SECRET}@h:1/1",
        f"redis+cluster://:{SECRET}?x@h:1",
    ],
)
def test_mistake_in_an_url_is_told_without_the_password(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert SECRET not in refusal({"REDIS_URL": url})
    with pytest.raises(SystemExit):
        Config.parse("", "", (), arguments=["--redis-url", url])
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h:26379,i:26379,j:26379/mymaster",
        "rediss+sentinel://user:p%40ss@h:1,[::1]:2/my.master-1/15?sentinel_password=x",
        "redis+cluster://h:7000",
        "redis+cluster://:pa,ss@h:7000,i:7001/0",
        "rediss+cluster://h:7000,i:7001?ssl_ca_certs=ca.pem",
    ],
)
def test_sentinels_and_a_cluster_are_named_by_several_addresses(url: str) -> None:
    assert Config.from_environment({"REDIS_URL": url}).redis_url == url
    JobQueue(url)  # understands it, and asks nobody yet


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis+sentinel://h:1,i:2", "must name the service"),
        ("redis+sentinel://h:1/jobs/x", "must name the service"),
        ("redis+sentinel://h:1/jobs/0/0", "must name the service"),
        ("redis+sentinel://h/jobs", "host:port"),
        ("redis+sentinel://h:0/jobs", "host:port"),
        ("redis+cluster://h:70000", "host:port"),
        ("redis+cluster://h:1,", "host:port"),
        ("redis+cluster://", "host:port"),
        ("redis+cluster://h:1/3", "only number 0"),
        ("redis+other://h:1", "must start with"),
    ],
)
def test_a_mistake_in_several_addresses_is_explained(url: str, said: str) -> None:
    assert said in refusal({"REDIS_URL": url})


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h:1/abc", "database by its number"),
        ("redis://h:1/-1", "database by its number"),
        ("redis://h:1/1/2", "database by its number"),
        ("redis://h:1/0/", "database by its number"),
        ("redis://h:1/%30", "database by its number"),
        ("redis://h:1/99999", "database by its number"),
        ("redis://h:1/0#x", "host and port"),
        ("redis://h:1?db=x", "wrong db"),
        ("redis://h:1?db=-1", "wrong db"),
        ("redis://h:1/0?db=0", "its database twice"),
        ("redis://h:1?db=1&db=1", "its database twice"),
        ("redis://h:1/0?foo=bar", "unknown option behind its ?; known are username, password, client_name, db"),
        ("redis://h:1/0?foo", "unknown option"),
        ("redis://h:1/0?&", "unknown option"),
        ("redis://h:1/0?decode_responses=True", "unknown option"),
        ("redis://h:1/0?socket_timeout=1", "unknown option"),
        ("redis://h:1/0?protocol=3", "unknown option"),
        ("redis://h:1/0?password=", "wrong password"),
        ("redis://h:1/0?client_name=a%20b", "wrong client_name"),
        ("redis://h:1/0?ssl_ca_certs=ca.pem", "only rediss:// uses"),
        ("rediss://h:1/0?ssl_cert_reqs=maybe", "wrong ssl_cert_reqs"),
        ("rediss://h:1/0?ssl_check_hostname=no", "wrong ssl_check_hostname"),
        ("unix://run/redis.sock", "unix:///run/redis.sock"),
        ("unix://", "unix:///run/redis.sock"),
        ("unix:///run/redis.sock?db=x", "wrong db"),
        ("unix:///run/redis.sock#x", "host and port"),
        ("redis+sentinel://h:1/jobs/0?db=1", "its database twice"),
        ("redis+sentinel://h:1/jobs?foo=bar", "unknown option"),
        ("redis+cluster://h:1?db=1", "unknown option"),
        ("redis+cluster://h:1?read_from_replicas=1", "unknown option"),
        ("redis+cluster://h:1?ssl_ca_certs=ca.pem", "only rediss:// uses"),
    ],
)
def test_an_url_is_checked_to_its_end(url: str, said: str) -> None:
    assert said in refusal({"REDIS_URL": url})
    with pytest.raises(ValueError, match=re.escape(said)):
        JobQueue(url)


LOGIN = "username=u&password=p&client_name=c"


TLS = (
    "ssl_ca_certs=a&ssl_ca_path=b&ssl_ca_data=c&ssl_certfile=d&ssl_keyfile=e&ssl_password=f&ssl_ciphers=g"
    "&ssl_cert_reqs=none&ssl_check_hostname=False"
)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://h",
        "redis://h/",
        "redis://h:1?db=3",
        f"redis://h:1/15?{LOGIN}",
        f"rediss://h:1/15?{LOGIN}&{TLS}",
        f"unix:///run/redis.sock?db=1&{LOGIN}",
        "unix://user:p%40ss@/run/redis.sock",
    ],
)
def test_redis_can_be_reached_by_what_an_url_may_hold(url: str) -> None:
    assert Config.from_environment({"REDIS_URL": url}).redis_url == url
    redis.ConnectionPool.from_url(url).make_connection()  # it refuses options that it does not know; asks nobody yet
    JobQueue(url)


def test_everything_but_the_password_is_in_effect() -> None:
    assert Config().in_effect().keys() == SETTINGS.keys()
    assert Config(worker_threads=3).in_effect()["worker_threads"] == 3
