"""Asks every operation of an API's description with what it allows and what it does not, as one who has a token.

Schemathesis makes the requests and judges the answers; nothing here knows what the answers should be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemathesis import openapi
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "negative_data_rejection", "positive_data_acceptance", "use_after_free",
    "ensure_resource_availability", "ignored_auth", "unsupported_method", "allow_header_conformance",
)  # fmt: skip
SEED = 8008
TIMEOUT_S = 30.0
NOT_NOW = 503
"""Documented where a node lacks what it needs; operations that answered it are named."""


@dataclass
class Asked:
    """What one asker was answered: by operation, by class of status, and what was wrong with it."""

    operations: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    not_now: set[str] = field(default_factory=set)

    @property
    def cases(self) -> int:
        """How many requests were answered."""
        return sum(self.statuses.values())

    def __str__(self) -> str:
        """One line."""
        classes = ", ".join(f"{name} {count}" for name, count in sorted(self.statuses.items()))
        return f"{len(self.operations)} operations, {self.cases} cases ({classes}), {len(self.faults)} faults"


def ask_all(
    address: str,
    document: dict[str, Any],
    token: str,
    examples: int,
    *,
    without: Collection[str] = (),
    only: Callable[[str], bool] | None = None,
    authority: Path | None = None,
    phases: Collection[str] = ("examples", "coverage", "fuzzing", "stateful"),
    checks: Collection[str] = CHECKS,
    seed: int = SEED,
) -> Asked:
    """Ask each operation but those of `without` `examples` times in each phase; a `seed` asks the same again."""
    schema = openapi.from_dict(document, config=SchemathesisConfig(seed=seed)).exclude(
        lambda context: context.operation.label in without or not (only is None or only(context.operation.label))
    )
    schema.config.update(
        base_url=address,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        tls_verify=str(authority) if authority is not None else False,
        request_timeout=TIMEOUT_S,
        workers=1,
        continue_on_failure=True,
    )
    schema.config.generation.update(max_examples=examples, no_shrink=True, with_security_parameters=False)
    schema.config.phases.update(phases=list(phases))
    schema.config.checks.update(included_check_names=list(checks))
    schema.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "401", "403", "404", "409", "421", "503"]
    schema.config.checks.not_a_server_error.expected_statuses = ["2xx", "3xx", "4xx", "503"]
    found = Asked()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(found, event, document)
        elif isinstance(event, (events.NonFatalError, events.FatalError)):
            where = getattr(event, "label", "")
            info = getattr(event, "info", None) or getattr(event, "exception", event)
            found.faults[f"{where}: could not be asked"] = str(getattr(info, "message", info))
    return found


def _is_beside_the_point(check: str, label: str, document: dict[str, Any]) -> bool:
    """What a change says must be sense as well; `Allow` names what an agent called `lock` would be asked for, too."""
    method, _, path = label.partition(" ")
    if check == "positive_data_acceptance":
        return method != "GET"
    others = (re.sub(r"\\{\w+\\}", "[^/]+", re.escape(one)) for one in document["paths"] if one != path)
    return check == "allow_header_conformance" and any(re.fullmatch(one, path) for one in others)


def _note(found: Asked, event: events.ScenarioFinished, document: dict[str, Any]) -> None:
    record = event.recorder
    for case_id, interaction in record.interactions.items():
        case = record.cases.get(case_id)
        if interaction.response is None or case is None:
            continue
        found.operations.add(case.value.operation.label)
        status = interaction.response.status_code
        found.statuses[f"{status // 100}xx"] += 1
        if status == NOT_NOW:
            found.not_now.add(case.value.operation.label)
    for case_id, checks in record.checks.items():
        for check in checks:
            if check.failure_info is None:
                continue
            label = record.cases[case_id].value.operation.label
            if _is_beside_the_point(check.name, label, document):
                continue
            failure = check.failure_info.failure
            sample = check.failure_info.code_sample
            found.faults.setdefault(
                f"{label}: {check.name}: {failure.title}", f"{failure.message[:600]}\n      {sample[:600]}"
            )
