"""Range and conditional requests, by the letters of RFC 9110."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from recorderd.server.http.byte_range import (
    NotModified,
    Part,
    PreconditionFailed,
    Unsatisfiable,
    Whole,
    decide,
    parse_range,
)

pytestmark = pytest.mark.fast
TAG = '"abc"'


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("bytes=0-499", 10_000, Part(0, 500)),
        ("bytes=500-999", 10_000, Part(500, 1000)),
        ("bytes=-500", 10_000, Part(9500, 10_000)),
        ("bytes=9500-", 10_000, Part(9500, 10_000)),
        ("bytes=-20000", 10_000, Part(0, 10_000)),
        ("bytes=9999-20000", 10_000, Part(9999, 10_000)),
        ("bytes=0-99999999999999999999999", 10_000, Part(0, 10_000)),
        ("bytes=-99999999999999999999999", 10_000, Part(0, 10_000)),
        ("bytes=99999999999999999999999-", 10_000, Unsatisfiable()),
        ("Bytes = 0-0", 10_000, Part(0, 1)),
        ("bytes=10000-", 10_000, Unsatisfiable()),
        ("bytes=-0", 10_000, Unsatisfiable()),
        ("bytes=0-", 0, Unsatisfiable()),
        ("bytes=-5", 0, Unsatisfiable()),
        ("bytes=5-4", 10_000, Whole()),
        ("bytes=-", 10_000, Whole()),
        ("bytes=", 10_000, Whole()),
        ("bytes=a-b", 10_000, Whole()),
        ("bytes=0-0,-1", 10_000, Whole()),
        ("items=0-5", 10_000, Whole()),
        ("bytes=٣-٤", 10_000, Whole()),
        ("bytes=" + "9" * 101 + "-", 10_000, Whole()),
    ],
)
def test_range(text: str, length: int, expected: object) -> None:
    assert parse_range(text, length) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Whole()),
        ({"If-Match": "*"}, Whole()),
        ({"If-Match": '"x", "abc"'}, Whole()),
        ({"If-Match": 'W/"abc"'}, PreconditionFailed()),
        ({"If-Match": '"x"', "If-None-Match": TAG}, PreconditionFailed()),
        ({"If-None-Match": "*"}, NotModified()),
        ({"If-None-Match": 'W/"abc"'}, NotModified()),
        ({"If-None-Match": '"x"', "Range": "bytes=1-2"}, Part(1, 3)),
        ({"If-None-Match": TAG, "Range": "bytes=1-2"}, NotModified()),
        ({"If-Range": TAG, "Range": "bytes=1-2"}, Part(1, 3)),
        ({"If-Range": 'W/"abc"', "Range": "bytes=1-2"}, Whole()),
        ({"If-Range": "Sat, 29 Oct 1994 19:43:31 GMT", "Range": "bytes=1-2"}, Whole()),
        ({"If-Range": '"x"', "Range": "bytes=99-"}, Whole()),
    ],
)
def test_conditions(headers: dict[str, str], expected: object) -> None:
    assert decide(CIMultiDict(headers), TAG, 10) == expected


@given(st.text(max_size=40), st.integers(0, 10**12))
def test_nothing_outside_the_file_is_ever_promised(text: str, length: int) -> None:
    for header in (text, f"bytes={text}"):
        found = parse_range(header, length)
        if isinstance(found, Part):
            assert 0 <= found.start < found.end <= length
