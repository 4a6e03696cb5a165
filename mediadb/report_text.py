"""A report as text that fits a mail: 76 columns, plain characters.

Law: shows a document of `mediadb.report`, or the same from the API; adds nothing but words. Used by `recorderctl`
and `mediadb`.
"""

from __future__ import annotations

from typing import Any, Final

from mediadb.cause_words import explain
from mediadb.times import show_bytes, show_duration

WIDTH: Final = 76
HELD: Final = ("recorded", "retrieved")


def report_text(report: dict[str, Any]) -> str:
    """The whole report."""
    week = f"week {report['week']} ({report['zone']})" if report["week"] else "report"
    lines = [f"Recording, {week}", f"from {report['start'][:19]}Z to {report['end'][:19]}Z", ""]
    totals = report["totals"]
    lines += [f"{totals['cameras']} cameras, {_percent(totals)} of the time that was wanted is recorded.", ""]
    lines += _states(totals["states"], totals["length_us"])
    for camera in report["cameras"]:
        lines += ["", "-" * WIDTH, *_camera(camera)]
    for storage in report["storages"]:
        lines += ["", "-" * WIDTH, *_storage(storage)]
    lines += ["", f"Made {report['generated'][:19]}Z. {report['statement']}"]
    return "\n".join(_clean(line) for line in lines) + "\n"


def _camera(camera: dict[str, Any]) -> list[str]:
    lines = [f"{camera['name'] or camera['id']}: {_percent(camera)} recorded (storage {camera['storage']})"]
    lines += _states(camera["states"], sum(one["duration_us"] for one in camera["states"]))
    damaged = camera["damaged"]
    if damaged["packets"] or damaged["frames"]:
        lines.append(f"  damaged footage: {damaged['packets']} packets lost, {damaged['frames']} frames hurt")
    if camera["clock_steps"]:
        lines.append(f"  clock steps: {camera['clock_steps']}")
    lines.append(f"  {_kept(camera)}")
    if camera["gaps"]:
        lines.append("  longest gaps:")
    for gap in camera["gaps"]:
        lines.append(f"    {gap['start'][:19]}Z  {show_duration(gap['duration_us']):>14}  {_word(gap)}")
        lines.append(f"      {explain(gap['state'], gap['reason']).what}")
    return lines


def _storage(storage: dict[str, Any]) -> list[str]:
    lines = [f"storage {storage['name']}" + (": NOT THERE" if storage["missing"] else "")]
    restarts = storage["restarts"]
    crashes = sum(one["after"] == "crash" for one in restarts)
    lines.append(f"  starts of the recorder: {len(restarts)}, of them after a crash: {crashes}")
    for one in restarts[-5:]:
        down = "?" if one["down_us"] is None else show_duration(one["down_us"])
        lines.append(f"    {one['time'][:19]}Z after a {one['after']}, down {down}")
    for code, times in storage["troubles"].items():
        lines.append(f"  {code}: {times} times")
    stats = storage["stats"]
    if stats.get("total_bytes"):
        lines.append(f"  {show_bytes(stats['used_bytes'])} of footage, {show_bytes(stats['free_bytes'])} free")
    if stats.get("forecast_kept_us"):
        lines.append(f"  at the present rate footage will reach back {show_duration(stats['forecast_kept_us'])}")
    if stats.get("forecast_full_us"):
        lines.append(f"  in {show_duration(stats['forecast_full_us'])} footage will go before its time")
    for name, text in (("missing_segments", "files missing"), ("damaged_chunks", "pieces damaged")):
        if stats.get(name):
            lines.append(f"  {text}: {stats[name]}")
    return lines


def _states(states: list[dict[str, Any]], length_us: int) -> list[str]:
    return [
        f"  {_word(one):36.36} {show_duration(one['duration_us']):>14} {_share(one['duration_us'], length_us):>9}"
        + (f"  {one['stretches']} x" if one["state"] not in HELD else "")
        for one in states
    ]


def _kept(camera: dict[str, Any]) -> str:
    if camera["kept_us"] is None:
        return "no footage is kept"
    wanted = camera["retention_us"]
    limit = f", to be kept {show_duration(wanted)}" if wanted else ""
    return f"oldest footage {camera['oldest'][:19]}Z: {show_duration(camera['kept_us'])}{limit}"


def _word(one: dict[str, Any]) -> str:
    return f"{one['state']} ({one['reason']})" if one["reason"] else str(one["state"])


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3f} %" if whole else "-"


def _percent(sums: dict[str, Any]) -> str:
    percent = sums["recorded_percent"]
    return "nothing was wanted, nothing" if percent is None else f"{percent:.3f} %"


def _clean(line: str) -> str:
    """Names come from elsewhere: nothing of them moves a cursor."""
    return "".join(char if char.isprintable() else "?" for char in line).rstrip()
