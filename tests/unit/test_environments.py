"""Agent environments, command sets and tags: what goes before what, what the shell makes of it, what is planned."""

from __future__ import annotations

import subprocess

import pytest

from server.actions import environments, jobs, variables
from server.actions.environments import CommandSetSpec, EnvironmentSpec
from server.actions.variables import VariableSpec
from server.core.command_sets import composed
from server.core.environments import Place
from server.core.job_uses import Uses
from server.core.model import SYSTEM, Principal, Specification
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import jobs as job_rows
from server.storage import specifications, tags
from server.web.api.jobs import _view
from server.web.pages import environments as pages
from server.web.pages import job_uses
from tests.unit.ledger import START_US, Ledger


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    made.add_agent("south")
    return made


def put(ledger: Ledger, **more: object) -> None:
    own = {"south": Place(working_directory="/south", variables={"B": "south"})}
    values = {"run_as": "web", "working_directory": "/srv", "variables": {"A": "1", "B": "2"}, "agents": own} | more
    ledger.do(environments.put(EnvironmentSpec(name="web", **values), SYSTEM, START_US))  # type: ignore[arg-type]  # values of a test


def told(ledger: Ledger, agent: str = "north", name: str = "backup") -> Specification:
    job = job_rows.by_name(ledger.connection, name)
    assert job is not None
    return specifications.of_job(ledger.connection, job, (agent * 32)[:32])


def version(ledger: Ledger, name: str = "backup") -> int:
    job = job_rows.by_name(ledger.connection, name)
    assert job is not None
    return job.version


def test_the_job_goes_before_the_agents_and_that_before_all(ledger: Ledger) -> None:
    """Each level says what it says and leaves the rest: the job, what differs on its agent, the environment."""
    put(ledger)
    ledger.add_job(uses=Uses(environment="web"), environment={"A": "job"})
    found = [told(ledger, agent) for agent in ("north", "south")]
    assert [(one.run_as, one.working_directory, one.environment) for one in found] == [
        ("web", "/srv", {"A": "job", "B": "2"}),
        ("web", "/south", {"A": "job", "B": "south"}),
    ]
    ledger.add_job("own", uses=Uses(environment="web"), run_as="root", working_directory="/own")
    one = told(ledger, "south", "own")
    assert (one.run_as, one.working_directory) == ("root", "/own")


def test_an_environment_may_name_variables_and_secrets(ledger: Ledger) -> None:
    """A secret in its environment variables only; a change of one plans the jobs again that use the environment."""
    ledger.do(variables.put(VariableSpec(name="home", value="/h"), lambda *_: (b"", b""), SYSTEM, START_US))
    secret = VariableSpec(name="key", value="swordfish", secret=True)
    ledger.do(variables.put(secret, lambda *_: (b"n", b"c"), SYSTEM, START_US))
    put(ledger, working_directory="${{ home }}/x", variables={"KEY": "${{ key }}"}, agents={})
    ledger.add_job(uses=Uses(environment="web"))
    one, before = told(ledger), version(ledger)
    assert one.working_directory == "/h/x"
    assert one.confidential is not None
    assert one.confidential.texts == {"KEY": (("", "key"),)}
    ledger.do(variables.put(secret, lambda *_: (b"n", b"d"), SYSTEM, START_US))
    assert version(ledger) == before + 1
    with pytest.raises(Invalid, match="working_directory names secrets: key"):
        put(ledger, working_directory="/${{ key }}")
    with pytest.raises(Invalid, match="variables names variables that do not exist: gone"):
        put(ledger, variables={"A": "${{ gone }}"})
    with pytest.raises(Conflict, match="named by backup, environment web"):
        ledger.do(variables.delete("key", "", SYSTEM, START_US))


