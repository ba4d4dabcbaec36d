"""What a keeper is asked for a run to begin: one line of JSON (`keeper` says what each member means)."""

from __future__ import annotations

import json
from pathlib import Path

from server.agent.job_environment import job_environment, resume_environment
from server.agent.job_socket import AGENT_SOCKET
from server.agent.process_tree import SOCKET_VARIABLE
from server.core.agent_memory import RunRecord
from server.core.confidential import Opened
from server.core.step_outputs import OUTPUTS_FILE, OUTPUTS_VARIABLE


def start_request(
    run: RunRecord, data: Path, directory: Path, environment: dict[str, str], opened: Opened, answered_us: int
) -> bytes:
    """The line. `directory`: the run's own folder; `environment`: the agent's own; `answered_us`: of the boot clock."""
    specification = run.specification
    request = {
        "op": "start",
        "key": run.key,
        "argv": ["/bin/sh", "-c", specification.command],
        "environment": {
            **job_environment(run, environment, opened.environment),
            SOCKET_VARIABLE: str(data / AGENT_SOCKET),
            OUTPUTS_VARIABLE: str(directory / OUTPUTS_FILE),
            **resume_environment(run, directory),
        },
        "directory": specification.working_directory or str(Path.home()),
        "hidden": opened.hidden,
        "user": specification.run_as,
        "timeout_s": specification.timeout_s,
        "output_bytes_max": specification.output_bytes_max,
        "give_up_after_s": specification.give_up_after_s,
        "answered_us": answered_us,
        "patterns": specification.exit_rules.patterns,
    }
    return json.dumps(request).encode() + b"\n"
