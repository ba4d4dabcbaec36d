"""Certificates: quiet, and in both parts of an exchange of the authority."""

from __future__ import annotations

from server.core.model import DAY_US, MINUTE_US
from server.web.api.certificates import AuthorityLine, AwaitedLine, CertificateLine, CertificatesView
from server.web.pages.certificates import CertificatesPage
from tests.storybook.fixture import NOW_US, Story, frame

FIRST, SECOND = "71be74f709f785d7" * 4, "bca6f9fd2413f698" * 4
MEMBERS = (("node", "north"), ("node", "south"), ("agent", "alpha"), ("agent", "beta"), ("agent", "gamma"))


def _certificates(former: tuple[str, ...] = (), never: str = "") -> list[CertificateLine]:
    return [
        CertificateLine(
            kind,
            name,
            None if name == never else NOW_US + 24 * DAY_US,
            None if name == never else NOW_US - MINUTE_US,
            None if name == never else name not in former,
        )
        for kind, name in MEMBERS
    ]


def stories() -> list[Story]:
    """All of them."""
    at = frame("Certificates", "/certificates")
    old = NOW_US - 400 * DAY_US
    current = AuthorityLine(FIRST, "current", old, "system", old)
    following = AuthorityLine(SECOND, "next", NOW_US - MINUTE_US, "admin", NOW_US - MINUTE_US)
    signing = AuthorityLine(SECOND, "current", NOW_US - MINUTE_US, "admin", NOW_US)
    former = AuthorityLine(FIRST, "former", old, "system", NOW_US)
    distrusts = [AwaitedLine("agent", "gamma", "does not trust the next authority yet")]
    late = [AwaitedLine(kind, name, "still has a certificate of the former authority") for kind, name in MEMBERS[1:4]]
    return [
        Story("certificates", CertificatesPage(at, CertificatesView("", [current], [], _certificates((), "gamma")))),
        Story(
            "certificates-introducing",
            CertificatesPage(at, CertificatesView("introducing", [current, following], distrusts, _certificates())),
        ),
        Story(
            "certificates-renewing",
            CertificatesPage(
                at,
                CertificatesView("renewing", [former, signing], late, _certificates(("south", "alpha", "beta"))),
            ),
        ),
    ]
