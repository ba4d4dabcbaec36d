"""What jobs share: variables, secret and plain, and the form that was wrong."""

from __future__ import annotations

from server.actions.variables import VariableView
from server.web.pages.variables import EMPTY, VariablesPage, values_of
from tests.storybook.fixture import DAY_US, MINUTE_US, NOW_US, Story, frame

JOBS = ("backup-nightly", "reports", "thumbnails")


def _variable(name: str, value: str | None, job: str = "", used_by: list[str] | None = None) -> VariableView:
    return VariableView(
        name=name,
        job=job,
        value=value,
        secret=value is None,
        description="Where the archive is" if name == "archive" else "",
        updated_at_us=NOW_US - (MINUTE_US if value is None else 3 * DAY_US),
        updated_by="operator",
        used_by=used_by or [],
    )


def stories() -> list[Story]:
    """All of them."""
    secret = _variable("db_password", None, used_by=["backup-nightly", "environment warehouse"])
    lines = (
        _variable("archive", "/srv/archive", used_by=["backup-nightly", "reports", "command set mounts"]),
        secret,
        _variable("region", "north"),
        _variable("archive", "/srv/archive/reports", "reports", ["reports"]),
    )
    whole = frame("Variables", "/shared")
    wrong = frame("Variables", "/shared", problem="It is not right: value a secret needs at least 4 characters.")
    typed = {**EMPTY, "name": "token", "secret": "1"}
    return [
        Story("variables", VariablesPage(whole, lines, JOBS)),
        Story("variables-empty", VariablesPage(whole, (), JOBS)),
        Story("variables-change", VariablesPage(whole, lines, JOBS, values_of(secret), {}, True)),
        Story("variables-wrong", VariablesPage(wrong, lines, JOBS, typed, {"value": "a secret needs at least 4"})),
    ]
