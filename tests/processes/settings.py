"""What the tests of settings speak in."""

from __future__ import annotations

import pytest

from _jobqueue.config import Config, settings_of

SETTINGS = {setting.name: setting for setting in settings_of()}


SECRET = "hunter2"


def refusal(environment: dict[str, str], flags: dict[str, str] | None = None) -> str:
    with pytest.raises(ValueError) as error:
        Config.from_environment(environment, flags)
    return str(error.value)
