"""What jobs share: variables, environments, command sets, and forms that were wrong."""

from __future__ import annotations

from server.actions.environments import CommandSetView, EnvironmentView
from server.actions.resources import Holding, ResourceView
from server.actions.variables import VariableView
from server.core.environments import Place
from server.web.pages import environments
from server.web.pages.environments import CommandSetsPage, EnvironmentsPage
from server.web.pages.resources import ResourcesPage
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


def _environments() -> list[Story]:
    web = EnvironmentView(
        name="web",
        description="The shop's servers",
        run_as="www",
        working_directory="/srv/web",
        variables={"LANG": "C.UTF-8", "TOKEN": "${{ shop_token }}"},
        agents={"dock-2": Place(working_directory="/data/web"), "dock-3": Place(variables={"LANG": "de_DE.UTF-8"})},
        updated_at_us=NOW_US - DAY_US,
        updated_by="operator",
        used_by=list(JOBS),
    )
    mounts = CommandSetView(
        name="mounts",
        description="",
        before=["mount /backup", "test -w /backup"],
        after=["umount /backup"],
        updated_at_us=NOW_US - MINUTE_US,
        updated_by="admin",
        used_by=[],
    )
    at, sets = frame("Environments", "/shared"), frame("Command sets", "/shared")
    wrong = frame("Environments", "/shared", problem="Some fields are not right.")
    typed = environments.EMPTY | {"name": "x", "agents": "LANG=C"}
    named = {"agents": "'LANG=C' stands before the name of any agent: begin with [AGENT]."}
    licence = ResourceView(
        name="licence",
        count=2,
        description="Of the renderer",
        updated_at_us=NOW_US - DAY_US,
        updated_by="admin",
        held=2,
        holders=[Holding(9121, "thumbnails", "running", 1), Holding(9007, "reports", "unknown", 1)],
        waiting=12,
        used_by=["reports", "thumbnails"],
    )
    lane = ResourceView(
        name="tape",
        count=1,
        description="",
        updated_at_us=NOW_US,
        updated_by="admin",
        held=0,
        holders=[],
        waiting=0,
        used_by=[],
    )
    typed_count = {"name": "licence", "count": "2", "description": "Of the renderer"}
    return [
        Story("resources", ResourcesPage(frame("Resources", "/shared"), (licence, lane))),
        Story("resources-change", ResourcesPage(frame("Resources", "/shared"), (licence,), typed_count, {}, True)),
        Story("environments", EnvironmentsPage(at, (web,))),
        Story("environments-change", EnvironmentsPage(at, (web,), environments.values_of(web), {}, True)),
        Story("environments-wrong", EnvironmentsPage(wrong, (), typed, named)),
        Story("command-sets", CommandSetsPage(sets, (mounts,))),
        Story("command-sets-change", CommandSetsPage(sets, (mounts,), environments.set_values_of(mounts), {}, True)),
    ]


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
        *_environments(),
        Story("variables", VariablesPage(whole, lines, JOBS)),
        Story("variables-empty", VariablesPage(whole, (), JOBS)),
        Story("variables-change", VariablesPage(whole, lines, JOBS, values_of(secret), {}, True)),
        Story("variables-wrong", VariablesPage(wrong, lines, JOBS, typed, {"value": "a secret needs at least 4"})),
    ]
