"""The environment variables of a run."""

from __future__ import annotations

from datetime import UTC, datetime

from server.agent.process_tree import RUN_VARIABLE
from server.core.agent_memory import RunRecord
from server.core.confidential import Opened
from server.core.model import Specification


def no_secrets(specification: Specification) -> Opened:
    """For a runner without a key."""
    return Opened({}, ())


def job_environment(run: RunRecord, base: dict[str, str], secrets: dict[str, str]) -> dict[str, str]:
    """The agent's environment without its own settings, then the job's, then the names of the run.

    What an exception or an event says goes before a secret of the same name.
    """
    environment = {name: value for name, value in base.items() if not name.startswith("UNDERSTUDY_")}
    environment.update(secrets)
    environment.update(run.specification.environment)
    environment[RUN_VARIABLE] = run.key
    environment["UNDERSTUDY_JOB"] = run.specification.job_name
    environment["UNDERSTUDY_ATTEMPT"] = str(run.attempt)
    environment["UNDERSTUDY_EPOCH"] = str(run.epoch_number)
    if run.scheduled_for_us is not None:
        moment = datetime.fromtimestamp(run.scheduled_for_us / 1e6, UTC)
        environment["UNDERSTUDY_SCHEDULED_FOR"] = moment.isoformat().replace("+00:00", "Z")
    return environment
