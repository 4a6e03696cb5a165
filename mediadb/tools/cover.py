"""`mediadb why`, `mediadb coverage` and `mediadb report`.

Law: print what `Reader.coverage` says; decide nothing.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from mediadb.account import account
from mediadb.cause_words import sentence
from mediadb.movie.export import interval_record
from mediadb.read.reader import TrackInfo
from mediadb.report import CameraFacts, Range, WeekTextError, document, oldest_us, storage_facts, week_of, week_range
from mediadb.report_text import report_text
from mediadb.times import parse_time, show_duration, show_time
from mediadb.tools.context import HELD, Context, UsageError, main_track, main_tracks
from mediadb.types import Interval


def why(context: Context, args: argparse.Namespace) -> int:
    """The state at an instant, its cause, and what was before and after."""
    reader = context.open(args.path, args.storage)
    try:
        time_us = parse_time(args.time, context.now_us)
        if time_us == context.now_us:
            time_us -= 1  # `now` asks for the newest instant that has happened
        track = main_track(reader, args.camera)
        before, at, after = reader.why(track.spec.track, time_us)
    finally:
        reader.close()
    if context.as_json:
        record: dict[str, Any] = {"time": show_time(time_us), **_identity(track), **interval_record(at)}
        record["before"] = interval_record(before) if before else None
        record["after"] = interval_record(after) if after else None
        print(json.dumps(record))
        return HELD
    print(f"{show_time(time_us)}  {track.names.camera or track.spec.camera}: {words(at)}")
    print(f"  {sentence(at.cause.state.value, at.cause.reason)}")
    for title, interval in (("before", before), ("then", at), ("after", after)):
        if interval is not None:
            print(f"  {title:7}{line(interval)}")
    return HELD


def coverage(context: Context, args: argparse.Namespace) -> int:
    """All states of a range, per camera."""
    start_us, end_us = parse_time(args.start, context.now_us), parse_time(args.end, context.now_us)
    if start_us >= end_us:
        raise UsageError("the range ends before it begins")
    reader = context.open(args.path, args.storage)
    try:
        tracks = [main_track(reader, camera) for camera in args.camera] or reader.tracks()
        covered = reader.coverage([t.spec.track for t in tracks], start_us, end_us)
    finally:
        reader.close()
    if context.as_json:
        print(
            json.dumps(
                {
                    "start": show_time(start_us),
                    "end": show_time(end_us),
                    "tracks": [
                        {**_identity(t), "coverage": [interval_record(i) for i in covered[t.spec.track]]}
                        for t in tracks
                    ],
                }
            )
        )
        return HELD
    for track in tracks:
        kind = track.spec.kind.name.lower()
        print(f"{track.names.camera or track.spec.camera} {track.spec.stream} {kind}")
        for interval in covered[track.spec.track]:
            print(f"  {line(interval)}")
    return HELD


def add_report(parser: argparse.ArgumentParser) -> None:
    """The arguments of `report`."""
    parser.add_argument("camera", nargs="*", help="names or ids of cameras; all when left out")
    parser.add_argument("--week", help="such as 2026-W47 (default: the week that runs)")
    parser.add_argument("--from", dest="start", help="begin of another range")
    parser.add_argument("--to", dest="end", default="now", help="its end (default now)")


def report(context: Context, args: argparse.Namespace) -> int:
    """A week or a range, per camera, without a daemon."""
    span = _span(context, args)
    reader = context.open(args.path, args.storage)
    try:
        tracks = [main_track(reader, camera) for camera in args.camera] or main_tracks(reader)
        facts = []
        for track in tracks:
            found = reader.coverage([track.spec.track], span.start_us, span.end_us)[track.spec.track]
            name = track.names.camera or str(track.spec.camera)
            sums = account(found, span.start_us, span.end_us)
            facts.append(CameraFacts(str(track.spec.camera), name, reader.storage, sums, oldest_us(reader, track)))
        made = document(span, context.now_us, facts, [storage_facts(reader, span)])
    finally:
        reader.close()
    print(json.dumps(made) if context.as_json else report_text(made), end="\n" if context.as_json else "")
    return HELD


def _span(context: Context, args: argparse.Namespace) -> Range:
    if args.start:
        if args.week:
            raise UsageError("give --week, or --from and --to, not both")
        start_us, end_us = parse_time(args.start, context.now_us), parse_time(args.end, context.now_us)
        if start_us >= end_us:
            raise UsageError("the range ends before it begins")
        return Range(start_us, end_us)
    try:
        return week_range(args.week or week_of(context.now_us))
    except WeekTextError as error:
        raise UsageError(str(error)) from None


def words(interval: Interval) -> str:
    """State, reason and parameters as text."""
    cause = interval.cause
    text = f"{cause.state.value} ({cause.reason})" if cause.reason else cause.state.value
    if cause.params:
        text += " " + ", ".join(f"{key} {value}" for key, value in sorted(cause.params.items()))
    if interval.damaged_packets or interval.damaged_samples:
        text += f", damaged: {interval.damaged_packets} packets lost, {interval.damaged_samples} samples"
    return text


def line(interval: Interval) -> str:
    """One interval as a line."""
    length = show_duration(interval.end_us - interval.start_us)
    return f"{show_time(interval.start_us)}  {length:>14}  {words(interval)}"


def _identity(track: TrackInfo) -> dict[str, str]:
    return {
        "track": str(track.spec.track),
        "camera": str(track.spec.camera),
        "name": track.names.camera,
        "stream": track.spec.stream,
        "kind": track.spec.kind.name.lower(),
    }
