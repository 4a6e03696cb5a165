"""Figures for Prometheus (text format 0.0.4).

Law: pure; `CATALOGUE` names every figure, a figure that is not in it stops the page. Names are `recorderd_*`, labels
are `camera`, `storage` and `cause` only, so that the number of series is bounded by the configuration. docs/metrics.md
and the dashboard are tested against the catalogue. Called by the /metrics handler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recorderd.engine.views import CameraView, StorageView

CONTENT_TYPE = "text/plain; version=0.0.4"
PREFIX = "recorderd_"
_STATES = ("ok", "degraded", "stalled", "error", "missing")


@dataclass(frozen=True, slots=True)
class Metric:
    """One family: name without prefix, the labels of its series, what it says and in which unit."""

    name: str
    kind: str  # gauge | counter
    labels: tuple[str, ...]
    doc: str


def _gauge(name: str, doc: str, *labels: str) -> Metric:
    return Metric(name, "gauge", labels, doc)


def _counter(name: str, doc: str, *labels: str) -> Metric:
    return Metric(name, "counter", labels, doc)


CATALOGUE = (
    _gauge("camera_connected", "1 while the camera is connected", "camera"),
    _gauge("camera_state", "1 for the coverage state that holds now, as STATE or STATE/REASON", "camera", "cause"),
    _gauge("camera_not_recording", "1 while the not-recording alarm is on", "camera"),
    _gauge("camera_last_committed_seconds", "UTC of the newest durable picture", "camera"),
    _gauge("camera_fps", "pictures per second of the main stream over the last seconds", "camera"),
    _gauge("camera_bitrate", "bits per second of all its streams over the last seconds", "camera"),
    _gauge("camera_prebuffer_bytes", "held in memory before recording is wanted", "camera"),
    _gauge("camera_viewers", "live viewers", "camera"),
    _counter("camera_units_total", "access units received", "camera"),
    _counter("camera_bytes_total", "media bytes received", "camera"),
    _counter("camera_committed_samples_total", "samples made durable", "camera"),
    _counter("camera_lost_packets_total", "RTP packets lost", "camera"),
    _counter("camera_lost_frames_total", "pictures known lost", "camera"),
    _counter("camera_damaged_units_total", "access units with a part missing", "camera"),
    _counter("camera_shed_samples_total", "samples dropped because a disk could not follow", "camera"),
    _counter("camera_shed_bytes_total", "bytes dropped because a disk could not follow", "camera"),
    _counter("camera_dropped_packets_total", "lost packets that reached this machine and were not read", "camera"),
    _counter("camera_state_seconds_total", "time with each coverage state, by the ledger", "camera", "cause"),
    _counter("camera_unexplained_seconds_total", "time with neither footage nor a cause: must stay 0", "camera"),
    _counter("camera_ignored_units_total", "access units nobody asked for: sound or metadata switched off", "camera"),
    _gauge("hardware_failed", "devices that are not online, by their state", "cause"),
    _gauge("storages", "storages configured"),
    _gauge("storages_failed", "storages not written to"),
    _gauge("storages_degraded", "storages still written to, but not for long"),
    _gauge("storage_state", "1 for what holds now: ok, degraded, stalled, error or missing", "storage", "cause"),
    _gauge("storage_free_bytes", "free on the file system, a few seconds old", "storage"),
    _gauge("storage_total_bytes", "size of the file system", "storage"),
    _gauge("storage_used_bytes", "footage on disk, a few seconds old", "storage"),
    _gauge("storage_held_bytes", "taken and not yet durable", "storage"),
    _gauge("storage_commit_seconds", "how long the last commit took", "storage"),
    _gauge("storage_commit_max_seconds", "how long the longest commit since the start took", "storage"),
    _gauge("storage_last_commit_seconds", "UTC of the last commit", "storage"),
    _counter("storage_commits_total", "commits made durable", "storage"),
    _counter("storage_committed_bytes_total", "media bytes made durable", "storage"),
    _counter("storage_shed_samples_total", "samples dropped because the disk could not follow", "storage"),
    _counter("storage_reclaimed_segments_total", "files removed by retention", "storage"),
    _gauge("storage_rate_bytes", "footage written a second, over ten minutes", "storage"),
    _gauge("storage_forecast_kept_seconds", "how far back footage will reach at that rate, 0: no limit", "storage"),
    _gauge("storage_forecast_full_seconds", "until the oldest goes before its time, 0: it will not", "storage"),
    _gauge("storage_forecast_short_cameras", "cameras not kept as long as their limits say", "storage"),
    _gauge("storage_reclaim_held", "1 while deletion by age is held back or paced", "storage"),
    _gauge("storage_damaged_chunks", "pieces of footage that were read and do not verify", "storage"),
    _gauge("storage_missing_segments", "files of footage that no rule removed and that are not there whole", "storage"),
    _gauge("storage_ledger_pending", "statements that the ledger on the volume does not have yet", "storage"),
    _counter("storage_troubles_total", "times the storage said that something is wrong", "storage"),
    _gauge("subsystem_ready", "1 while this part can be relied on; the part is named in `cause`", "cause"),
    _gauge("uptime_seconds", "since the process started"),
    _gauge("process_resident_memory_bytes", "memory of the process"),
    _counter("process_cpu_seconds_total", "CPU of the process, user and system, without its children"),
    _gauge("process_open_fds", "open files and connections"),
    _gauge("waiting_bytes", "footage in memory that is not durable yet, of all storages"),
    _gauge("waiting_limit_bytes", "what may wait in memory before groups of pictures are shed: [server] memory"),
    _gauge("tasks", "supervised tasks"),
    _gauge("loop_load", "share of one core the event loop takes, 0 to 1, over about half a second"),
    _gauge("loop_lag_p50_seconds", "how late the event loop is: median since the start"),
    _gauge("loop_lag_p99_seconds", "99th percentile since the start"),
    _gauge("loop_lag_max_seconds", "highest since the start"),
    _counter("loop_blocked_total", "times the event loop stood still for more than 100 ms"),
    _counter("events_lost_total", "events that the state database never took"),
    _counter("decode_served_total", "pictures decoded"),
    _counter("decode_failed_total", "pictures no worker could decode"),
    _counter("decode_refused_total", "pictures refused because too many were waiting"),
    _counter("decode_children_lost_total", "decode workers that died"),
    _gauge("http_connections", "open HTTP connections"),
    _gauge("stream_connections", "open connections of the TCP stream API"),
    _gauge("stream_subscriptions", "running subscriptions of the TCP stream API"),
    _counter("stream_sent_bytes_total", "bytes sent by the TCP stream API"),
    _counter("stream_dropped_viewers_total", "viewers of the TCP stream API that were too slow"),
    _counter("stream_refused_total", "connections and messages of the TCP stream API that were refused"),
    _gauge("rtsp_connections", "open RTSP connections"),
    _gauge("rtsp_sessions", "RTSP sessions"),
    _counter("rtsp_sent_bytes_total", "bytes sent by the RTSP server"),
    _counter("rtsp_dropped_viewers_total", "RTSP viewers that were too slow"),
    _counter("rtsp_refused_total", "RTSP connections and requests that were refused"),
)  # fmt: skip
_BY_NAME = {metric.name: metric for metric in CATALOGUE}

_CAMERA_COUNTERS = (
    "units", "bytes", "committed_samples", "lost_packets", "dropped_packets", "lost_frames", "damaged_units",
    "shed_samples", "shed_bytes",
)  # fmt: skip
_STORAGE_FIGURES = {
    "storage_free_bytes": ("free_bytes", 1),
    "storage_total_bytes": ("total_bytes", 1),
    "storage_used_bytes": ("used_bytes", 1),
    "storage_held_bytes": ("held_bytes", 1),
    "storage_commit_seconds": ("commit_us", 1_000_000),
    "storage_commit_max_seconds": ("commit_max_us", 1_000_000),
    "storage_committed_bytes_total": ("committed_bytes", 1),
    "storage_reclaimed_segments_total": ("reclaimed_segments", 1),
    "storage_troubles_total": ("troubles", 1),
    "storage_rate_bytes": ("rate_bytes_s", 1),
    "storage_forecast_kept_seconds": ("forecast_kept_us", 1_000_000),
    "storage_forecast_full_seconds": ("forecast_full_us", 1_000_000),
    "storage_forecast_short_cameras": ("forecast_short_cameras", 1),
    "storage_reclaim_held": ("reclaim_held", 1),
    "storage_damaged_chunks": ("damaged_chunks", 1),
    "storage_missing_segments": ("missing_segments", 1),
    "storage_ledger_pending": ("ledger_pending", 1),
}


class Page:
    """Figures gathered family by family."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[tuple[str, ...], float]]] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        """One series. KeyError for a name that is not in the catalogue, ValueError for other labels than its own."""
        if len(labels) != len(_BY_NAME[name].labels):
            raise ValueError(f"{name} has the labels {_BY_NAME[name].labels}")
        self._rows.setdefault(name, []).append((labels, value))

    def cameras(self, views: Iterable[CameraView]) -> None:
        for view in views:
            self._camera(view)

    def audit(self, seconds: Mapping[str, Mapping[str, float]]) -> None:
        """Seconds per state, by camera."""
        for camera, states in seconds.items():
            for state, value in sorted(states.items()):
                self.add("camera_state_seconds_total", value, camera, state)
            self.add("camera_unexplained_seconds_total", states.get("unexplained", 0.0), camera)

    def storages(self, views: Iterable[StorageView]) -> None:
        known = list(views)
        self.add("storages", len(known))
        self.add("storages_failed", sum(view.state not in ("ok", "degraded") for view in known))
        self.add("storages_degraded", sum(view.state == "degraded" for view in known))
        for view in known:
            self._storage(view)

    def hardware(self, states: Iterable[str]) -> None:
        for state, number in sorted(Counter(state for state in states if state != "online").items()):
            self.add("hardware_failed", number, state)

    def text(self) -> str:
        """The page, in the order of the catalogue."""
        return "".join(_lines(metric, self._rows[metric.name]) for metric in CATALOGUE if metric.name in self._rows)

    def _camera(self, view: CameraView) -> None:
        name, recording = view.name, view.recording
        self.add("camera_connected", view.connected, name)
        self.add("camera_state", 1, name, f"{view.state}/{view.reason}" if view.reason else view.state)
        self.add("camera_not_recording", recording.not_recording, name)
        if recording.last_committed_us is not None:
            self.add("camera_last_committed_seconds", recording.last_committed_us / 1e6, name)
        totals: Counter[str] = Counter()
        for stream in view.streams:
            for track in stream.tracks:
                totals.update(dict(track.counters))
        for counter in _CAMERA_COUNTERS:
            self.add(f"camera_{counter}_total", totals[counter], name)
        self.add("camera_ignored_units_total", sum(stream.ignored_units for stream in view.streams), name)
        self.add("camera_fps", sum(stream.fps for stream in view.streams if stream.role == "main"), name)
        self.add("camera_bitrate", sum(stream.bitrate for stream in view.streams), name)
        self.add("camera_prebuffer_bytes", sum(stream.prebuffer_bytes for stream in view.streams), name)
        self.add("camera_viewers", sum(stream.viewers for stream in view.streams), name)

    def _storage(self, view: StorageView) -> None:
        for state in _STATES:
            self.add("storage_state", view.state == state, view.name, state)
        self.add("storage_commits_total", view.commits, view.name)
        self.add("storage_shed_samples_total", view.shed_samples, view.name)
        if view.last_commit_us is not None:
            self.add("storage_last_commit_seconds", view.last_commit_us / 1e6, view.name)
        for name, (key, unit) in _STORAGE_FIGURES.items():
            if key in view.stats:
                self.add(name, view.stats[key] / unit, view.name)


def metrics_text(
    cameras: Iterable[CameraView],
    storages: Iterable[StorageView],
    hardware_states: Iterable[str],
    process: Mapping[str, float],
    subsystems: Mapping[str, bool],
    audit: Mapping[str, Mapping[str, float]],
) -> str:
    """The whole page. `process`: figures without labels, by name without prefix; `subsystems`: ready or not; `audit`:
    seconds per coverage state, by camera."""
    page = Page()
    page.cameras(cameras)
    page.audit(audit)
    page.hardware(hardware_states)
    page.storages(storages)
    for name, ready in subsystems.items():
        page.add("subsystem_ready", ready, name)
    for name, value in process.items():
        page.add(name, value)
    return page.text()


def _lines(metric: Metric, rows: Iterable[tuple[tuple[str, ...], float]]) -> str:
    name = PREFIX + metric.name
    shown = "".join(f"{name}{_labels(metric.labels, values)} {float(value):.15g}\n" for values, value in rows)
    return f"# HELP {name} {metric.doc}\n# TYPE {name} {metric.kind}\n{shown}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
