"""All of `understudy workflow`: the definitions, and the runs that its other topic adds to the group."""

from __future__ import annotations

from scripts.commands import workflow_runs as workflow_runs
from scripts.commands.workflows import workflow as workflow
