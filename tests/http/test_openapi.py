"""The description of the API: it names what there is, and what there is behaves as described."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import api
from _jobqueue.config import Config
from _jobqueue.logs import Log
from _jobqueue.web import dialects, routes, schedules
from _jobqueue.web.openapi import description
from jobqueue import JobQueue
from tests.harness import ROOT, Server, System, eventually

METHODS = {"get", "post", "put", "delete"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """With all that is described switched on."""
    server = Server()
    system = System(server)
    system.api(QUEUES_MAX="4096", WEBHOOK_SECRETS="whsec_" + "A" * 40)
    yield system
    system.close(show_logs=False)
    server.close()


@pytest.fixture(scope="module")
def described(system: System) -> dict[str, Any]:
    return dict(system.get("/openapi.json").json())


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in the description."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(child)


def resolved(described: dict[str, Any], schema: Any) -> Any:
    """The description without references, as far as a validator of JSON Schema needs it."""
    if isinstance(schema, list):
        return [resolved(described, each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found: Any = described
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return resolved(described, found)
    return {name: resolved(described, each) for name, each in schema.items()}


def without_redis() -> api.Api:
    jobs = JobQueue("redis://127.0.0.1:1/0")
    return api.Api(Config(), jobs, jobs, Log("api"))


def test_every_route_is_described_and_every_description_has_a_route() -> None:
    ours = without_redis()
    pages = {*api.PAGES, "/static/{name}"}
    routes = {(route.method, re.sub(r"<(\w+)>", r"{\1}", route.rule)) for route in ours.app.routes}
    described = {
        (method.upper(), path)
        for path, calls in json.loads(ours.backend.description.plain)["paths"].items()
        for method in calls.keys() & METHODS
    }
    assert {(method, path) for method, path in routes if path not in pages} == described


def test_every_reference_leads_somewhere(described: dict[str, Any]) -> None:
    references = [node["$ref"] for node in nodes(described) if isinstance(node.get("$ref"), str)]
    assert len(references) > 50
    for reference in references:
        assert resolved(described, {"$ref": reference}), reference


def test_every_call_has_a_name_of_its_own_and_says_what_may_go_wrong(described: dict[str, Any]) -> None:
    calls = [call for path in described["paths"].values() for call in path.values()]
    tags = {tag["name"] for tag in described["tags"]}
    assert len({call["operationId"] for call in calls}) == len(calls)
    for call in calls:
        assert call["summary"] and call["tags"][0] in tags
        assert {"401", "403", "500", "503"} <= call["responses"].keys()
        assert any(status.startswith("2") for status in call["responses"])


def test_every_path_parameter_is_described(described: dict[str, Any]) -> None:
    for path, calls in described["paths"].items():
        for call in calls.values():
            parameters = resolved(described, call["parameters"])
            in_path = {each["name"] for each in parameters if each["in"] == "path" and each["required"]}
            assert in_path == set(re.findall(r"{(\w+)}", path)), path


def test_every_field_and_every_parameter_says_what_it_means(described: dict[str, Any]) -> None:
    fields = [(name, field) for node in nodes(described) for name, field in shape_of(node).items()]
    fields += [(each["name"], each) for each in described["components"]["parameters"].values()]
    assert len(fields) > 200
    assert {name for name, field in fields if not field.get("description")} == set()


def shape_of(node: dict[str, Any]) -> dict[str, Any]:
    """The fields, where a node is the schema of an object."""
    return dict(node["properties"]) if node.get("type") == "object" and "properties" in node else {}


def test_every_call_says_which_scope_it_needs(described: dict[str, Any]) -> None:
    scopes = {
        call["operationId"]: [scope for each in call["security"] for scope in each.get("key", [])]
        for path in described["paths"].values()
        for call in path.values()
    }
    assert scopes["submit"] == ["submit"] and scopes["list"] == ["read"] and scopes["bulk"] == ["admin"]
    assert scopes["claim"] == ["work"] and scopes["livez"] == scopes["openapi"] == scopes["whoami"] == []
    paths = described["paths"]
    assert paths["/livez"]["get"]["security"] == [] and paths["/whoami"]["get"]["security"] == [{}, {"key": []}]


def test_every_example_fits_its_schema(described: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: make test does it")
    flat = resolved(described, described)
    checked = 0
    for node in nodes(flat):
        for schema in (node, node.get("schema")):
            if isinstance(schema, dict) and "example" in node and ("type" in schema or "enum" in schema):
                jsonschema.validate(node["example"], schema, jsonschema.Draft202012Validator)
                checked += 1
    assert checked >= 5


def test_the_examples_are_taken(system: System, described: dict[str, Any]) -> None:
    taken = 0
    for path, calls in described["paths"].items():
        content = resolved(described, calls.get("post", {}).get("requestBody", {})).get("content", {})
        kind = content.get("application/json", {})
        example = kind.get("example", kind.get("schema", {}).get("example"))
        if example is not None and "{job_id}" not in path:  # such a job would have to be there
            patient = {"wait_s": 0} if "wait_s" in example else {}
            answer = system.post(path.replace("{queue}", "new"), example | patient)
            assert answer.status_code in (200, 201, 204), (path, answer.text)
            taken += 1
    assert taken == 7


def test_it_is_a_valid_description(described: dict[str, Any]) -> None:
    validator = pytest.importorskip(
        "openapi_spec_validator", reason="openapi-spec-validator is not installed: make test does it"
    )
    assert described["openapi"].startswith("3.1.")
    validator.validate(described)


def test_a_job_and_a_problem_look_as_described(system: System, described: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: make test does it")
    schemas = resolved(described, described["components"]["schemas"])
    job = system.post("/jobs", {"payload": 1, "tags": ["a", "b"], "delay_s": 60}).json()
    jsonschema.validate(job, schemas["Job"] | {"additionalProperties": False}, jsonschema.Draft202012Validator)
    jsonschema.validate(system.job(job["job_id"]), schemas["Job"] | {"additionalProperties": False})
    jsonschema.validate(system.post("/jobs", {"payload": 1, "type": ""}).json(), schemas["Problem"])
    jsonschema.validate(system.get("/jobs").json(), schemas["Page"])
    for row in system.get("/queues").json()["queues"]:
        jsonschema.validate(row, schemas["Queue"] | {"additionalProperties": False})
    explain, check = system.get(f"/jobs/{job['job_id']}/explain"), system.post("/queues/default/check")
    answers = {"Stats": system.get("/stats"), "System": system.get("/system"), "Explanation": explain, "Verdict": check}
    for name, answer in answers.items():
        jsonschema.validate(answer.json(), schemas[name] | {"additionalProperties": False})


def test_a_parameter_that_a_list_does_not_have_is_refused_by_all_of_them(
    system: System, described: dict[str, Any]
) -> None:
    """A filter that is ignored shows everything, as if it matched."""
    shown = [path for path, calls in described["paths"].items() if calls.get("get", {}).get("security")]
    assert {"/queues", "/workers", "/stats", "/system", "/jobs"} < set(shown)
    for path in shown:
        answer = system.get(re.sub(r"{\w+}", "x", path) + "?nonsense=1")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), path
        assert answer.json()["errors"][0]["pointer"] == "/nonsense", path
        assert "422" in described["paths"][path]["get"]["responses"], path


# Of a batch the good rows are stored: 207 refuses the others, each with a problem of its own.
SETTINGS = """
[[operations]]
include-path = "/jobs/batch"
[operations.checks.negative_data_rejection]
expected-statuses = [207, 400, 401, 403, 404, 405, 406, 409, 415, 422, 428, 429, "5xx"]
"""


SOME, ALL = "examples,fuzzing", "examples,coverage,fuzzing,stateful"


@pytest.mark.skipif(find_spec("schemathesis") is None, reason="schemathesis is not installed: make test does it")
@pytest.mark.parametrize(
    ("examples", "phases"),
    [
        pytest.param(1, SOME, marks=pytest.mark.long(8)),
        pytest.param(2, ALL, marks=pytest.mark.long(15)),
        pytest.param(12, ALL, marks=pytest.mark.long(40)),
    ],
    ids=["some phases", "all phases", "many examples"],
)
def test_odd_calls_find_nothing_that_is_not_described(
    system: System, tmp_path: Path, examples: int, phases: str
) -> None:
    """All of schemathesis's checks on every call."""
    for program in (system.worker("--threads", "2"), system.reaper()):
        eventually(program.process.poll, equals=None)
    schemathesis = [sys.executable, "-m", "schemathesis.cli", "run", f"{system.api_url}/openapi.json"]
    flags = ["--checks", "all", "--max-examples", str(examples), "--no-color", "--continue-on-failure", "--seed", "1"]
    flags += ["--phases", phases]
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    report = tmp_path / "report.txt"
    with report.open("w") as output:
        finished = subprocess.run(
            [*schemathesis, *flags, "--output-sanitize", "false"],
            env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.http.schema_hooks", "PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=400,
        )
    lines = [line[:300] for line in report.read_text(errors="replace").splitlines() if line.strip()]
    assert finished.returncode == 0, "\n".join(lines[-120:])
    assert any("passed" in line for line in lines), lines
    system.check()


def test_it_is_plain_json_without_what_only_python_knows() -> None:
    rooms = [routes, schedules, dialects]
    described = description([route for room in rooms for route in room.ROUTES], routes.TAGS)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
