"""All of `understudy agent`: the program, and what its topics add to the group."""

from __future__ import annotations

from scripts.commands import drains as drains
from scripts.commands import requests as requests
from scripts.commands.agents import agent as agent
