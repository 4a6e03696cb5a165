"""The command line: faults and options are read exactly or refused with the place named."""

from __future__ import annotations

from pathlib import Path

import pytest

from recorderd.core.errors import UsageError
from recorderd.core.secret import Secret
from recorderd.media.access_unit import Codec
from recorderd.rtspserver.gate import NONCE_LIFE_US, DigestGate
from recorderd.simulate.faults import Faults, Window, parse_fault_option
from recorderd.simulate.options import parse_options
from recorderd.wire.auth import Authenticator, Credentials, parse_challenges
from recorderd.wire.rtsp_message import Headers, RtspRequest

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "camera", "faults"),
    [
        ("cam/2=loss:5%", 2, Faults(loss=0.05)),
        ("cam/2=loss:5%x4", 2, Faults(loss=0.05, burst=4)),
        ("cam/0=loss:0.5%,auth", 0, Faults(loss=0.005, auth=True)),
        ("cam/1=stall:10s+5s", 1, Faults(stall=Window(5_000_000, 10_000_000))),
        ("cam/1=stall:10s", 1, Faults(stall=Window(10_000_000, 10_000_000))),
        ("cam/1=reboot:500ms+0s", 1, Faults(reboot=Window(0, 500_000))),
        ("cam/1=params+3s", 1, Faults(params_start_us=3_000_000)),
        ("cam/1=step:+3600s+8s", 1, Faults(step_us=3_600_000_000, step_start_us=8_000_000)),
        ("cam/1=step:-5s+8s", 1, Faults(step_us=-5_000_000, step_start_us=8_000_000)),
        ("cam/1=drift:-5000", 1, Faults(drift_ppm=-5000)),
    ],
)
def test_faults_are_read(text: str, camera: int, faults: Faults) -> None:
    assert parse_fault_option(text) == (camera, faults)


@pytest.mark.parametrize(
    "text",
    ["cam/2", "2=auth", "cam/x=auth", "cam/1=", "cam/1=burn", "cam/1=loss", "cam/1=loss:101%", "cam/1=loss:x",
     "cam/1=stall", "cam/1=stall:5", "cam/1=auth+3s", "cam/1=params:2", "cam/1=drift:1e9", "cam/1=auth,,"],
)  # fmt: skip
def test_wrong_faults_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_fault_option(text)


@pytest.mark.parametrize(
    "argv",
    [
        ["--cameras", "0"],
        ["--port", "70000"],
        ["--size", "big"],
        ["--size", "101x100"],
        ["--bitrate", "4X"],
        ["--bitrate", "1"],
        ["--user", "u"],
        ["--password", "p"],
        ["--user", "u", "--password-file", "/nowhere"],
        ["--fault", "cam/1=auth"],
        ["--cameras", "2", "--fault", "cam/1=auth", "--fault", "cam/1=loss:1%"],
    ],
)
def test_wrong_options_are_refused(argv: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_options(argv)


def test_options(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("p@ss word\n")
    options = parse_options(
        ["--cameras", "3", "--user", "u", "--password-file", str(password), "--bitrate", "1.5M", "--codec", "h265",
         "--fault", "cam/2=auth", "--audio", "aac", "--pacing", "4", "--size", "640x360"]
    )  # fmt: skip
    assert options.accounts == {"u": Secret("p@ss word")}
    assert "p@ss" not in repr(options)
    assert (options.main.width, options.main.bitrate_bps, options.main.codec) == (640, 1_500_000, Codec.H265)
    assert options.faults == {2: Faults(auth=True)}


def request_with(header: str | None, url: str = "rtsp://h/cam/0") -> RtspRequest:
    return RtspRequest("DESCRIBE", url, Headers([("CSeq", "1")] + ([("Authorization", header)] if header else [])))


def test_the_gate_lets_in_whom_the_products_own_client_answers_for() -> None:
    gate = DigestGate("realm", {"us\xe9r": Secret('p"\xe4ss')}, b"key")
    client = Authenticator(Credentials("us\xe9r", Secret('p"\xe4ss')), lambda: "cnonce")
    assert client.accept(parse_challenges(gate.challenges(5_000_000, False)))
    header = client.header("DESCRIBE", "rtsp://h/cam/0")
    assert gate.check(request_with(header), 6_000_000).user == "us\xe9r"
    assert gate.check(request_with(header, "rtsp://h/cam/1"), 6_000_000).user is None, "bound to the address"
    late = gate.check(request_with(header), 6_000_000 + NONCE_LIFE_US)
    assert (late.user, late.stale, late.shown) == (None, True, False)
    foreign = DigestGate("realm", {"us\xe9r": Secret('p"\xe4ss')}, b"other key").check(request_with(header), 6_000_000)
    assert foreign.stale


@pytest.mark.parametrize(
    "header", ["", "Digest", "Basic dTpw", 'Digest username="u", response="', "Digest ,,,=", "\xff"]
)
def test_the_gate_refuses_what_it_cannot_read(header: str) -> None:
    verdict = DigestGate("realm", {"u": Secret("p")}, b"key").check(request_with(header), 0)
    assert verdict.user is None
    assert verdict.shown == bool(header)


def test_a_burst_takes_whole_pictures_and_parts_of_the_outer_ones() -> None:
    faults = Faults(loss=0.1, burst=4)
    lost = [faults.lost("1/0/main", number, 10) for number in range(4000)]
    assert lost == [faults.lost("1/0/main", number, 10) for number in range(4000)]
    hit = [lost[n : n + 4] for n in range(0, 4000, 4) if any(lost[n : n + 4])]
    assert 60 <= len(hit) <= 150
    for first, second, third, last in hit:
        assert len(second) == len(third) == 10
        assert first == frozenset(range(10 - len(first), 10))
        assert last == frozenset(range(len(last)))
