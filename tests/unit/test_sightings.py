"""What two looks mean: a table for each kind, and an independent account of files that come and go (SKY-16)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.model import SECOND_US
from server.core.monitors import DIRECTORY, FILE, PROCESS, Settings
from server.core.sightings import Found, Look, Seen, judge

BOOT = "boot-1"


class Observer:
    """Looks one after the other, and applies what is judged as the agent's memory does."""

    def __init__(self, kind: str = FILE, **values: object) -> None:
        self.kind = kind
        self.settings = Settings(**values)  # type: ignore[arg-type]  # test values
        self.seen: dict[str, Seen] | None = None
        self.told: list[tuple[str, str]] = []
        self.boot = BOOT

    def look(self, at_s: float, *found: Found, unread: tuple[str, ...] = (), limit: int = 1000) -> list[str]:
        """Returns what happened, as `what path` in order."""
        judged = judge(
            self.kind, self.settings, self.seen, Look(found, True, "", unread), int(at_s * SECOND_US), self.boot, limit
        )
        self.seen = {**(self.seen or {}), **judged.seen}
        for path in judged.gone:
            del self.seen[path]
        told = [(one.what, one.path) for one in judged.happenings]
        self.told += told
        return [f"{what} {path}" for what, path in told]


A, B = Found("/d/a", 1, "11:1"), Found("/d/b", 2, "12:1")
A_GROWN, A_TOUCHED, A_REPLACED = Found("/d/a", 9, "11:1"), Found("/d/a", 1, "11:2"), Found("/d/a", 1, "99:1")
ALL = ["created", "changed", "deleted"]


def test_what_is_there_at_the_first_look_is_not_new_unless_asked_for() -> None:
    """The baseline tells nothing; with `existing` each of its files is created."""
    assert Observer(on=ALL).look(0, A, B) == []
    assert Observer(on=ALL, existing=True).look(0, A, B) == ["created /d/a", "created /d/b"]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ((A,), []),
        ((A, B), ["created /d/b"]),
        ((A_GROWN,), ["changed /d/a"]),
        ((A_TOUCHED,), ["changed /d/a"]),
        ((A_REPLACED,), ["changed /d/a"]),
        ((), ["deleted /d/a"]),
        ((B,), ["created /d/b", "deleted /d/a"]),
    ],
)
def test_two_looks_at_files(second: tuple[Found, ...], told: list[str]) -> None:
    """Size, time and inode tell a change; a file replaced by a rename is changed, not new."""
    observer = Observer(on=ALL)
    observer.look(0, A)
    assert observer.look(1, *second) == told
    assert observer.look(2, *second) == []


def test_only_what_the_monitor_is_told_to_look_for_is_told() -> None:
    """A monitor for new files says nothing of changes and deletions, and still remembers them."""
    observer = Observer(on=["created"])
    observer.look(0, A)
    assert observer.look(1, A_GROWN, B) == ["created /d/b"]
    assert observer.look(2) == []
    assert observer.look(3, A) == ["created /d/a"]


def test_steady_is_told_once_when_nothing_changed_for_long_enough() -> None:
    """A growing file waits; it is told once, and again only after another change."""
    observer = Observer(on=["steady"], steady_s=10)
    observer.look(0)
    assert observer.look(1, A) == []
    assert observer.look(8, A_GROWN) == []
    assert observer.look(17.9, A_GROWN) == []
    assert observer.look(18, A_GROWN) == ["steady /d/a"]
    assert observer.look(100, A_GROWN) == []
    assert observer.look(101, A_TOUCHED) == []
    assert observer.look(111, A_TOUCHED) == ["steady /d/a"]


def test_a_file_of_the_baseline_is_steady_only_after_a_change() -> None:
    """What was there before the monitor is not told as arrived."""
    observer = Observer(on=["steady"], steady_s=10)
    observer.look(0, A)
    assert observer.look(100, A) == []
    observer.look(101, A_GROWN)
    assert observer.look(111, A_GROWN) == ["steady /d/a"]


def test_a_boot_begins_the_wait_for_steadiness_anew() -> None:
    """The boot clock of another boot says nothing: the wait begins at the first look after it."""
    observer = Observer(on=["steady"], steady_s=10)
    observer.look(0)
    observer.look(1000, A)
    observer.boot = "boot-2"
    assert observer.look(5, A) == []
    assert observer.look(14, A) == []
    assert observer.look(15, A) == ["steady /d/a"]


def test_what_could_not_be_read_is_not_gone() -> None:
    """Below an unreadable directory nothing is deleted; elsewhere it is."""
    observer = Observer(on=ALL)
    observer.look(0, A, Found("/e/c", 1, "1:1"))
    assert observer.look(1, unread=("/d",)) == ["deleted /e/c"]
    assert observer.look(2, A) == []


def test_many_events_are_told_over_several_looks_and_each_once() -> None:
    """What is beyond the limit of a look is told by the following ones."""
    observer = Observer(on=["created", "deleted"])
    observer.look(0)
    files = tuple(Found(f"/d/{n}", n, f"{n}:1") for n in range(10))
    sizes = [len(observer.look(n, *files, limit=3)) for n in range(1, 6)]
    assert sizes == [3, 3, 3, 1, 0]
    sizes = [len(observer.look(n, limit=4)) for n in range(6, 10)]
    assert sizes == [4, 4, 2, 0]
    assert set(Counter(observer.told).values()) == {1}


def test_a_directory_tells_changes_of_its_entries_and_when_enough_are_there() -> None:
    """`count` is told when the number of entries is reached, again after it fell below."""
    observer = Observer(DIRECTORY, on=["count", "changed"], at_least=3)
    observer.look(0, Found("/d", 0, "none"))
    assert observer.look(1, Found("/d", 2, "ab")) == ["changed /d"]
    assert observer.look(2, Found("/d", 3, "abc")) == ["count /d"]
    assert observer.look(3, Found("/d", 4, "abcd")) == ["changed /d"]
    assert observer.look(4, Found("/d", 0, "absent")) == ["changed /d"]
    assert observer.look(5, Found("/d", 5, "abcde")) == ["count /d"]


def test_a_process_with_a_reused_pid_is_another_one() -> None:
    """The mark of its start is part of what names a process."""
    observer = Observer(PROCESS, on=["started", "ended"])
    observer.look(0, Found("7:100", 0))
    assert observer.look(1, Found("7:100", 0)) == []
    assert observer.look(2, Found("7:200", 0)) == ["started 7:200", "ended 7:100"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=6),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_the_events_are_those_of_an_independent_account(looks: list[dict[str, tuple[int, int]]], limit: int) -> None:
    """However looks are bounded: after enough of them at one state, each difference of states is told exactly once."""
    observer = Observer(on=ALL)
    observer.look(0)
    state: dict[str, tuple[int, int]] = {}
    expected: Counter[tuple[str, str]] = Counter()
    for wanted in looks:
        found = tuple(Found(path, size, str(stamp)) for path, (size, stamp) in wanted.items())
        for at in range(len(wanted) + len(state) + 1):
            observer.look(at, *found, limit=limit)
        for path in wanted.keys() | state.keys():
            if path not in state:
                expected["created", path] += 1
            elif path not in wanted:
                expected["deleted", path] += 1
            elif wanted[path] != state[path]:
                expected["changed", path] += 1
        state = wanted
    assert Counter(observer.told) == expected
