"""Answers to WWW-Authenticate: Basic (RFC 7617) and Digest (RFC 2617, RFC 7616) as RTSP uses them.

Law: pure; the password is revealed only inside `Authenticator.header` and leaves only as its result. Digest is
always taken before Basic and the stronger hash before the weaker, whatever the order of the challenges, and a
refused Digest never falls back to Basic: that would hand the password in clear text to whoever asks for it. A hash
that was refused gives way to the next one offered, because some cameras offer SHA-256 and cannot do it; how often a
login may be refused at all is the caller's to count. Called by `rtsp_client`.

Adding a digest algorithm is one line in `_HASHES`.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from recorderd.core.secret import Secret

MAX_CHALLENGES = 16
MAX_REFUSED = 2  # refused requests that carried credentials
_PAIR = re.compile(r'([A-Za-z0-9_.-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"?|([^\s,"]*))')
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s+[A-Za-z0-9_.-]+\s*=|\s*$|\s*,)")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# Hashes this client can answer, in order of preference.
_HASHES: dict[str, Callable[[bytes], str]] = {
    "SHA-256": _sha256,
    "SHA-256-SESS": _sha256,
    "MD5": _md5,
    "MD5-SESS": _md5,
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """`attempts`: how many requests that carry them may be refused in one attempt; cameras lock out."""

    username: str
    password: Secret
    attempts: int = MAX_REFUSED


@dataclass(frozen=True, slots=True)
class Challenge:
    """One offer of the server. `scheme` is "basic" or "digest"; `qop` lists its values; `algorithm` is as written,
    "" when not given, which means MD5."""

    scheme: str
    realm: str = ""
    nonce: str = ""
    opaque: str | None = None
    algorithm: str = ""
    qop: tuple[str, ...] = ()
    stale: bool = False

    @property
    def hash_name(self) -> str:
        """Key of `_HASHES`, if it is one."""
        return self.algorithm.upper() or "MD5"


def parse_challenges(values: list[str]) -> list[Challenge]:
    """Challenges of all WWW-Authenticate headers, several per header allowed; unknown schemes are left
    out."""
    found: list[Challenge] = []
    for value in values:
        quoted = _quoted_spans(value)
        marks = [m for m in _SCHEME.finditer(value) if not any(a <= m.start(1) < b for a, b in quoted)]
        for index, mark in enumerate(marks):
            stop = marks[index + 1].start() if index + 1 < len(marks) else len(value)
            challenge = _read_challenge(mark[1].lower(), value[mark.end() : stop])
            if challenge is not None and len(found) < MAX_CHALLENGES:
                found.append(challenge)
    return found


def choose(challenges: list[Challenge], refused: frozenset[str] = frozenset()) -> Challenge | None:
    """The best challenge that can be answered, or None. Hashes in `refused` are taken only for want of another."""
    digests = [one for one in challenges if one.scheme == "digest" and one.hash_name in _HASHES]
    if digests:
        order = list(_HASHES)
        return min(digests, key=lambda one: (one.hash_name in refused, order.index(one.hash_name)))
    return next((one for one in challenges if one.scheme == "basic"), None)


class Authenticator:
    """Keeps the chosen challenge and its nonce count for one connection."""

    def __init__(self, credentials: Credentials, cnonce: Callable[[], str]) -> None:
        self._credentials = credentials
        self._cnonce = cnonce
        self._challenge: Challenge | None = None
        self._count = 0
        self._session = ("", "")  # nonce and client nonce a -sess hash began with
        self._refused: set[str] = set()

    @property
    def ready(self) -> bool:
        """True once a challenge was accepted: requests now carry credentials."""
        return self._challenge is not None

    def refused(self) -> None:
        """What the present challenge was answered with is wrong, not merely old."""
        if self._challenge is not None:
            self._refused.add(self._challenge.hash_name)

    def accept(self, challenges: list[Challenge]) -> bool:
        """Take the best of fresh challenges; False when none can be answered or a Digest became Basic."""
        best = choose(challenges, frozenset(self._refused))
        if best is None:
            return False
        if self._challenge is not None and self._challenge.scheme == "digest" and best.scheme == "basic":
            return False
        if self._challenge is None or best.nonce != self._challenge.nonce:
            self._count, self._session = 0, (best.nonce, "")
        self._challenge = best
        return True

    def header(self, method: str, uri: str) -> str | None:
        """Value of the Authorization header for this request line, or None before any challenge."""
        challenge = self._challenge
        if challenge is None:
            return None
        username, password = self._credentials.username, self._credentials.password.reveal()
        if challenge.scheme == "basic":
            return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        return self._digest(challenge, method, uri, (username, password))

    def _digest(self, challenge: Challenge, method: str, uri: str, login: tuple[str, str]) -> str:
        hash_hex = _HASHES[challenge.hash_name]
        user, realm = login[0].encode(), challenge.realm.encode("latin-1", "replace")
        secret = hash_hex(b":".join((user, realm, login[1].encode())))
        action = hash_hex(f"{method}:{uri}".encode("latin-1", "replace"))
        fields = [
            ("username", _quote(user.decode("latin-1"))),
            ("realm", _quote(challenge.realm)),
            ("nonce", _quote(challenge.nonce)),
            ("uri", _quote(uri)),
        ]
        middle = challenge.nonce
        keeps, per_session = "auth" in challenge.qop, challenge.hash_name.endswith("-SESS")
        cnonce = self._cnonce() if keeps or per_session else ""
        if per_session:
            # RFC 7616 §3.4.2: hashed once, with the nonces of the session's first request.
            if not self._session[1]:
                self._session = (challenge.nonce, cnonce)
            begun = ":".join(self._session)
            secret = hash_hex(f"{secret}:{begun}".encode("latin-1", "replace"))
        if keeps:
            self._count += 1
            count = f"{self._count:08x}"
            middle = f"{challenge.nonce}:{count}:{cnonce}:auth"
            fields += [("qop", "auth"), ("nc", count)]
        if cnonce:
            fields.append(("cnonce", _quote(cnonce)))
        response = hash_hex(f"{secret}:{middle}:{action}".encode("latin-1", "replace"))
        fields.append(("response", _quote(response)))
        if challenge.algorithm:
            fields.append(("algorithm", challenge.algorithm))
        if challenge.opaque is not None:
            fields.append(("opaque", _quote(challenge.opaque)))
        return "Digest " + ", ".join(f"{name}={value}" for name, value in fields)


def _read_challenge(scheme: str, text: str) -> Challenge | None:
    pairs = {
        name.lower(): (re.sub(r"\\(.)", r"\1", quoted) if quoted else plain)
        for name, quoted, plain in _PAIR.findall(text)
    }
    if scheme == "basic":
        return Challenge("basic", pairs.get("realm", ""))
    if scheme != "digest":
        return None
    qop = tuple(part.strip().lower() for part in pairs.get("qop", "").split(",") if part.strip())
    return Challenge(
        "digest",
        pairs.get("realm", ""),
        pairs.get("nonce", ""),
        pairs.get("opaque"),
        re.sub(r"[^A-Za-z0-9-]", "", pairs.get("algorithm", "")),
        qop,
        pairs.get("stale", "").lower() == "true",
    )


def _quoted_spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r'"(?:[^"\\]|\\.)*"?', text)]


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "").replace("\n", "") + '"'
