"""A file system that makes itself read-only, under a recording server, until it is cured.

By hand: python -m tests.e2e.read_only_scene --cameras 6 --for 20    (make scene S=read-only)
"""

from __future__ import annotations

import sys

from tests.e2e.illness import ReadOnly, run_scene


def main(argv: list[str]) -> int:
    return run_scene(argv, ReadOnly, __doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
