"""Who may talk to the server: Host, Origin, listen addresses, peers of the Unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import aiohttp
import pytest
from server_scene import Scene

from recorderd.core.errors import UsageError
from recorderd.server.http.access import check_host, check_listen, principal_of_peer
from recorderd.server.http.app import build_app
from recorderd.server.http.listeners import HttpServer, ListenFailed
from recorderd.server.problems import Refusal

STATUS = "/api/v1/status"


@pytest.mark.fast
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8080", "[::1]", "[::1]:80", "LOCALHOST:9"])
def test_hosts_of_this_machine_are_served(host: str) -> None:
    check_host(host)


@pytest.mark.fast
@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost:", "localhost:x", "[::2]", "::1"],
)
def test_every_other_host_is_refused(host: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_host(host)
    assert caught.value.kind.code == "host-refused"


@pytest.mark.fast
@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "::", "example.org", ""])
def test_only_loopback_is_listened_on(address: str) -> None:
    with pytest.raises(UsageError, match=r"loopback|TLS"):
        check_listen(address)
    for good in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"):
        check_listen(good)


@pytest.mark.fast
def test_peers() -> None:
    assert principal_of_peer(0, 977).name == "root"
    assert principal_of_peer(977, 977).name == "service"
    with pytest.raises(Refusal) as caught:
        principal_of_peer(1000, 977)
    assert caught.value.kind.code == "peer-refused"


async def test_rebinding_and_foreign_pages_are_refused(server: Scene) -> None:
    await server.problem(STATUS, "host-refused", headers={"Host": "evil.example"})
    await server.problem(STATUS, "origin-refused", headers={"Origin": "http://evil.example"})
    await server.problem(STATUS, "origin-refused", headers={"Origin": "null"})
    await server.problem(STATUS, "origin-refused", headers={"Sec-Fetch-Site": "cross-site"})
    await server.problem("/api/v1/ws", "origin-refused", headers={"Origin": "http://localhost:1"})
    follows = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    own = f"http://127.0.0.1:{server.client.port}"
    for headers in ({"Origin": own}, {"Sec-Fetch-Site": "same-origin"}, follows):
        async with server.client.get(STATUS, headers=headers) as answer:
            assert answer.status == 200, headers
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    async with server.client.post("/api/v1/reload", headers={"Origin": "http://evil.example"}) as answer:
        assert answer.status == 403
    assert server.reloads == []


async def test_security_headers_are_on_every_answer(server: Scene) -> None:
    for path in ("/", STATUS, "/nothing"):
        async with server.client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_foreign_address_is_refused_before_anything_is_bound(server: Scene, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with pytest.raises(UsageError, match=r"0\.0\.0\.0"):
        await HttpServer(build_app(server.deps)).start(("0.0.0.0", 0), path)
    assert not path.exists()


async def test_both_listeners_and_their_end(server: Scene, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    http = HttpServer(build_app(server.deps))
    await http.start(("127.0.0.1", 0), path)
    host, port = http.addresses[0]
    assert port > 0
    assert path.stat().st_mode & 0o777 == 0o600
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get("http://recorderd/api/v1/status") as answer,
    ):
        assert answer.status == 200
    with pytest.raises(ListenFailed, match="in use"):
        await HttpServer(build_app(server.deps)).start((host, port), None)
    with pytest.raises(ListenFailed, match="another server"):
        await HttpServer(build_app(server.deps)).start(None, path)
    await http.stop()
    assert not path.exists()
    with pytest.raises(OSError):
        await asyncio.open_connection(host, port)


async def test_a_socket_left_behind_is_replaced_and_other_files_are_left_alone(server: Scene, tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    http = HttpServer(build_app(server.deps))
    await http.start(None, path)
    await http.stop()
    path.write_text("mine")
    with pytest.raises(ListenFailed, match="no socket"):
        await HttpServer(build_app(server.deps)).start(None, path)
    assert path.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
async def test_another_user_is_refused_by_the_kernels_word(server: Scene, tmp_path: Path) -> None:
    path = Path("/tmp") / f"recorderd-test-{os.getpid()}.sock"
    http = HttpServer(build_app(server.deps))
    await http.start(None, path)
    path.chmod(0o666)
    ask = (
        "import socket,sys\n"
        "s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'GET /api/v1/status HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n')\n"
        "d=b''\n"
        "while True:\n"
        " b=s.recv(65536)\n"
        " if not b: break\n"
        " d+=b\n"
        "print(d.split(b'\\r\\n')[0].decode(), b'peer-refused' in d)\n"
    )

    def as_nobody() -> str:
        done = subprocess.run(
            ["/usr/bin/python3", "-c", ask, str(path)], user=65534, group=65534, capture_output=True, text=True, cwd="/"
        )
        return done.stdout + done.stderr

    try:
        said = await asyncio.to_thread(as_nobody)
    finally:
        await http.stop()
    assert said.strip() == "HTTP/1.1 403 Forbidden True", said
