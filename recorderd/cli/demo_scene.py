"""What the demo plays: six cameras, the faults they have, and the cause each fault must come out as.

Law: plain data and pure judgement, so that a test can plant a wrong answer and see it refused. `demo` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Expected:
    """A fault's trace: a coverage (state, reason) or an event code. Empty reason: any."""

    fault: str
    state: str = ""
    reason: str = ""
    event: str = ""


@dataclass(frozen=True, slots=True)
class SceneCamera:
    """One simulated camera: its name, the farm's fault arguments, what must come out, and whether it may lose."""

    name: str
    faults: tuple[str, ...] = ()
    expected: tuple[Expected, ...] = ()

    @property
    def fault(self) -> str:
        """The faults as one word list for people, 'none' when healthy."""
        return "+".join(item.fault for item in self.expected) or "none"


SCENE = (
    SceneCamera("healthy"),
    SceneCamera("lossy", ("loss:2%x4",), (Expected("loss", "network-loss"),)),
    SceneCamera(
        "frozen",
        ("params+5s", "stall:8s+10s"),
        (Expected("params", event="config-changed"), Expected("stall", "camera-offline", "stall")),
    ),
    SceneCamera("rebooting", ("reboot:3s+9s",), (Expected("reboot", "camera-offline", "closed"),)),
    SceneCamera("locked", ("auth",), (Expected("auth", "camera-offline", "auth-failed"),)),
    SceneCamera(
        "bad-clock",
        ("drift:5000", "step:+3600s+18s"),
        (Expected("drift", event="clock-drift"), Expected("step", "clock-step")),
    ),
)


@dataclass(slots=True)
class Outcome:
    """What one camera's recording shows. `sent` and `committed` are frame counts; `missing` frame numbers that were
    sent whole and are not in the database."""

    name: str
    fault: str
    sent: int = 0
    committed: int = 0
    missing: list[int] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    unexplained_us: int = 0

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name, "fault": self.fault, "sent": self.sent, "committed": self.committed,
            "lost": len(self.missing), "causes": self.causes,
        }  # fmt: skip


def complaints(camera: SceneCamera, outcome: Outcome) -> list[str]:
    """Everything that should not be: one sentence each; empty when the camera did what the scene says."""
    said = []
    if not camera.expected and (outcome.missing or outcome.sent == 0):
        said.append(f"{camera.name}: {len(outcome.missing)} of {outcome.sent} frames lost without a fault")
    if outcome.unexplained_us:
        said.append(f"{camera.name}: {outcome.unexplained_us / 1e6:.3f} s are missing without a cause")
    for expected in camera.expected:
        if expected.event:
            wanted, found = f"event {expected.event}", f"event {expected.event}" in outcome.causes
        else:
            wanted = expected.state + (f" ({expected.reason})" if expected.reason else "")
            found = any(cause.startswith(wanted) for cause in outcome.causes)
        if not found:
            said.append(f"{camera.name}: the fault '{expected.fault}' did not come out as {wanted}")
    allowed = {expected.state for expected in camera.expected if expected.state}
    for cause in outcome.causes:
        state = cause.split(" (")[0]
        if not cause.startswith("event ") and state not in allowed:
            said.append(f"{camera.name}: {cause} came out, but no such fault was played")
    return said
