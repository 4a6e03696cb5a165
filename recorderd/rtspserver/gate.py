"""Who may talk to the RTSP server: Digest authentication (RFC 2617 with MD5, RFC 7616 with SHA-256).

Law: the verifying half of `wire.auth`; pure, time is an argument. Passwords are revealed only inside the hash.
Nonces are signed, so no state is kept per client and a client may use one on its next connection; an old one is
answered with stale=true, which is no failure. Replays inside a nonce's life are not detected: the
connection itself is clear text.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recorderd.core.secret import Secret
from recorderd.wire.rtsp_message import RtspRequest

NONCE_LIFE_US = 600 * 1_000_000
MD5, SHA_256 = "MD5", "SHA-256"
_HASHES: dict[str, Callable[[bytes], str]] = {
    MD5: lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    SHA_256: lambda data: hashlib.sha256(data).hexdigest(),
}
_PAIR = re.compile(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')


@dataclass(frozen=True, slots=True)
class Verdict:
    """`user` is None when not let in. `shown`: credentials came with the request. `stale`: they were right, but the
    nonce was old."""

    user: str | None
    shown: bool = False
    stale: bool = False


class DigestGate:
    """Checks requests against accounts; without accounts everybody is let in as user "". `algorithms`: what is
    offered, in order. Common players take the last challenge they read, so MD5 belongs at the end."""

    def __init__(
        self, realm: str, accounts: Mapping[str, Secret], nonce_key: bytes, algorithms: tuple[str, ...] = (MD5,)
    ) -> None:
        self._algorithms = algorithms
        self._realm = realm
        self._accounts = dict(accounts)
        self._key = nonce_key

    def challenges(self, now_us: int, stale: bool) -> list[str]:
        """Values of WWW-Authenticate. `now_us` is monotonic time."""
        nonce = self._nonce(now_us // 1_000_000)
        end = ", stale=true" if stale else ""
        return [
            f'Digest realm="{self._realm}", nonce="{nonce}", qop="auth", algorithm={algorithm}{end}'
            for algorithm in self._algorithms
        ]

    def check(self, request: RtspRequest, now_us: int) -> Verdict:
        """Judge a request's Authorization header."""
        if not self._accounts:
            return Verdict("", shown="Authorization" in request.headers)
        header = request.headers.get("Authorization")
        if not header:
            return Verdict(None)
        scheme, _, rest = header.partition(" ")
        fields = {name.lower(): quoted or plain for name, quoted, plain in _PAIR.findall(rest)}
        user = fields.get("username", "").encode("latin-1", "replace").decode("utf-8", "replace")
        password = self._accounts.get(user)
        algorithm = fields.get("algorithm", MD5).upper()
        known = scheme.lower() == "digest" and algorithm in self._algorithms
        if not known or fields.get("realm") != self._realm or fields.get("uri") != request.url:
            return Verdict(None, shown=True)
        fresh = self._is_fresh(fields.get("nonce", ""), now_us)
        expected = self._response(fields, request.method, user, password or Secret(""))
        right = hmac.compare_digest(expected, fields.get("response", "").lower().encode("latin-1", "replace"))
        if password is None or not right:
            return Verdict(None, shown=True)
        return Verdict(user, shown=True) if fresh else Verdict(None, stale=True)

    def _response(self, fields: dict[str, str], method: str, user: str, password: Secret) -> bytes:
        hashed = _HASHES[fields.get("algorithm", MD5).upper()]
        secret = hashed(f"{user}:{self._realm}:{password.reveal()}".encode())
        action = hashed(f"{method}:{fields.get('uri', '')}".encode("latin-1", "replace"))
        middle = fields.get("nonce", "")
        if "qop" in fields:
            middle += f":{fields.get('nc', '')}:{fields.get('cnonce', '')}:{fields['qop']}"
        return hashed(f"{secret}:{middle}:{action}".encode("latin-1", "replace")).encode()

    def _nonce(self, issued_s: int) -> str:
        signature = hmac.new(self._key, b"%d" % issued_s, hashlib.sha256).hexdigest()[:24]
        return f"{issued_s:x}.{signature}"

    def _is_fresh(self, nonce: str, now_us: int) -> bool:
        stamp = nonce.partition(".")[0]
        if not re.fullmatch(r"[0-9a-f]{1,12}", stamp) or nonce != self._nonce(int(stamp, 16)):
            return False
        return 0 <= now_us - int(stamp, 16) * 1_000_000 <= NONCE_LIFE_US
