"""Clips: the few seconds of coded picture and sound that simulated cameras repeat, and their cache on disk.

Law: plain data and its file form; nothing here encodes (`clip_encode` does, and only when the cache has no
answer). A cached file that cannot be read is made again, never trusted: it carries a version and a CRC-32.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no type information

from recorderd.media.access_unit import Codec, CodecConfig, MediaKind

VIDEO_CLOCK_HZ = 90_000
_MAGIC = b"RDCLIP2\n"


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """What a video clip is made as; `variant` tells two clips of the same parameters apart."""

    codec: Codec = Codec.H264
    width: int = 1920
    height: int = 1080
    fps: int | Fraction = 25
    bitrate_bps: int = 4_000_000
    gop: int = 50

    @property
    def pictures(self) -> int:
        """Whole GOPs, about four seconds."""
        return self.gop * max(1, round(4 * self.fps / self.gop))


@dataclass(frozen=True, slots=True)
class Picture:
    """One access unit: NAL units without start codes; keyframes begin with their parameter sets."""

    key: bool
    nals: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VideoClip:
    """A loop of closed GOPs without B-frames; picture 0 is a keyframe."""

    spec: VideoSpec
    config: CodecConfig
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class AudioClip:
    """A loop of raw audio frames, each `frame_samples` long."""

    config: CodecConfig
    frame_samples: int
    frames: tuple[bytes, ...]


def video_config(spec: VideoSpec, parameter_sets: tuple[bytes, ...]) -> CodecConfig:
    """The track as a session description presents it."""
    return CodecConfig(
        codec=spec.codec,
        kind=MediaKind.VIDEO,
        timebase_hz=VIDEO_CLOCK_HZ,
        width=spec.width,
        height=spec.height,
        parameter_sets=parameter_sets,
        frame_ticks=VIDEO_CLOCK_HZ // spec.fps,
    )


class ClipCache:
    """Clips by their parameters, from disk when they are there. Safe for several processes at once: a file is
    written beside its name and put in place by one rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def video(self, spec: VideoSpec, encode: Callable[[VideoSpec], VideoClip]) -> VideoClip:
        """The clip of `spec`; `encode` is called when it is not in the cache."""
        path = self._folder / f"video-{_name(spec)}.clip"
        stored = _read(path)
        if stored is not None:
            sets, pictures = stored
            return VideoClip(
                spec,
                video_config(spec, tuple(sets)),
                tuple(Picture(key, tuple(nals)) for key, nals in pictures),
            )
        clip = encode(spec)
        self._write(path, [clip.config.parameter_sets, [(p.key, p.nals) for p in clip.pictures]])
        return clip

    def audio(self, codec: Codec, encode: Callable[[Codec], AudioClip]) -> AudioClip:
        """The sound loop in `codec`."""
        path = self._folder / f"audio-{codec}.clip"
        stored = _read(path)
        if stored is not None:
            rate, channels, extra, frame_samples, frames = stored
            config = CodecConfig(codec, MediaKind.AUDIO, rate, sample_rate=rate, channels=channels, extra=extra)
            return AudioClip(config, frame_samples, tuple(frames))
        clip = encode(codec)
        config = clip.config
        self._write(path, [config.sample_rate, config.channels, config.extra, clip.frame_samples, clip.frames])
        return clip

    def _write(self, path: Path, content: list[Any]) -> None:
        body: bytes = msgpack.packb(content)
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + zlib.crc32(body).to_bytes(4, "big") + body)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise


def default_cache_folder(environ: dict[str, str]) -> Path:
    """`$XDG_CACHE_HOME` or `~/.cache` when that can be written, else the temporary folder."""
    home = environ.get("XDG_CACHE_HOME") or os.path.join(environ.get("HOME") or "/", ".cache")
    if os.path.isabs(home) and os.access(home if os.path.isdir(home) else os.path.dirname(home), os.W_OK):
        return Path(home) / "recorderd" / "clips"
    return Path(tempfile.gettempdir()) / f"recorderd-clips-{os.getuid()}"


def _name(spec: VideoSpec) -> str:
    return hashlib.sha256(repr(astuple(spec)).encode()).hexdigest()[:20]


def _read(path: Path) -> Any:
    """The content of a cached file, or None when there is none that can be used."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 4
    body = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or zlib.crc32(body) != int.from_bytes(data[len(_MAGIC) : start], "big"):
        return None
    return msgpack.unpackb(body, use_list=True)
