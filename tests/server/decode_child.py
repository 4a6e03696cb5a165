"""A stand-in for the decode worker: does what the request's head says."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from recorderd.media.pipe import PipeDecoder, encode_pipe_message


def main() -> None:
    decoder = PipeDecoder()
    while data := os.read(0, 65536):
        for message in decoder.feed(data):
            head = message.head
            if "once" in head:  # misbehave the first time only
                try:
                    Path(head["once"]).touch(exist_ok=False)
                except FileExistsError:
                    head = {"do": "echo"}
            match head["do"]:
                case "die":
                    os._exit(3)
                case "hang":
                    time.sleep(60)
                case "babble":
                    os.write(1, b"\xff" * 100)
                    continue
                case "noise":
                    sys.stderr.write("x" * 300_000)
                    sys.stderr.flush()
            os.write(1, encode_pipe_message({"pid": os.getpid()}, message.payload))


main()
