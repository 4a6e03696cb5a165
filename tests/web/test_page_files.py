"""The page's files: shipped, local, and data only ever set as text."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from recorderd.server.http.guard import SECURITY_HEADERS

pytestmark = pytest.mark.fast
WEB = {entry.name: entry.read_text() for entry in files("recorderd").joinpath("web").iterdir() if "." in entry.name}


def test_what_the_page_needs_is_shipped_and_nothing_comes_from_elsewhere() -> None:
    assert {"index.html", "main.js", "style.css"} <= set(WEB)
    for name, text in WEB.items():
        for needed in re.findall(r"/web/([\w.]+)", text):
            assert needed in WEB, f"{name} wants {needed}"
        assert not re.findall(r"(?:https?:)?//[\w-]+\.\w+", text), name


@pytest.mark.parametrize(
    "word", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
)
def test_data_is_never_made_into_markup(word: str) -> None:
    assert [name for name, text in WEB.items() if word in text] == []


def test_the_policy_holds_without_inline_code() -> None:
    page = WEB["index.html"]
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\son\w+=|\sstyle=|<style", page)
    assert "unsafe" not in SECURITY_HEADERS["Content-Security-Policy"]
