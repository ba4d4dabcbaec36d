"""The retry rule: how long it waits, and what it refuses."""

from __future__ import annotations

from server.core.retry import RetryRule, delay_s, wrong_retry


def test_the_wait_grows_up_to_its_bound() -> None:
    """60, 120, 240 ... seconds, never more than the bound, also far out."""
    rule = RetryRule(attempts_max=100, delay_s=60, factor=2.0, delay_s_max=600)
    assert [delay_s(rule, attempt) for attempt in (1, 2, 3, 4, 5, 99)] == [60, 120, 240, 480, 600, 600]


def test_a_wrong_rule_names_its_fields() -> None:
    """Every field that is out of its bounds is named."""
    rule = RetryRule(attempts_max=0, delay_s=-1, factor=0.5, exit_codes=[300])
    assert set(wrong_retry(rule)) == {"retry.attempts_max", "retry.delay_s", "retry.factor", "retry.exit_codes"}
    assert wrong_retry(RetryRule()) == {}
