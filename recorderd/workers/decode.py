"""`python -m recorderd.workers.decode`: makes JPEGs from coded samples, asked over a pipe.

Law: answers every request with a picture or a typed error, one after the other, in order; ends with status 0 when
standard input is closed. Nothing a request holds ends the process, except memory or a decoder that crashes: then the
parent starts another. Who asks keeps the time: a request that takes too long is ended by killing this process.

Request head: {"codec": "h264"|"h265", "sizes": [bytes of each sample]}, and when wanted "parameter_sets": [bytes] or
"entry": an MP4 sample entry (for streams without parameter sets in-band), "target": which sample (else the last),
"width": not wider than this (0 or none: as it is), "quality": 1 to 100 (80), "id": anything, given back. Payload: the
samples one after the other, NAL units behind 4-byte lengths, the first a keyframe. Answer head: {"id", "ok": true,
"width", "height", "index"} with the JPEG as payload, or {"id", "ok": false, "error": {"code", "message", "params"}}.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import Any

import av.logging

from recorderd.core.errors import RecorderdError
from recorderd.media.access_unit import Codec
from recorderd.media.pipe import PipeDecoder, PipeError, PipeMessage, encode_pipe_message
from recorderd.workers.jpeg import DecodeError, DecodeRequest, make_jpeg
from recorderd.workers.sample_entry import parameter_sets_of

MEMORY_BYTES = 2 * 1024**3
_READ_BYTES = 1024 * 1024


def main() -> int:
    """Serve until standard input ends; 1 when it held no messages."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    av.logging.set_level(av.logging.PANIC)
    decoder = PipeDecoder()
    try:
        while data := os.read(0, _READ_BYTES):
            for message in decoder.feed(data):
                _write(answer(message))
    except PipeError as error:
        sys.stderr.write(f"recorderd decode worker: {error}\n")
        return 1
    except BrokenPipeError:  # the parent went away in the middle of an answer
        return 0
    return 0


def answer(message: PipeMessage) -> bytes:
    """The bytes that answer one request; never raises."""
    identity = message.head.get("id")
    try:
        jpeg = make_jpeg(read_request(message))
        head = {"id": identity, "ok": True, "width": jpeg.width, "height": jpeg.height, "index": jpeg.index}
        return encode_pipe_message(head, jpeg.data)
    except RecorderdError as error:
        trouble = {"code": error.code, "message": error.message, "params": error.params}
    except Exception as error:  # a bug here must not look like a crashed decoder
        trouble = {"code": "internal-error", "message": f"{type(error).__name__}: {error}", "params": {}}
    return encode_pipe_message({"id": identity, "ok": False, "error": trouble})


def read_request(message: PipeMessage) -> DecodeRequest:
    """Check a head against its payload. Raises DecodeError with reason "bad-request"."""
    head = message.head
    try:
        codec = Codec(head.get("codec", ""))
    except ValueError:
        raise DecodeError(f"unknown codec {head.get('codec')!r}", reason="bad-request") from None
    sizes: list[int] = head.get("sizes") or []
    sets: list[bytes] = head.get("parameter_sets") or []
    if not _is_list(sizes, int) or not _is_list(sets, bytes) or any(size < 0 for size in sizes):
        raise DecodeError("sizes is a list of numbers, parameter_sets one of bytes", reason="bad-request")
    if sum(sizes) != len(message.payload):
        raise DecodeError("the sizes do not add up to the payload", reason="bad-request", payload=len(message.payload))
    numbers = {"target": len(sizes) - 1, "width": 0, "quality": 80}
    for name in numbers:
        value = head.get(name, numbers[name])
        if type(value) is not int:
            raise DecodeError(f"{name} is no number", reason="bad-request")
        numbers[name] = value
    samples, start = [], 0
    for size in sizes:
        samples.append(message.payload[start : start + size])
        start += size
    return DecodeRequest(
        codec, (*sets, *_entry_sets(head)), tuple(samples), numbers["target"], numbers["width"], numbers["quality"]
    )


def _entry_sets(head: dict[str, Any]) -> tuple[bytes, ...]:
    entry = head.get("entry") or b""
    if type(entry) is not bytes:
        raise DecodeError("entry is no bytes", reason="bad-request")
    try:
        return parameter_sets_of(entry)
    except ValueError as error:
        raise DecodeError(f"the sample entry cannot be read: {error}", reason="bad-request") from None


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    sys.exit(main())
