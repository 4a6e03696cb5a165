"""Challenges and answers, with the examples of RFC 2617 and RFC 2069."""

from __future__ import annotations

import hashlib

import pytest

from recorderd.core.secret import Secret
from recorderd.wire.auth import Authenticator, Credentials, choose, parse_challenges

pytestmark = pytest.mark.fast

MUFASA = Credentials("Mufasa", Secret("Circle Of Life"))
RFC = (
    'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)


def answer(credentials: Credentials, value: str, method: str, uri: str) -> str:
    auth = Authenticator(credentials, lambda: "0a4f113b")
    assert auth.accept(parse_challenges([value]))
    return auth.header(method, uri) or ""


def test_digest_with_qop_rfc_2617_3_5() -> None:
    header = answer(MUFASA, RFC, "GET", "/dir/index.html")
    assert 'response="6629fae49393a05397450978507c4ef1"' in header
    assert "nc=00000001" in header
    assert 'opaque="5ccc069c403ebaf9f0171e9517f40e41"' in header


def test_digest_without_qop_rfc_2069_2_4() -> None:
    credentials = Credentials("Mufasa", Secret("CircleOfLife"))
    value = 'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'
    # The response printed in RFC 2069 is wrong; this is its erratum 749.
    assert 'response="1949323746fe6a43ef61f9606e7febea"' in answer(credentials, value, "GET", "/dir/index.html")


def test_nonce_count_rises_and_starts_anew() -> None:
    auth = Authenticator(MUFASA, lambda: "c")
    auth.accept(parse_challenges([RFC]))
    assert "nc=00000001" in (auth.header("A", "/") or "")
    assert "nc=00000002" in (auth.header("A", "/") or "")
    auth.accept(parse_challenges([RFC.replace("dcd9", "dcd8")]))
    assert "nc=00000001" in (auth.header("A", "/") or "")


def test_basic() -> None:
    credentials = Credentials("Aladdin", Secret("open sesame"))
    assert answer(credentials, 'Basic realm="x"', "OPTIONS", "/") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


CHOICES = {
    "digest before basic": (['Basic realm="a"', 'Digest realm="b", nonce="n"'], "digest", "b"),
    "two in one header": (['Basic realm="a", Digest realm="b, c", nonce="n"'], "digest", "b, c"),
    "SHA-256 first": (['Digest realm="s", nonce="n", algorithm=SHA-256', 'Digest realm="m", nonce="n"'], "digest", "s"),
    "SHA-256 last": (['Digest realm="m", nonce="n"', 'Digest realm="s", nonce="n", algorithm=sha-256'], "digest", "s"),
    "unknown hash first": (
        ['Digest realm="u", nonce="n", algorithm=SHA-512-256', 'Digest realm="m", nonce="n", algorithm=MD5-sess'],
        "digest",
        "m",
    ),
    "no blank, odd case": (['dIGEST realm="",nonce="n",ALGORITHM="md5"'], "digest", ""),
    "scheme only": (["Basic"], "basic", ""),
    "unclosed quote": (['Digest nonce="n", realm="b'], "digest", "b"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choice(name: str) -> None:
    values, scheme, realm = CHOICES[name]
    chosen = choose(parse_challenges(values))
    assert chosen is not None
    assert (chosen.scheme, chosen.realm) == (scheme, realm)


def test_only_unknown_offers() -> None:
    assert choose(parse_challenges(["Negotiate abc", 'Digest realm="r", nonce="n", algorithm=SHA-512-256'])) is None


def test_digest_is_never_lowered_to_basic() -> None:
    auth = Authenticator(MUFASA, lambda: "c")
    assert auth.accept(parse_challenges([RFC]))
    assert not auth.accept(parse_challenges(['Basic realm="x"']))


def test_stale() -> None:
    assert parse_challenges(['Digest realm="r", nonce="n", stale=TRUE'])[0].stale


RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={}, '
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_digest_rfc_7616_3_9_1(algorithm: str, response: str) -> None:
    login = Credentials("Mufasa", Secret("Circle of Life"))
    auth = Authenticator(login, lambda: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
    assert auth.accept(parse_challenges([RFC_7616.format(algorithm)]))
    header = auth.header("GET", "/dir/index.html") or ""
    assert f'response="{response}"' in header
    assert f"algorithm={algorithm}" in header


def test_session_hash_is_made_once_with_the_first_client_nonce() -> None:
    nonces = iter(["one", "two"])
    auth = Authenticator(MUFASA, lambda: next(nonces))
    assert auth.accept(parse_challenges(['Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess']))

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    session = md5(md5("Mufasa:r:Circle Of Life") + ":n:one")
    for count, cnonce in ((1, "one"), (2, "two")):
        wanted = md5(f"{session}:n:{count:08x}:{cnonce}:auth:{md5('A:/')}")
        header = auth.header("A", "/") or ""
        assert f'response="{wanted}"' in header
        assert f'cnonce="{cnonce}"' in header


def test_a_refused_hash_gives_way_to_the_next_but_never_to_basic() -> None:
    offers = ['Digest realm="s", nonce="n", algorithm=SHA-256', 'Digest realm="m", nonce="n"', 'Basic realm="b"']
    auth = Authenticator(MUFASA, lambda: "c")
    for realm in ("s", "m", "s"):
        assert auth.accept(parse_challenges(offers))
        assert f'realm="{realm}"' in (auth.header("A", "/") or "")
        auth.refused()
