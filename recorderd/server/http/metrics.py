"""Figures for Prometheus (text format 0.0.4).

Law: pure; names are `recorderd_*`, labels are `camera` and `cause` only, so that the number of series is bounded by the
configuration. Called by the /metrics handler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from recorderd.engine.views import CameraView, StorageView

CONTENT_TYPE = "text/plain; version=0.0.4"

_CAMERA_COUNTERS = {
    "units": "access units received",
    "bytes": "media bytes received",
    "committed_samples": "samples made durable",
    "lost_packets": "RTP packets lost",
    "lost_frames": "frames known lost",
    "damaged_units": "access units with a part missing",
    "shed_samples": "samples dropped under overload",
}


@dataclass(slots=True)
class _Family:
    kind: str
    doc: str
    rows: list[tuple[Mapping[str, str], float]] = field(default_factory=list)


def metrics_text(cameras: Iterable[CameraView], storages: Iterable[StorageView], gauges: Mapping[str, float]) -> str:
    """The whole page. `gauges`: further figures of the process, without prefix and labels."""
    families: dict[str, _Family] = {}
    for view in cameras:
        _add_camera(families, view)
    _add_storages(families, storages)
    for name, value in gauges.items():
        kind = "counter" if name.endswith("_total") else "gauge"
        _family(families, name, kind, name.replace("_", " ")).rows.append(({}, value))
    return "".join(_lines(name, family) for name, family in families.items())


def _add_camera(families: dict[str, _Family], view: CameraView) -> None:
    who = {"camera": view.name}
    recording = view.recording
    _family(families, "camera_connected", "gauge", "1 while the camera is connected").rows.append(
        (who, float(view.connected))
    )
    cause = f"{view.state}/{view.reason}" if view.reason else view.state
    _family(families, "camera_state", "gauge", "the coverage state that holds now, as cause").rows.append(
        ({**who, "cause": cause}, 1.0)
    )
    _family(families, "camera_not_recording", "gauge", "1 while the not-recording alarm is on").rows.append(
        (who, float(recording.not_recording))
    )
    if recording.last_committed_us is not None:
        _family(families, "camera_last_committed_seconds", "gauge", "UTC of the newest durable sample").rows.append(
            (who, recording.last_committed_us / 1e6)
        )
    totals: Counter[str] = Counter()
    for stream in view.streams:
        for track in stream.tracks:
            totals.update(dict(track.counters))
    for name, doc in _CAMERA_COUNTERS.items():
        _family(families, f"camera_{name}_total", "counter", doc).rows.append((who, float(totals[name])))
    viewers = sum(stream.viewers for stream in view.streams)
    _family(families, "camera_viewers", "gauge", "live viewers").rows.append((who, float(viewers)))


def _add_storages(families: dict[str, _Family], storages: Iterable[StorageView]) -> None:
    views = list(storages)
    figures: dict[str, tuple[str, str, float]] = {
        "storages": ("gauge", "storages configured", len(views)),
        "storages_failed": (
            "gauge",
            "storages not written to",
            sum(view.state not in ("ok", "degraded") for view in views),
        ),
        "storages_degraded": (
            "gauge",
            "storages still written to, but not for long",
            sum(view.state == "degraded" for view in views),
        ),
        "commits_total": ("counter", "commits made durable", sum(view.commits for view in views)),
    }
    for name, (kind, doc, value) in figures.items():
        _family(families, name, kind, doc).rows.append(({}, float(value)))


def _family(families: dict[str, _Family], name: str, kind: str, doc: str) -> _Family:
    return families.setdefault(f"recorderd_{name}", _Family(kind, doc))


def _lines(name: str, family: _Family) -> str:
    rows = "".join(f"{name}{_labels(labels)} {value:.15g}\n" for labels, value in family.rows)
    return f"# HELP {name} {family.doc}\n# TYPE {name} {family.kind}\n{rows}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
