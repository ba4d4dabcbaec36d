"""Every form of cron, with every rule of gap and overlap, around changes of the clocks.

The whole of these years, minute by minute: `./scripts/soak schedules`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from server.core.timing import TimingRules
from tests.property import schedule_forms
from tests.property.schedule_forms import DENSE, SPARSE, ZONES, changes, compare, rules_of

STILL = {"Asia/Kathmandu", "Pacific/Apia"}


@pytest.mark.parametrize("zone", ZONES)
def test_every_form_is_due_as_the_oracle_says(zone: str) -> None:
    """Around one change of the clocks of each kind, or a leap day: the same instants, and the same next ones."""
    days = changes(zone)
    assert bool(days) != (zone in STILL)
    wanted = [days[2], days[-1]] if days else [datetime(2028, 2, 28), datetime(2031, 12, 30)]
    total = 0
    for number, day in enumerate(wanted):
        count, faults = compare(rules_of(SPARSE + DENSE), zone, day - timedelta(hours=6), 2, number)
        assert not faults, faults[:3]
        total += count
    assert total > 20_000


def test_a_wrong_rule_is_noticed() -> None:
    """The comparison fails when gap and overlap are not followed: it is not blind."""
    kept = schedule_forms.timing
    for rules in (TimingRules(gap="skip"), TimingRules(overlap="twice")):
        schedule_forms.timing = lambda rule, zone, other=rules: kept(rule, zone).__class__(rule.cron, zone, other)
        try:
            days = changes("Europe/Dublin")[:2]
            faults = [
                fault for day in days for fault in compare(rules_of(("30 1 * * *",)), "Europe/Dublin", day, 2, 0)[1]
            ]
        finally:
            schedule_forms.timing = kept
        assert faults
