"""What the descriptions of requests and answers are made of: JSON Schema in few words."""

from __future__ import annotations

from typing import Any

from _jobqueue.limits import LIMIT, PATTERN
from _jobqueue.records import MAX_PRIORITY, NAME, STATUSES

JOB_ID = "0f8fad5b-d9cb-8000-a165-70867728950e"
Schema = dict[str, Any]


def shape(properties: Schema, required: tuple[str, ...] = (), **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), **more}


def full(**properties: Schema) -> Schema:
    """An object that has all of these."""
    return shape(properties, tuple(properties))


def ref(name: str, kind: str = "schemas") -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def listed(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def alike(schema: Schema, *names: str) -> Schema:
    return dict.fromkeys(names, schema)


def seconds(low_ms: int, high_ms: int, description: str) -> Schema:
    return {"type": "number", "minimum": low_ms / 1000, "maximum": high_ms / 1000, "description": description}


ANYTHING: Schema = {"type": "object"}
TEXT: Schema = {"type": "string"}
GIVEN: Schema = {"type": "string", "minLength": 1}  # what a filter asks for
SWITCH: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number", "minimum": 0}
CURSOR: Schema = {"type": "string", "format": "cursor"}
TIME: Schema = {"type": "string", "format": "date-time"}
WORD: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}
PLACE: Schema = {"type": "string", "pattern": f"^{NAME.pattern}:{NAME.pattern}$"}
LIMIT_NAME: Schema = {"type": "string", "pattern": f"^({LIMIT.pattern}|{PATTERN.pattern})$"}
STATUS: Schema = {"enum": list(STATUSES)}
PRIORITY: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY}
BY_STATUS = shape(alike(WHOLE, *STATUSES), description="How many jobs have which status.")
