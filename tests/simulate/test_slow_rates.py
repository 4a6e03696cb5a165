"""Slow cameras: rates below one picture a second."""

from __future__ import annotations

from fractions import Fraction

import pytest

from recorderd.core.errors import UsageError
from recorderd.simulate.clip import video_config
from recorderd.simulate.options import parse_options

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "fps", "ticks"),
    [("25", 25, 3_600), ("0.5", Fraction(1, 2), 180_000), ("1/20", Fraction(1, 20), 1_800_000)],
)
def test_a_rate_may_be_a_fraction(text: str, fps: int | Fraction, ticks: int) -> None:
    spec = parse_options(["--fps", text]).main
    assert spec.fps == fps
    assert video_config(spec, ()).frame_ticks == ticks


@pytest.mark.parametrize("text", ["0", "-1", "1/0", "fast", "1/61", "121"])
def test_other_rates_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--fps"):
        parse_options(["--fps", text])
