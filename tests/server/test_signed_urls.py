"""Addresses that carry their permission: what they open, and everything they do not."""

from __future__ import annotations

import stat
import uuid
from pathlib import Path
from typing import Any

import pytest
from server_scene import CAMERAS, T0, S, Scene
from structlog.testing import capture_logs

from recorderd.core.clock import FakeClock
from recorderd.core.errors import UnavailableError
from recorderd.core.rights import Principal
from recorderd.core.timerange import format_time
from recorderd.server.http.signing import KEY_FILE, MAX_LIFETIME_S, UrlSigner
from recorderd.server.problems import Refusal

NOBODY = Principal("nobody", frozenset())


async def sign(server: Scene, kind: str, camera: str = "gate", **body: Any) -> Any:
    async with server.client.post(f"/api/v1/cameras/{camera}/{kind}-url", json=body) as answer:
        return await answer.json(content_type=None)


async def recorded(server: Scene, **more: Any) -> str:
    made = await sign(server, "recorded", form="mp4", start=format_time(T0), end=format_time(T0 + 4 * S), **more)
    assert made["expires"] > format_time(server.clock.utc_us())
    return str(made["url"])


async def test_a_stranger_with_a_signed_address_gets_this_and_nothing_else(
    server: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await recorded(server)
    live = (await sign(server, "live", form="mp4"))["url"]
    picture = (await sign(server, "recorded", form="jpg", start=format_time(T0 + S)))["url"]
    monkeypatch.setattr("recorderd.server.http.guard.LOCAL", NOBODY)
    for good in (url, picture):
        async with server.client.get(good) as answer:
            assert answer.status == 200, await answer.text()
    async with server.client.head(live) as answer:
        assert answer.status == 200
    plain = url.split("&exp=")[0]
    await server.problem(plain, "forbidden")
    await server.problem(url.replace(str(CAMERAS["gate"]), str(CAMERAS["yard"])), "signature-wrong")
    await server.problem(url.replace("media.mp4", "media.json"), "signature-wrong")
    await server.problem(url.replace("stream=main", "stream=sub"), "signature-wrong")
    await server.problem(f"{url}&audio=no", "signature-wrong")
    await server.problem(url.replace("&sig=", "&sig=A"), "signature-wrong")
    await server.problem(f"{plain}&exp=99999999999&{url.rsplit('&', 1)[1]}", "signature-wrong")
    await server.problem(f"{url}&{url.rsplit('&', 1)[1]}", "signature-wrong")
    await server.problem(url.replace("exp=", "exp=0"), "signature-wrong")
    async with server.client.post(url) as answer:
        assert answer.status == 405
    server.clock.advance(3600 * S)
    await server.problem(url, "signature-expired")


async def test_a_wrong_signature_is_refused_where_none_is_needed(server: Scene) -> None:
    await server.problem("/api/v1/status?sig=x", "signature-wrong")
    await server.problem("/api/v1/cameras?sig=%ff&exp=1", "signature-wrong")
    await server.problem("/api/v1/cameras/gate/live.mp4?sig=&exp=%D9%A1", "signature-wrong")


async def test_a_path_that_no_signature_opens(server: Scene) -> None:
    from recorderd.server.http.signing import SIGNER

    app = server.client.app
    assert app is not None
    url = app[SIGNER].sign("/api/v1/status", [], 60)
    await server.problem(url, "signature-wrong")
    async with server.client.post(app[SIGNER].sign("/api/v1/reload", [], 60)) as answer:
        assert (await answer.json(content_type=None))["code"] == "signature-wrong"
    assert server.reloads == []


async def test_orders_out_of_bounds(server: Scene) -> None:
    for body in ({"form": "avi"}, {}, {"form": "mp4", "lifetime": "25h"}, {"form": "mp4", "lifetime": "x"},
                 {"form": "mp4", "stream": ""}, {"form": "mp4", "lifetime": "100ms"}):  # fmt: skip
        assert (await sign(server, "live", **body))["code"] == "bad-request", body
    assert (await sign(server, "live", form="mp4", stream="third"))["code"] == "not-found"
    assert (await sign(server, "live", camera="nobody", form="mp4"))["code"] == "not-found"


async def test_the_key_is_private_and_removing_it_voids_every_address(server: Scene, tmp_path: Path) -> None:
    url = await recorded(server)
    key = tmp_path / KEY_FILE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.stat().st_size == 32
    signer = UrlSigner(tmp_path, server.clock)
    path, query = url.split("?")
    pairs = [tuple(one.split("=")) for one in query.replace("%3A", ":").split("&")]
    assert signer.check("GET", path, pairs)  # type: ignore[arg-type]
    key.unlink()
    with pytest.raises(Refusal, match="does not fit"):
        UrlSigner(tmp_path, server.clock).check("GET", path, pairs)  # type: ignore[arg-type]


async def test_no_log_and_no_answer_repeats_a_signature(server: Scene, caplog: pytest.LogCaptureFixture) -> None:
    url = await recorded(server)
    secret = url.rsplit("sig=", 1)[1]
    server.decoder.answer = RuntimeError("a bug")
    picture = (await sign(server, "recorded", form="jpg", start=format_time(T0 + S)))["url"]
    with capture_logs() as logs:
        bug = await server.problem(picture, "internal")
        late = await server.problem(f"{url}x", "signature-wrong")
    assert logs
    for text in (str(logs), caplog.text, str(bug), str(late)):
        assert secret not in text
        assert picture.rsplit("sig=", 1)[1] not in text


@pytest.mark.fast
def test_bounds_of_the_signer(tmp_path: Path) -> None:
    clock = FakeClock()
    signer = UrlSigner(tmp_path, clock)
    with pytest.raises(Refusal):
        signer.sign("/x", [], MAX_LIFETIME_S + 1)
    url = signer.sign("/x/ä b", [("q", "1&2")], MAX_LIFETIME_S)
    assert url.startswith("/x/%C3%A4%20b?q=1%262&exp=")
    exp, sig = (part.split("=", 1)[1] for part in url.split("&")[-2:])
    pairs = [("sig", sig), ("q", "1&2"), ("exp", exp)]
    assert signer.check("HEAD", "/x/ä b", pairs) == int(exp)
    clock.step(-2 * 3600 * S)
    with pytest.raises(Refusal) as refused:
        signer.check("GET", "/x/ä b", pairs)
    assert refused.value.kind.code == "signature-expired"
    with pytest.raises(UnavailableError):
        UrlSigner(None, clock).sign("/x", [], 60)
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(UnavailableError):
        UrlSigner(tmp_path, clock).sign("/x", [], 60)
    with pytest.raises(UnavailableError):
        UrlSigner(tmp_path / str(uuid.uuid4()), clock).sign("/x", [], 60)
