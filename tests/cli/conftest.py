from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest


class FakeApi:
    """Answers by (method, path); remembers what was asked. A value is JSON, (status, JSON) or (headers, bytes)."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.url = ""

    def get(self, path: str, answer: Any) -> None:
        self.answers["GET", f"/api/v1/{path}"] = answer

    def queries(self, path: str) -> list[dict[str, str]]:
        return [query for _, asked, query in self.asked if asked == f"/api/v1/{path}"]


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            api.asked.append((self.command, url.path, query))
            answer = api.answers.get((self.command, url.path), (404, {"code": "not-found", "detail": "nothing there"}))
            if callable(answer):
                answer = answer(query)
            status, headers, body = 200, {"Content-Type": "application/json"}, b""
            if isinstance(answer, tuple) and isinstance(answer[0], int):
                status, body = answer[0], json.dumps(answer[1]).encode()
                headers["Content-Type"] = "application/problem+json"
            elif isinstance(answer, tuple):
                headers, body = answer
            else:
                body = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *args: object) -> None:
            pass

    return Handler


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    fake = FakeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("RECORDERD_SERVER", fake.url)
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()