def test_a_change_plans_the_jobs_that_use_it_and_no_other(ledger: Ledger) -> None:
    """Environment and command set alike; what is used is not deleted, and the refusal says by whom."""
    put(ledger)
    mounts = CommandSetSpec(name="mounts", before=["mount /b"], after=["umount /b"])
    ledger.do(environments.put_set(mounts, SYSTEM, START_US))
    ledger.add_job(uses=Uses(environment="web", command_set="mounts"))
    ledger.add_job("other")
    before = version(ledger), version(ledger, "other")
    put(ledger, run_as="www")
    ledger.do(environments.put_set(mounts, SYSTEM, START_US))
    assert (version(ledger), version(ledger, "other")) == (before[0] + 2, before[1])
    for delete in (environments.delete("web", SYSTEM, START_US), environments.delete_set("mounts", SYSTEM, START_US)):
        with pytest.raises(Conflict, match="is used by backup"):
            ledger.do(delete)
    ledger.do(jobs.delete("backup", SYSTEM, START_US))
    ledger.do(environments.delete("web", SYSTEM, START_US))
    ledger.do(environments.delete_set("mounts", SYSTEM, START_US))
    with pytest.raises(NotFound, match="There is no environment web"):
        ledger.add_job(uses=Uses(environment="web"))
    with pytest.raises(Forbidden):
        ledger.do(environments.put_set(mounts, Principal("u", "user"), START_US))


@pytest.mark.parametrize(
    ("before", "command", "after", "want"),
    [
        (["cd /; X=1; export X"], "pwd; echo $X", [], ("/\n1\n", 0)),
        (["false", "echo never"], "echo never", ["echo after $UNDERSTUDY_COMMAND_STATUS"], ("after 1\n", 1)),
        (["(exit 4)"], "echo never", [], ("", 4)),
        ([], "exit 3", ["echo one", "false", "echo two"], ("one\ntwo\n", 3)),
        ([], "true", ["(exit 5)", "true"], ("", 5)),
        ([], "exec sh -c 'exit 6'", ["echo $UNDERSTUDY_COMMAND_STATUS"], ("6\n", 6)),
        (["cat <<END\nhere\nEND"], "cat <<END # no\nthere\nEND", ["echo done"], ("here\nthere\ndone\n", 0)),
        (["echo a # comment"], "echo b # comment", ["echo c # comment"], ("a\nb\nc\n", 0)),
    ],
)
def test_what_the_shell_makes_of_a_command_set(
    before: list[str], command: str, after: list[str], want: tuple[str, int]
) -> None:
    """Order, exit codes, one shell for before and command, and texts that end in comments or documents."""
    done = subprocess.run(
        ["/bin/sh", "-c", composed(command, before, after)], capture_output=True, text=True, check=False, timeout=10
    )
    assert (done.stdout, done.returncode) == want


def test_without_a_set_the_command_is_the_job_s_own(ledger: Ledger) -> None:
    """Not a byte of it is another."""
    ledger.add_job(command="  echo 'a'\n")
    assert told(ledger).command == "  echo 'a'\n"


def test_jobs_are_found_by_their_tags(ledger: Ledger) -> None:
    """The filter takes a whole tag, with a part of the name; a deleted job is no number in the list of tags."""
    ledger.add_job("a1", tags=["nightly", "shop", "nightly"])
    ledger.add_job("a2", tags=["shop"])
    ledger.add_job("b1", tags=["shopping"])
    found = [job_rows.lines(ledger.connection, match=match, tag="shop") for match in ("", "2")]
    assert [[line.name for line in lines] for lines in found] == [["a1", "a2"], ["a2"]]
    assert found[0][0].tags == "nightly shop"
    ledger.do(jobs.delete("a2", SYSTEM, START_US))
    assert [(line.tag, line.jobs) for line in tags.every(ledger.connection)] == [
        ("nightly", 1),
        ("shop", 1),
        ("shopping", 1),
    ]
    with pytest.raises(Invalid, match="tags at most 20"):
        ledger.add_job("c", tags=["two words"])


def test_the_api_and_the_form_say_what_was_said(ledger: Ledger) -> None:
    """What is read can be written again and changes nothing: names, tags, and what differs on agents."""
    put(ledger)
    job = ledger.add_job(uses=Uses(environment="web"), tags=["x", "y"])
    spec = _view(ledger.connection, job).spec
    assert (spec.uses, spec.tags) == (Uses(environment="web"), ["x", "y"])
    values = job_uses.values_of(job_uses.shares_of(ledger.connection, job.id))
    assert (job_uses.uses_from(values), job_uses.tags_from(values)) == (spec.uses, spec.tags)
    view = environments.view(ledger.connection, environments.find(ledger.connection, "web"))
    again = pages.spec_from(pages.values_of(view))
    assert again == EnvironmentSpec(**{name: getattr(view, name) for name in again.__struct_fields__})
    with pytest.raises(Invalid) as refused:
        pages.spec_from(pages.values_of(view) | {"agents": "A=1", "variables": "A"})
    assert set(refused.value.fields) == {"agents", "variables"}
