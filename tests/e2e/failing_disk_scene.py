"""A disk whose writes fail, under a recording server, until it is cured.

By hand: python -m tests.e2e.failing_disk_scene --cameras 6 --for 20    (make scene S=failing-disk)
"""

from __future__ import annotations

import sys

from tests.e2e.illness import Failing, run_scene


def main(argv: list[str]) -> int:
    return run_scene(argv, Failing, __doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
