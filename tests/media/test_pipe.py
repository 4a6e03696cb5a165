"""Messages on a pipe: any pieces in, the same messages out; hostile sizes and heads are a typed end."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorderd.media.pipe import MAX_HEAD_BYTES, PipeDecoder, PipeError, PipeMessage, encode_pipe_message

pytestmark = pytest.mark.fast

HEADS = st.dictionaries(st.text(max_size=8), st.one_of(st.integers(-(2**60), 2**60), st.binary(max_size=9), st.none()))


@given(messages=st.lists(st.tuples(HEADS, st.binary(max_size=50)), max_size=5), size=st.integers(1, 40))
def test_round_trip_in_any_pieces(messages: list[tuple[dict[str, object], bytes]], size: int) -> None:
    stream = b"".join(encode_pipe_message(head, payload) for head, payload in messages)
    decoder = PipeDecoder()
    found = [m for start in range(0, len(stream), size) for m in decoder.feed(stream[start : start + size])]
    assert found == [PipeMessage(head, payload) for head, payload in messages]
    assert decoder.pending_bytes == 0


@given(data=st.binary(max_size=200))
def test_any_bytes_are_messages_or_a_typed_error(data: bytes) -> None:
    decoder = PipeDecoder()
    try:
        list(decoder.feed(data))
    except PipeError:
        with pytest.raises(PipeError):
            list(decoder.feed(b""))


@pytest.mark.parametrize("sizes", [(MAX_HEAD_BYTES + 1, 0), (0, 0xFFFFFFFF)])
def test_sizes_above_the_limit_are_refused_at_once(sizes: tuple[int, int]) -> None:
    decoder = PipeDecoder()
    with pytest.raises(PipeError):
        list(decoder.feed(struct.pack(">II", *sizes)))
    assert decoder.pending_bytes == 0


@pytest.mark.parametrize("head", [[1, 2], {1: 2}, "text", None])
def test_a_head_that_is_no_map_with_text_keys_is_refused(head: object) -> None:
    packed = msgpack.packb(head)
    with pytest.raises(PipeError):
        list(PipeDecoder().feed(struct.pack(">II", len(packed), 0) + packed))


def test_too_much_cannot_be_written() -> None:
    with pytest.raises(PipeError):
        encode_pipe_message({"a": b"x" * MAX_HEAD_BYTES})
