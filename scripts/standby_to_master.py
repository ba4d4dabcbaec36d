"""`standby-to-master`: take office on the standby when the master is gone.

Also installed as `standbyToMaster`.
"""

from __future__ import annotations

import click

from scripts.client import CONFIGURATION, FAILED, OK, CommandError
from scripts.commands.options import asks_own_node, confirm
from scripts.commands.role import Asker, answers, is_running, leave_wish
from scripts.understudy import run

QUESTION = "Is the old master shut down, and will it stay so until this node is master?"


@click.command()
@click.option("--allow-data-loss", is_flag=True, help="Take office although something may be lost, or nobody can know.")
@click.option("--hold", is_flag=True, help="Come up with the scheduler stopped and all queues locked.")
@click.option("--yes", is_flag=True, help="The old master is shut down for certain; do not ask.")
@asks_own_node
def standby_to_master(asker: Asker, allow_data_loss: bool, hold: bool, yes: bool) -> int:
    """Make this standby the master. It refuses, with the reason, where it would lose data or cannot know."""
    asked = {"allow_data_loss": allow_data_loss, "hold": hold, "yes": True}
    if not is_running(asker.data):
        confirm(QUESTION, yes)
        text = leave_wish(asker.data, master=asked)
        asker.show({"recorded": True, "text": text}, text)
        return OK
    status = asker.client.get("/api/v1/status")
    if status["role"] == "master":
        asker.show({"already": True} | status, "This node is master already.")
        return OK
    if status["role"] == "none":
        raise CommandError(CONFIGURATION, f"{status['waiting_for']}")
    if not asker.as_json:
        click.echo(f"This node is {status['role']}, {status['state']}; it holds request {status['applied_sequence']}.")
    confirm(QUESTION, yes)
    with answers():
        done = asker.client.post("/api/v1/node/master", asked)
    after = asker.client.get("/api/v1/status")
    held = " The scheduler is stopped and all queues are locked." if hold else ""
    asker.show(done | {"status": after}, [done["text"], f"This node is master in epoch {after['epoch']}.{held}"])
    return OK if after["role"] == "master" else FAILED


def main() -> None:
    """The console script."""
    run(standby_to_master)


if __name__ == "__main__":
    main()
