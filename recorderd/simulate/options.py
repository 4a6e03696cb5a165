"""The farm's command line: text to a checked description of what to simulate.

Law: reads arguments and the password file, starts nothing. Raises UsageError with the option's name.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from recorderd.core.errors import UsageError
from recorderd.core.secret import Secret
from recorderd.media.access_unit import Codec
from recorderd.simulate.clip import VideoSpec, default_cache_folder
from recorderd.simulate.faults import Faults, parse_fault_option

MAX_CAMERAS = 10_000
_BITRATE_UNITS = {"": 1, "k": 1_000, "M": 1_000_000}


@dataclass(frozen=True, slots=True)
class FarmOptions:
    """Everything a farm is started with; `accounts` empty: no login."""

    cameras: int
    host: str
    port: int
    accounts: dict[str, Secret]
    main: VideoSpec
    audio: Codec | None
    pacing: int
    faults: dict[int, Faults]
    seed: int
    log: Path | None
    clip_cache: Path
    stdin_eof: bool
    metadata: bool = False


def parse_options(argv: Sequence[str]) -> FarmOptions:
    """Read the command line. Raises UsageError; argparse itself ends the process with status 2 on unknown options."""
    args = _parser().parse_args(argv)
    _between("--cameras", args.cameras, 1, MAX_CAMERAS)
    _between("--port", args.port, 0, 65_535)
    fps = _rate(args.fps)
    _between("--gop", args.gop, 1, 600)
    faults: dict[int, Faults] = {}
    for text in args.fault:
        camera, found = parse_fault_option(text)
        if camera >= args.cameras or camera in faults:
            reason = "there is no such camera" if camera >= args.cameras else "write its faults with commas"
            raise UsageError(f"--fault {text}: {reason}")
        faults[camera] = found
    width, height = _size(args.size)
    spec = VideoSpec(Codec(args.codec), width, height, fps, _bitrate(args.bitrate), args.gop)
    return FarmOptions(
        cameras=args.cameras,
        host=args.host,
        port=args.port,
        accounts=_accounts(args),
        main=spec,
        audio=None if args.audio == "none" else Codec(args.audio),
        pacing=args.pacing,
        faults=faults,
        seed=args.seed,
        log=args.log,
        clip_cache=args.clip_cache or default_cache_folder(dict(os.environ)),
        stdin_eof=args.stdin_eof,
        metadata=args.metadata,
    )


def sub_spec(main: VideoSpec) -> VideoSpec:
    """The small stream: a third of the size, an eighth of the bit rate."""
    return _scaled(main, 1, 3, max(64_000, main.bitrate_bps // 8))


def variant_spec(spec: VideoSpec) -> VideoSpec:
    """What a `params` fault changes to: two thirds of the size at the same bit rate."""
    return _scaled(spec, 2, 3, spec.bitrate_bps)


def _scaled(spec: VideoSpec, over: int, under: int, bitrate_bps: int) -> VideoSpec:
    width, height = (max(64, side * over // under // 8 * 8) for side in (spec.width, spec.height))
    return VideoSpec(spec.codec, width, height, spec.fps, bitrate_bps, spec.gop)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recorderd simulate", description="Simulated cameras at rtsp://HOST:PORT/cam/0 ... (?stream=sub)."
    )
    parser.add_argument("--cameras", type=int, default=1, metavar="N")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="0 takes any free port and prints it")
    parser.add_argument("--user", metavar="NAME", help="ask for a login (RTSP Digest)")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument("--password", metavar="TEXT", help="visible to everybody on this machine")
    secret.add_argument("--password-file", type=Path, metavar="FILE", help="its first line")
    parser.add_argument("--codec", choices=("h264", "h265"), default="h264")
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--fps", default="25", help="pictures a second: 25, or 1/20 for a slow camera")
    parser.add_argument("--bitrate", default="4M", help="bits a second, like 800k or 4M")
    parser.add_argument("--gop", type=int, default=50, help="pictures from keyframe to keyframe")
    parser.add_argument("--audio", choices=("none", "aac", "pcmu", "opus", "l16", "g726"), default="none")
    parser.add_argument("--metadata", action="store_true", help="also an ONVIF metadata document every second")
    parser.add_argument("--pacing", type=int, choices=(1, 4), default=1, help="pieces per picture, 1 ms apart")
    parser.add_argument("--fault", action="append", default=[], metavar="cam/N=KIND[:ARG][+START],...")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, metavar="FILE", help="one line of JSON per connection, appended")
    parser.add_argument("--clip-cache", type=Path, metavar="DIR")
    parser.add_argument("--stdin-eof", action="store_true", help="end when standard input is closed")
    return parser


def _accounts(args: argparse.Namespace) -> dict[str, Secret]:
    if args.user is None and args.password is None and args.password_file is None:
        return {}
    if args.user is None or (args.password is None and args.password_file is None):
        raise UsageError("a login needs both --user and --password-file (or --password)")
    if args.password is not None:
        return {args.user: Secret(args.password)}
    try:
        text = args.password_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--password-file {args.password_file} cannot be read: {error}") from None
    lines = text.splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"--password-file {args.password_file} is empty")
    return {args.user: Secret(lines[0])}


def _rate(text: str) -> int | Fraction:
    try:
        fps = Fraction(text)
    except (ValueError, ZeroDivisionError):
        fps = Fraction(0)
    if not Fraction(1, 60) <= fps <= 120:
        raise UsageError(f"--fps {text}: give a number from 1/60 to 120")
    return fps.numerator if fps.denominator == 1 else fps


def _between(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{option} {value}: give a number from {low} to {high}")


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", text, re.ASCII)
    if found is None or any(int(side) < 64 or int(side) % 2 for side in found.groups()):
        raise UsageError(f"--size {text}: write WIDTHxHEIGHT with even numbers from 64 on, like 1920x1080")
    return int(found[1]), int(found[2])


def _bitrate(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", text, re.ASCII)
    value = int(float(found[1]) * _BITRATE_UNITS[found[2]]) if found else 0
    if not 16_000 <= value <= 200_000_000:
        raise UsageError(f"--bitrate {text}: write bits a second from 16k to 200M, like 4M")
    return value
