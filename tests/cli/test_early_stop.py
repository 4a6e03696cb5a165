"""A stop that comes before the daemon has begun: nothing was started, so nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_starting_is_a_clean_end(tmp_path: Path, number: signal.Signals) -> None:
    config = tmp_path / "recorderd.toml"
    os.mkfifo(config)
    command = [sys.executable, "-m", "recorderd.cli.daemon_cli", "run", "--config", str(config)]
    # The second file opens once the daemon reads its configuration.
    with subprocess.Popen(command, stderr=subprocess.PIPE) as daemon, config.open("wb"):
        daemon.send_signal(number)
        _, said = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, said
