"""Signed addresses: media for players that send no headers, for a while, for one camera.

Law: a signature says that whoever holds the address may GET this path with this query until `exp`, with the right that
the route declares, and nothing else. The key lies in data_dir, mode 0600, made at first need; removing the file (and
starting again) makes every address given out invalid. Comparison takes the same time whatever is wrong; no
query is ever logged. Called by `app` for every request that carries `sig`, and by whoever hands out addresses.

The signature is HMAC-SHA256 over the lines METHOD, PATH, QUERY, EXP, base64url without padding. HEAD counts as GET.
QUERY is the query without `exp` and `sig`, sorted, percent-encoded anew.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from aiohttp import web

from recorderd.core.clock import Clock
from recorderd.core.errors import UnavailableError
from recorderd.core.rights import Principal
from recorderd.server.http.routing import SIGNED_UNTIL, Call
from recorderd.server.problems import Refusal

KEY_FILE = "url.key"
KEY_BYTES = 32
MAX_LIFETIME_S = 24 * 3600
_URI = re.compile(r'URI="([^"]*)"')
_SECONDS = re.compile(r"[1-9][0-9]{0,11}")
Pairs = Sequence[tuple[str, str]]


class UrlSigner:
    """Signs and checks. Without a data_dir it refuses to sign, and no signature is right."""

    def __init__(self, data_dir: Path | None, clock: Clock) -> None:
        self._data_dir = data_dir
        self._clock = clock
        self._key: bytes | None = None

    def sign(self, path: str, query: Pairs, lifetime_s: int) -> str:
        """`path?query` (path percent-encoded by this) with exp and sig. Raises Refusal for a lifetime out of bounds,
        UnavailableError when no key can be had."""
        if not 1 <= lifetime_s <= MAX_LIFETIME_S:
            raise Refusal("bad-request", f"an address may hold for 1 to {MAX_LIFETIME_S} s", highest=MAX_LIFETIME_S)
        return self.sign_until(path, query, self._clock.utc_us() // 1_000_000 + lifetime_s)

    def sign_until(self, path: str, query: Pairs, exp: int) -> str:
        """The same with the moment it ends; used to hand an address's own end on to what it leads to."""
        pairs = [*query, ("exp", str(exp)), ("sig", self._signature(path, query, exp))]
        return f"{quote(path, safe='/')}?{urlencode(pairs)}"

    def check(self, method: str, path: str, query: Pairs) -> int:
        """The moment it ends, for a request that carries `sig`. Raises Refusal (signature-wrong, signature-expired)."""
        given = [value for name, value in query if name == "sig"]
        ends = [value for name, value in query if name == "exp"]
        rest = [(name, value) for name, value in query if name not in ("sig", "exp")]
        exp = int(ends[0]) if len(ends) == 1 and _SECONDS.fullmatch(ends[0]) else 0
        right = self._signature(path, rest, exp)
        held = len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "replace"), right.encode())
        if not held or method not in ("GET", "HEAD"):
            raise Refusal("signature-wrong", "the signature does not fit this method, path and query")
        now_s = self._clock.utc_us() // 1_000_000
        if exp <= now_s:
            raise Refusal("signature-expired", "the address has expired; ask for a new one")
        if exp > now_s + MAX_LIFETIME_S + 60:  # a clock that was set back
            raise Refusal("signature-expired", "the address ends too far in the future; ask for a new one")
        return exp

    def _signature(self, path: str, query: Pairs, exp: int) -> str:
        canonical = urlencode(sorted(query), errors="surrogatepass")
        text = f"GET\n{path}\n{canonical}\n{exp}".encode("utf-8", "surrogatepass")
        digest = hmac.digest(self._load(), text, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _load(self) -> bytes:
        if self._key is None:
            if self._data_dir is None:
                raise UnavailableError("this server has no place for the key of signed addresses")
            self._key = load_key(self._data_dir / KEY_FILE)
        return self._key


def load_key(path: Path) -> bytes:
    """The key, made when there is none. Raises UnavailableError when it cannot be read, made, or is no key."""
    try:
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = secrets.token_bytes(KEY_BYTES)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}; check data_dir and its owner", path=str(path)) from error
    if len(key) != KEY_BYTES:
        raise UnavailableError(f"{path} is no key of {KEY_BYTES} bytes; remove it to make a new one", path=str(path))
    return key


def signed_principal(call: Call) -> Principal:
    """Who a signed address lets in: nobody but for this route's right and this camera. Raises Refusal."""
    request, route = call.request, call.route
    exp = request.app[SIGNER].check(request.method, request.path, list(request.query.items()))
    if not route.signed:
        raise Refusal("signature-wrong", "this path is not opened by a signature")
    request[SIGNED_UNTIL] = exp
    camera = call.deps.engine.camera(request.match_info["camera"])
    return Principal("signed address", frozenset({route.right}), frozenset({camera.id}))


def link(call: Call, path: str, query: Pairs) -> str:
    """An address that this answer leads to (a segment, a redirect): signed until the same moment if the request was.
    `path` is not percent-encoded yet."""
    until = call.request.get(SIGNED_UNTIL)
    if until is not None:
        return call.request.app[SIGNER].sign_until(path, query, until)
    shown = quote(path, safe="/")
    return f"{shown}?{urlencode(query)}" if query else shown


def sign_links(call: Call, playlist: str) -> str:
    """A playlist (RFC 8216) of relative addresses whose links hand the request's signature on; as it is when the
    request was not signed. Costs a signature per link: long ones are for a thread."""
    if SIGNED_UNTIL not in call.request:
        return playlist
    folder = call.request.path.rpartition("/")[0]

    def signed(address: str) -> str:
        path, _, query = address.partition("?")
        return link(call, f"{folder}/{unquote(path)}", parse_qsl(query, keep_blank_values=True))

    lines = []
    for line in playlist.split("\n"):
        if line and not line.startswith("#"):
            line = signed(line)
        lines.append(_URI.sub(lambda found: f'URI="{signed(found[1])}"', line) if line.startswith("#") else line)
    return "\n".join(lines)


SIGNER: web.AppKey[UrlSigner] = web.AppKey("url signer", UrlSigner)
