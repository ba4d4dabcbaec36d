"""Settings that all tests share."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: machines differ, and no test asserts a time. CI draws the same examples each time.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("person", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "person")
