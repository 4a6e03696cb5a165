"""Manual pages and completion know every command and option, because they are made from the parsers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from recorderd.cli import ctl, manual
from recorderd.cli.completion import SHELLS, script
from recorderd.cli.grammar import Command, programs

PROGRAMS = programs()


def completed(line: str) -> list[str]:
    """What bash offers for a line that ends where the cursor is."""
    words = line.split(" ")
    ask = (
        f"{script('bash')}\n"
        f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
        f"_{words[0]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_bash_offers_every_command_and_its_options(program: Command) -> None:
    assert {command.name for command in program.commands} <= set(completed(f"{program.name} "))
    command = program.commands[-1]
    offered = set(completed(f"{program.name} {command.name} -"))
    assert {name for option in command.options for name in option.names} == offered


def test_bash_offers_fixed_values_and_steps_over_global_options() -> None:
    assert completed("recorderctl export --stream ") == ["main", "sub"]
    assert completed("recorderctl completion f") == ["fish"]
    assert "--resolution" in completed("recorderctl --server http://x timeline gate --")


@pytest.mark.fast
@pytest.mark.parametrize("shell", SHELLS)
def test_every_word_is_in_every_script(shell: str) -> None:
    text = script(shell)
    for program in PROGRAMS:
        for command in program.commands:
            assert command.name in text
            for option in command.options:
                for name in option.names:
                    spelled = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                    assert (spelled if shell == "fish" else name) in text


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        text = script(shell)  # without the shell: quotes are balanced on every line
        assert all(line.replace("'\\''", "").count("'") % 2 == 0 for line in text.splitlines())
        return
    file = tmp_path / f"c.{shell}"
    file.write_text(script(shell))
    subprocess.run([program, "-n", str(file)], check=True, timeout=60)


@pytest.mark.fast
def test_pages_have_every_command_and_option() -> None:
    made = manual.pages()
    assert set(made) == {"recorderd.8", "recorderctl.1", "mediadb.1", "recorderd.toml.5"}
    for program in PROGRAMS:
        text = made[f"{program.name}.{manual.SECTIONS[program.name]}"]
        for command in program.commands:
            assert f".SS {command.name}".replace("-", "\\-") in text
            for option in command.options:
                for name in option.names:
                    assert name.replace("-", "\\-") in text
    assert "[[storage]]" in made["recorderd.toml.5"]


def test_pages_are_written_and_formatted_without_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manual.main([str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    groff = shutil.which("groff")
    for page in tmp_path.iterdir():
        text = page.read_text()
        assert text.startswith(".TH ")
        assert all(not line.startswith(("'", ". ")) for line in text.splitlines())
        if groff is not None:
            done = subprocess.run([groff, "-man", "-ww", "-z", "-Tutf8", str(page)], capture_output=True, text=True,
                                  check=True, timeout=60)  # fmt: skip
            assert done.stderr == ""
    assert manual.main([]) == 2


def test_the_command_prints_the_script_without_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--server", "http://127.0.0.1:1", "completion", "bash"]) == 0
    assert "complete -o default -F _recorderctl recorderctl" in capsys.readouterr().out
