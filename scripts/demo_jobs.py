"""The demo's jobs, as two system crontabs: what a small site really runs at night, here every minute."""

from __future__ import annotations

import getpass
from pathlib import Path

NORTH = """\
# Watching the machine.
SHELL=/bin/sh
SITE={site}
DOCUMENTS={documents}
MAILTO=root

# disk usage of the machine and of the documents
* * * * *  {user}  df -P / | tee -a "$SITE/disk-usage.txt" && du -sk "$DOCUMENTS" | tee -a "$SITE/disk-usage.txt"
# a checksum of every document, and what changed since the last time
* * * * *  {user}  find "$DOCUMENTS" -type f -print0 | sort -z | xargs -0 sha256sum > "$SITE/manifest.new" \
&& {{ diff "$SITE/manifest" "$SITE/manifest.new" || true; }} && mv "$SITE/manifest.new" "$SITE/manifest" \
&& wc -l < "$SITE/manifest"
@reboot  {user}  echo started
"""

SOUTH = """\
# Keeping the documents.
SITE={site}
DOCUMENTS={documents}

# an archive of the documents, the five newest kept
* * * * *  {user}  tar -C "$DOCUMENTS" -czf "$SITE/archive-$(date -u +\\%Y\\%m\\%dT\\%H\\%M\\%S.\\%N).tar.gz" . \
&& ls -t "$SITE"/archive-*.tar.gz | tail -n +6 | xargs -r rm -f -- && ls -l "$SITE"/archive-*.tar.gz
# is the newest archive whole, and does it hold what is there now?
*/2 * * * *  {user}  gzip -tv "$(ls -t "$SITE"/archive-*.tar.gz | head -n 1)" 2>&1 \
&& tar -C "$DOCUMENTS" -dzf "$(ls -t "$SITE"/archive-*.tar.gz | head -n 1)" && echo "it holds what is there now"
"""


def crontabs(site: Path, documents: Path) -> dict[str, str]:
    """The text of each agent's crontab; results go to `site`."""
    facts = {"site": site, "documents": documents, "user": getpass.getuser()}
    return {"north": NORTH.format(**facts), "south": SOUTH.format(**facts)}
