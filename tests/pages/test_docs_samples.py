"""The samples on the page of the API: each is code that runs, and does what the form says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any
from unittest import mock

import pytest

import jobqueue
from _jobqueue.keys import new_key
from jobqueue import JobQueue
from tests.harness import ROOT, System
from tests.pages.browser import Browser
from tests.pages.test_docs_page import operations, sample, show, unfold, write

HOSTILE = 'it\'s "quoted" \\ $HOME `id` ; \u202e é'


def run(command: list[str], **environment: str) -> str:
    """What a sample prints."""
    env = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_shell(text: str, **environment: str) -> str:
    return run(["bash", "-c", text.replace("curl ", "curl -s ", 1)], **environment)


def in_python(text: str, **environment: str) -> str:
    return run([sys.executable, "-c", text], **environment)


def ask(tab: Browser, payload: Any, unique_key: str) -> None:
    unfold(tab, "submit")
    write(tab, "#submit-body-payload", json.dumps(payload))
    write(tab, "#submit-body-unique_key", unique_key)
    write(tab, "#submit-header-Idempotency-Key", f'{unique_key}\'s "key"')


def test_samples_for_the_shell_and_for_python_submit_what_the_form_says(system: System, tab: Browser) -> None:
    key, entry = new_key("me", "admin")
    system.api(API_KEYS=entry)
    show(tab, system)
    tab.run("document.getElementById('docs-key').focus()")
    tab.write(key)
    payload = {"text": HOSTILE, "none": None, "yes": True, "n": 12345678901234567890, "list": [1.5, {}]}
    for name, execute in (("curl", in_shell), ("Python", in_python)):
        if name == "Python":
            pytest.importorskip("requests")
        ask(tab, payload, name)
        printed = execute(sample(tab, "submit", name), JOBQUEUE_KEY=key)
        found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", printed)
        assert found and JobQueue(system.url).get(found[0]).payload == payload
    unfold(tab, "list")
    write(tab, "#list-query-status", "queued")
    write(tab, "#list-query-tag", "a&b")
    text = sample(tab, "list", "curl")
    assert "status=queued&tag=a%26b" in text
    assert json.loads(in_shell(text, JOBQUEUE_KEY=key))["jobs"] == []


def test_the_sample_for_the_library_submits_the_same(api: System, tab: Browser) -> None:
    show(tab, api)
    payload = {"text": HOSTILE, "none": None, "no": False}
    ask(tab, payload, "library")
    write(tab, "#submit-body-priority", "high")
    job_id = in_python(sample(tab, "submit", "JobQueue"), REDIS_URL=api.url).split()[0]
    job = api.job(job_id)
    assert (job["payload"], job["priority"], job["type"]) == (payload, 9, "email.send")


def test_every_sample_for_the_library_fits_its_methods(
    api: System, tab: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Methods, their arguments, names to import: as the library has them now."""
    monkeypatch.setenv("REDIS_URL", api.url)
    show(tab, api)
    tab.click("#docs-all button")
    tab.see("document.querySelectorAll('article form').length", len(operations(api)))
    sample(tab, "submit", "JobQueue")
    texts: dict[str, str] = tab.run("""Object.fromEntries([...document.querySelectorAll('article')].map(each =>
        [each.id, each.querySelector('pre[aria-label="Sample, JobQueue"]')?.textContent]).filter(([, text]) => text))""")
    assert {"submit", "submitBatch", "bulk", "get", "list", "putLimit", "runSchedule", "tag"} <= texts.keys()
    assert {"claim", "metrics", "eraseHistory", "submitEmail"}.isdisjoint(texts)
    real = JobQueue("redis://127.0.0.1:1/0")
    for name, text in texts.items():
        jobs = mock.create_autospec(real, instance=True)
        jobs.queues.return_value = ["default"]
        for each in (jobs.requeue_dead, jobs.submit_many, jobs.page):
            each.return_value = mock.MagicMock()
        with mock.patch.object(jobqueue, "JobQueue", return_value=jobs):
            try:
                exec(text, {"print": lambda *_: None})  # noqa: S102
            except Exception as error:
                pytest.fail(f"{name}: {error}\n{text}")
        assert any(call for call in jobs.mock_calls), text
