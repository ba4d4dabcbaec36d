"""What an agent is told of a job: its own words, its environment and command set, and variables, made one. Pure.

The agent sees the result: no name of a variable, and no secret in what anybody else reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.core.command_sets import CommandSet, composed
from server.core.confidential import Confidential, Piece
from server.core.environments import Environment, Place
from server.core.model import Job, Specification
from server.core.variables import pieces, references, substituted


@dataclass(frozen=True, slots=True)
class Values:
    """Variables by name: `plain` ones, and `secrets` as (the name that it is sealed for, base64)."""

    plain: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def resolve(
    job: Job, agent_id: str, environment: Environment | None, command_set: CommandSet | None, values: Values
) -> Specification:
    """The specification for one agent. What the job says itself goes before its environment."""
    own = Place(run_as=job.run_as, working_directory=job.working_directory, variables=job.environment)
    place = own if environment is None else own.over(environment.on(agent_id))
    clear = {name: text for name, text in place.variables.items() if not references(text) & values.secrets.keys()}
    hidden = {name: text for name, text in place.variables.items() if name not in clear}
    return Specification(
        job_id=job.id,
        job_name=job.name,
        command=command(job.command, command_set, values),
        environment={name: substituted(text, values.plain) for name, text in clear.items()},
        working_directory=substituted(place.working_directory, values.plain),
        run_as=substituted(place.run_as, values.plain),
        timeout_s=job.timeout_s,
        output_bytes_max=job.output_bytes_max,
        skip_if_running=job.skip_if_running,
        standard_input=substituted(job.standard_input, values.plain),
        misfire_policy=job.misfire_policy,
        misfire_grace_s=job.misfire_grace_s,
        give_up_after_s=job.give_up_after_s,
        exit_rules=job.exit_rules,
        checkpoints_kept=job.checkpoints.keep,
        confidential=_confidential(hidden, values),
    )


def command(text: str, command_set: CommandSet | None, values: Values) -> str:
    """The whole text for the shell."""
    if command_set is not None:
        text = composed(text, command_set.before, command_set.after)
    return substituted(text, values.plain)


def _confidential(hidden: Mapping[str, str], values: Values) -> Confidential | None:
    if not hidden:
        return None
    texts = {name: tuple(_piece(piece, values) for piece in pieces(text)) for name, text in hidden.items()}
    used = {name for found in texts.values() for _, name in found if name}
    return Confidential(texts, {name: values.secrets[name] for name in sorted(used)})


def _piece(piece: Piece, values: Values) -> Piece:
    name = piece[1]
    if not name or name in values.secrets:
        return piece
    return values.plain.get(name, f"${{{{ {name} }}}}"), ""
