"""What the server knows of the synthetic driver before it loads it.

Law: cheap to import; no media, no protocol. Found through the entry-point group `recorderd.drivers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recorderd.driverapi.info import Capability, DriverInfo

if TYPE_CHECKING:
    from drivers.synthetic.driver import SyntheticDriver


@dataclass(frozen=True, slots=True)
class SyntheticSettings:
    """Keys under [[hardware]] with `driver = "synthetic"`.

    fps           pictures per second, 1 to 240.
    seed          decides which pictures `loss_percent` hits; equal seeds, equal streams.
    audio         also send a tone as G.711 mu-law, 50 frames per second.
    offline       nobody answers.
    demands       the password the device wants ("" takes anything): another one is refused.
    fail_after_s  each stream breaks off after so many seconds of media (0: never).
    loss_percent  this share of pictures (never keys) is lost on the way, each counted as one packet.
    """

    fps: int = 25
    seed: int = 0
    audio: bool = False
    offline: bool = False
    demands: str = ""
    fail_after_s: float = 0.0
    loss_percent: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.fps <= 240:
            raise ValueError("fps must be 1 to 240")
        if not 0 <= self.loss_percent <= 100:
            raise ValueError("loss_percent must be 0 to 100")


def _load() -> SyntheticDriver:
    from drivers.synthetic.driver import SyntheticDriver

    return SyntheticDriver()


INFO = DriverInfo(
    id="synthetic",
    name="Synthetic camera",
    schemes=("synthetic",),
    settings=SyntheticSettings,
    load=_load,
    vendors=("recorderd",),
    capabilities=frozenset({Capability.LIVE, Capability.AUDIO, Capability.SUB_STREAM}),
)
