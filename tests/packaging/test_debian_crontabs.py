"""SKY-21: the crontabs that Debian's packages bring. What is expected of each line was written by hand beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from server.core import anacrontab, crontab
from server.core.foreign_jobs import ForeignJob, Line

CRON_D = "etc/cron.d/"
EXPECTED: dict[str, tuple[str, list[tuple[int, str]]]] = {
    "amavisd-new": (CRON_D + "amavisd-new", [
        (5, "18 */3 * * * | amavis | test -e /usr/sbin/amavisd-new-cronjob && /usr/sbin/amavisd-new-cronjob sa-sync"),
        (6, "24 1 * * * | amavis | test -e /usr/sbin/amavisd-new-cronjob && /usr/sbin/amavisd-new-cronjob sa-clean"),
    ]),
    "anacron": (CRON_D + "anacron", [
        (3, "SHELL"), (4, "PATH"),
        (6, "30 7-23 * * * | root | [ -x /etc/init.d/anacron ] && if [ ! -d /run/systemd/system ]; then"),
    ]),
    "awstats": (CRON_D + "awstats", [
        (1, "MAILTO"),
        (3, "*/10 * * * * | www-data | [ -x /usr/share/awstats/tools/update.sh ] &&"),
        (6, "10 03 * * * | www-data | [ -x /usr/share/awstats/tools/buildstatic.sh ] &&"),
    ]),
    "backupninja": (CRON_D + "backupninja", [
        (3, "PATH"), (6, "0 * * * * | root | if [ -x /usr/sbin/backupninja ]; then /usr/sbin/backupninja; fi"),
    ]),
    "cacti": (CRON_D + "cacti", [
        (1, "MAILTO"), (2, "*/5 * * * * | www-data | php /usr/share/cacti/site/poller.php 2>&1 >/dev/null | if"),
    ]),
    "certbot": (CRON_D + "certbot", [
        (14, "SHELL"), (15, "PATH"),
        (17, "0 */12 * * * | root | test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e"),
    ]),
    "cron-apt": (CRON_D + "cron-apt", [(5, "0 4 * * * | root | test -x /usr/sbin/cron-apt && /usr/sbin/cron-apt")]),
    "cron-daemon-common": ("etc/crontab", [
        (7, "SHELL"), (8, "PATH"),
        (18, "17 * * * * | root | cd / && run-parts --report /etc/cron.hourly"),
        (19, "25 6 * * * | root | test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }"),
        (20, "47 6 * * 7 | root | test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.weekly; }"),
        (21, "52 6 1 * * | root | test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.monthly; }"),
    ]),
    "dma": (CRON_D + "dma", [(3, "*/5 * * * * | root | [ -x /usr/sbin/dma ] && /usr/sbin/dma -q")]),
    "e2fsprogs": (CRON_D + "e2scrub_all", [
        (1, "30 3 * * 0 | root | test -e /run/systemd/system || SERVICE_MODE=1 /usr/lib/"),
        (2, "10 3 * * * | root | test -e /run/systemd/system || SERVICE_MODE=1 /sbin/e2scrub_all -A -r"),
    ]),
    "ganeti": (CRON_D + "ganeti", [
        (1, "PATH"), (4, "refused: @reboot"),
        (7, "*/5 * * * * | root | [ -x /usr/sbin/ganeti-watcher ] && /usr/sbin/ganeti-watcher"),
        (10, "45 1 * * * | gnt-masterd | [ -x /usr/sbin/ganeti-cleaner ] && /usr/sbin/ganeti-cleaner master"),
        (13, "45 2 * * * | root | [ -x /usr/sbin/ganeti-cleaner ] && /usr/sbin/ganeti-cleaner node"),
    ]),
    "inn2": (CRON_D + "inn2", [
        (1, "SHELL"), (2, "PATH"),
        (6, "15 4 * * * | news | test -x /usr/lib/news/bin/news.daily && news.daily expireover lowmark delayrm"),
        (10, '2 3 * * * | news | [ -x /usr/sbin/ctlinnd ] && ctlinnd -t 300 -s reload incoming.conf "flush cache"'),
        (16, "10 * * * * | news | [ -x /usr/bin/rnews ] && rnews -U"),
    ]),
    "john": (CRON_D + "john", []),
    "leafnode": (CRON_D + "leafnode", [(3, "8 * * * * | news | if [ -x /etc/news/leafnode/do-fetch-news ]; then")]),
    "logcheck": (CRON_D + "logcheck", [
        (3, "PATH"), (4, "MAILTO"), (6, "refused: @reboot"),
        (7, "2 * * * * | logcheck | if [ -x /usr/sbin/logcheck ]; then nice -n10 /usr/sbin/logcheck; fi"),
    ]),
    "mailman3": (CRON_D + "mailman3", [
        (3, "SHELL"), (4, "PATH"),
        (7, "0 8 * * * | list | if [ -x /usr/bin/mailman ]; then /usr/bin/mailman notify; fi"),
        (10, "0 12 * * * | list | if [ -x /usr/bin/mailman ]; then /usr/bin/mailman digests --periodic; fi"),
    ]),
    "mdadm": (CRON_D + "mdadm", [
        (12, "57 0 * * 0 | root | if [ -x /usr/share/mdadm/checkarray ] && [ $(date +%d) -le 7 ]; then"),
    ]),
    "mlmmj": (CRON_D + "mlmmj", [(1, "0 */2 * * * | root | /usr/bin/test -x /usr/bin/mlmmj-maintd &&")]),
    "munin": (CRON_D + "munin", [
        (5, "MAILTO"), (7, "*/5 * * * * | munin | if [ -x /usr/bin/munin-cron ]; then /usr/bin/munin-cron; fi"),
        (8, "14 10 * * * | munin | if [ -x /usr/share/munin/munin-limits ]; then"),
        (11, "27 03 * * * | munin | htmldir=$({ cat /etc/munin/munin.conf"),
        (12, "32 03 * * * | www-data | cgitmpdir=$({ cat /etc/munin/munin.conf"),
    ]),
    "munin-node": (CRON_D + "munin-node", [
        (5, "MAILTO"), (11, "*/5 * * * * | root | if [ -x /etc/munin/plugins/apt_all ]; then"),
    ]),
    "ntpsec": (CRON_D + "ntpsec", [(1, "25 6 * * * | root | if [ ! -d /run/systemd/system ] && [ -x")]),
    "php-common": (CRON_D + "php", [(14, "09,39 * * * * | root | [ -x /usr/lib/php/sessionclean ] && if")]),
    "roundcube-core": (CRON_D + "roundcube-core", [
        (4, "0 5 * * * | www-data | test -d /run/systemd/system || /usr/share/roundcube/bin/cleandb.sh >/dev/null"),
        (7, "5,35 * * * * | www-data | test -d /run/systemd/system || /usr/share/roundcube/bin/gc.sh"),
    ]),
    "rsnapshot": (CRON_D + "rsnapshot", []),
    "sa-exim": (CRON_D + "greylistclean", [
        (3, "33 * * * * | Debian-exim | [ -x /usr/share/sa-exim/greylistclean ] &&"),
    ]),
    "sanoid": (CRON_D + "sanoid", [
        (1, "PATH"), (3, "*/15 * * * * | root | [ -f /etc/sanoid/sanoid.conf ] && if"),
    ]),
    "sysstat": (CRON_D + "sysstat", [
        (3, "PATH"),
        (6, "5-55/10 * * * * | root | command -v debian-sa1 > /dev/null && debian-sa1 1 1"),
        (9, "59 23 * * * | root | command -v debian-sa1 > /dev/null && debian-sa1 60 2"),
    ]),
    "tiger": (CRON_D + "tiger", [
        (5, "DEFAULT"), (7, "NICETIGER"),
        (9, '0 * * * * | root | test -x /usr/sbin/tigercron && { [ -r "$DEFAULT" ] && . "$DEFAULT" ; nice'),
    ]),
}  # fmt: skip
"""By package: the file, and of each line that is no comment its number and what becomes of it: a name is an environment
line, else schedule, user and the beginning of the command, or the beginning of why it is refused."""
ANACRONTAB = [
    (5, "SHELL"), (6, "PATH"), (7, "HOME"), (8, "LOGNAME"),
    (11, "35 7 * * * | | run-parts --report /etc/cron.daily"),
    (12, "every 7 days from 2000-01-01 07:40 | | run-parts --report /etc/cron.weekly"),
    (13, "45 7 1 * * | | run-parts --report /etc/cron.monthly"),
]  # fmt: skip
DOWNLOAD_S = 120


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, fetched by the machine's own package tool and unpacked, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("packages")
    if shutil.which("apt-get") is None:
        pytest.skip("NOT TESTED: Debian's packages cannot be fetched here")
    names = sorted(EXPECTED)
    done = subprocess.run(["apt-get", "download", *names], cwd=folder, capture_output=True, timeout=DOWNLOAD_S)
    if done.returncode:
        subprocess.run(["apt-get", "update"], capture_output=True, timeout=DOWNLOAD_S)
        done = subprocess.run(["apt-get", "download", *names], cwd=folder, capture_output=True, timeout=DOWNLOAD_S)
    if done.returncode:
        pytest.skip(f"NOT TESTED: Debian's packages cannot be fetched: {done.stderr.decode()[-200:]}")
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive.name, archive.name.partition("_")[0]], cwd=folder, check=True)
    return folder


def said(line: Line) -> str:
    """A line of the report in the form of the table, blanks made one."""
    if line.kind == "environment":
        return line.text.partition("=")[0].strip()
    if line.job is None:
        return f"{line.kind}: {line.reason}"
    job: ForeignJob = line.job
    return " ".join(f"{' '.join(job.schedules)} | {job.user} | {job.command}".split())


def agrees(found: list[Line], expected: list[tuple[int, str]]) -> None:
    """Line by line, in order, nothing more and nothing less."""
    told = [(line.number, said(line)) for line in found if line.kind != "comment"]
    assert [number for number, _ in told] == [number for number, _ in expected]
    for (number, text), (_, wanted) in zip(told, expected, strict=True):
        assert re.match(re.escape(" ".join(wanted.split())), text), f"line {number}: {text!r} is not {wanted!r}"


@pytest.mark.timeout(3 * DOWNLOAD_S)
@pytest.mark.parametrize("package", sorted(EXPECTED))
def test_each_line_is_what_its_author_meant(packages: Path, package: str) -> None:
    """A job with schedule, user and command, an environment line, or refused with the reason."""
    path, expected = EXPECTED[package]
    agrees(crontab.parse((packages / package / path).read_text(), True), expected)


def test_the_anacrontab_keeps_its_periods(packages: Path) -> None:
    """A period, a delay and a command are one time of day, made up for within the period when the machine was off."""
    found = anacrontab.parse((packages / "anacron" / "etc/anacrontab").read_text())
    agrees(found, ANACRONTAB)
    graces = [line.job.misfire_grace_s // 86_400 for line in found if line.job is not None]
    assert graces == [1, 7, 30]


def test_there_are_enough_packages() -> None:
    """At least 25, and most of them have a job."""
    assert len([lines for _, lines in EXPECTED.values() if lines]) >= 25
