"""Tests of named failures may use the fault model of the media database (`rig`, `fault_fs`, `world`)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "mediadb"))
