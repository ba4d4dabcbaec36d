"""`python -m tests.hostile KIND SEED` replays one chunk of hostile frames and shows what it brought out; of the kind
`web` it prints the one request, as bytes.
"""

from __future__ import annotations

import argparse
import random
import sys

from tests.hostile import frames, web_requests


def main() -> int:
    """0 when nothing but the documented errors came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("kind", choices=(*frames.KINDS, "web"))
    parser.add_argument("seed", type=int)
    given = parser.parse_args()
    if given.kind == "web":
        sys.stdout.buffer.write(web_requests.request(random.Random(f"web-{given.seed}"), "TOKEN"))
        return 0
    frames.prepare()
    tally = frames.Tally()
    frames.run_chunk(given.kind, given.seed, tally, show=True)
    print(f"{tally.frames.total()} frames, {tally.decoded.total()} decoded: {dict(tally.decoded)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
