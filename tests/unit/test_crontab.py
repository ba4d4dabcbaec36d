"""core.crontab: every line of a crontab is accounted for (SKY-21)."""

from __future__ import annotations

from server.core.crontab import parse
from server.core.foreign_jobs import Line, job_name

USERS = """\
# m h dom mon dow command
SHELL=/bin/sh
MAILTO="ops@example.org"
PATH = /usr/bin:/bin

*/5 * * * * /usr/local/bin/poll --fast
@daily find /tmp -mtime +7 -delete
@reboot /usr/bin/start-something
0 25 * * * never
15 3 * * mon mail -s 100\\% root%first line%second line
* * * *
"""

SYSTEM = """\
SHELL=/bin/sh
17 *\t* * *\troot    cd / && run-parts --report /etc/cron.hourly
25 6\t* * *\troot\ttest -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )
@weekly backup /usr/local/bin/rotate
5-55/10 * * * * root command -v debian-sa1 > /dev/null && debian-sa1 1 1
30 7 * * * /usr/bin/without-user
@hourly nobody
"""


def kinds(lines: list[Line]) -> list[str]:
    return [line.kind for line in lines]


def test_users_form_reports_every_line() -> None:
    """A user's crontab: comments, environment, jobs and refusals, each line once and in order."""
    lines = parse(USERS, system_form=False)
    assert [line.number for line in lines] == list(range(1, 12))
    assert kinds(lines) == [
        *("comment", "environment", "environment", "environment", "comment"),
        *("job", "job", "refused", "refused", "job", "refused"),
    ]


def test_environment_holds_for_the_lines_below() -> None:
    """Variables above a job line are its environment, without quotes; MAILTO is noted and not passed on."""
    job = parse(USERS, system_form=False)[5]
    assert job.job is not None
    assert job.job.environment == {"SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    assert "ops@example.org" in job.reason


def test_refusals_say_why() -> None:
    """@reboot, a bad field and too few fields are refused each with its own reason."""
    reasons = [line.reason for line in parse(USERS, system_form=False) if line.kind == "refused"]
    assert "start of the machine" in reasons[0]
    assert "field hour is wrong: '25'" in reasons[1]
    assert "fewer than five fields" in reasons[2]


def test_percent_is_standard_input() -> None:
    """The first bare % ends the command, the others are line ends, and an escaped one is itself."""
    job = parse(USERS, system_form=False)[9].job
    assert job is not None
    assert job.command == "mail -s 100% root"
    assert job.standard_input == "first line\nsecond line\n"


def test_system_form_has_a_user() -> None:
    """/etc/crontab with tabs and blanks: the sixth field is the user."""
    jobs = [line.job for line in parse(SYSTEM, system_form=True) if line.job]
    assert [(job.schedules[0], job.user) for job in jobs] == [
        ("17 * * * *", "root"),
        ("25 6 * * *", "root"),
        ("@weekly", "backup"),
        ("5-55/10 * * * *", "root"),
    ]
    assert jobs[0].command == "cd / && run-parts --report /etc/cron.hourly"
    assert jobs[1].command.startswith("test -x /usr/sbin/anacron || (")


def test_system_form_refuses_a_line_without_user_or_command() -> None:
    """A path where the user should be, and a user without a command, are refused, not guessed."""
    refused = [line for line in parse(SYSTEM, system_form=True) if line.kind == "refused"]
    assert "'/usr/bin/without-user' is no user name" in refused[0].reason
    assert refused[1].reason == "there is no command"


def test_zone_of_the_crontab() -> None:
    """CRON_TZ must be a zone that exists."""
    lines = parse("CRON_TZ=Europe/Berlin\nCRON_TZ=Mars/Base\n", system_form=False)
    assert kinds(lines) == ["environment", "refused"]


def test_names_are_steady_and_distinct() -> None:
    """The same line always makes the same name; another schedule of the same program makes another."""
    first, second = parse("1 * * * * /opt/poll\n2 * * * * /opt/poll\n", system_form=False)
    assert job_name("cron", first) == job_name("cron", first)
    assert job_name("cron", first).startswith("cron-poll-")
    assert job_name("cron", first) != job_name("cron", second)
