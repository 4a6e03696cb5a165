"""The API document against the server: requests made from it, valid and not, and answers as it says."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from server_scene import Scene
from structlog.testing import capture_logs

TOOL = Path(sys.executable).with_name("schemathesis")
CHECKS = (
    "status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method"
)
ENDLESS = ("openWebSocket", "getLive")  # not made of one answer


async def test_every_operation_answers_as_the_document_says(server: Scene, tmp_path: Path) -> None:
    url = str(server.client.make_url("/api/v1/openapi.json"))
    command = [str(TOOL), "run", url, "--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--seed", "1",
               "--max-examples", "5", "--max-time", "20", "--warnings", "off", "--generation-database", "none",
               "--no-color", "--suppress-health-check", "all", "--continue-on-failure", "--workers", "1"]  # fmt: skip
    for operation in ENDLESS:
        command += ["--exclude-operation-id", operation]
    with capture_logs() as logs:
        done = await asyncio.get_running_loop().run_in_executor(
            None,
            lambda: subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=160, check=False),
        )
    assert [one for one in logs if one["event"] == "http-bug"] == []  # 503 is an answer, 500 never is
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
