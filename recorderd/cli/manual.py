"""Manual pages (man(7)) of the three programs and of the configuration file.

Law: pure text making from `grammar` and the shipped configuration; `python -m recorderd.cli.manual DIR` writes them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from recorderd.cli.grammar import Command, Option, programs

SECTIONS = {"recorderd": 8, "recorderctl": 1, "mediadb": 1}
CONFIG_PAGE = "recorderd.toml.5"
_SEE_ALSO = {"recorderd": "recorderctl(1), mediadb(1), recorderd.toml(5)",
             "recorderctl": "recorderd(8), mediadb(1)", "mediadb": "recorderd(8), recorderctl(1)"}  # fmt: skip
_CONFIG = Path(__file__).resolve().parents[2] / "etc" / "recorderd.toml"


def pages(config: Path = _CONFIG) -> dict[str, str]:
    """File name -> page. The configuration's page is left out where the file is not there (an installed wheel)."""
    made = {f"{program.name}.{SECTIONS[program.name]}": page(program) for program in programs()}
    if config.exists():
        made[CONFIG_PAGE] = config_page(config.read_text())
    return made


def page(program: Command) -> str:
    """The page of one program."""
    section = SECTIONS[program.name]
    lines = [
        _title(program.name, section),
        ".SH NAME",
        f"{_text(program.name)} \\- {_text(program.help)}",
        ".SH SYNOPSIS",
        f".B {_text(program.name)}",
        _usage(program.options),
        ".I COMMAND\n\\&...",
    ]
    if program.options:
        lines += [".SH OPTIONS", *_options(program.options)]
    lines.append(".SH COMMANDS")
    for command in program.commands:
        lines += [
            f".SS {_text(command.name)}", f".B {_text(program.name)} {_text(command.name)}", _usage(command.options),
            ".PP", _text(command.help) + ".", *_options(command.options),
        ]  # fmt: skip
    if program.epilog:
        lines += [".SH NOTES", _text(program.epilog)]
    lines += [".SH SEE ALSO", _SEE_ALSO[program.name]]
    return "\n".join(line for line in lines if line) + "\n"


def config_page(text: str) -> str:
    """The shipped file as an example with a word about it."""
    lines = [
        _title("recorderd.toml", 5),
        ".SH NAME",
        "recorderd.toml \\- configuration of recorderd",
        ".SH DESCRIPTION",
        "Read from /etc/recorderd/recorderd.toml and conf.d/*.toml beside it. Check it with",
        '.BR "recorderd check-config" ; a reload that finds an error leaves the old configuration in force.',
        ".SH FILE",
        ".nf",
        *(_text(line) if line else ".sp" for line in text.rstrip().split("\n")),
        ".fi",
        ".SH SEE ALSO",
        "recorderd(8), recorderctl(1)",
    ]
    return "\n".join(lines) + "\n"


def _title(name: str, section: int) -> str:
    return f'.TH {name.upper()} {section} "" "recorderd {version("recorderd")}" "recorderd manual"'


def _usage(options: Sequence[Option]) -> str:
    words = []
    for option in options:
        if option.names == ("-h", "--help"):
            continue
        shown = " ".join(part for part in (option.names[-1] if option.names else "", _value(option)) if part)
        words.append(shown if option.required else f"[{shown}]")
    return _text(" ".join(words))


def _options(options: Sequence[Option]) -> Iterator[str]:
    for option in options:
        yield ".TP"
        shown = (("B", ", ".join(option.names)), ("I", _value(option)))
        yield " ".join(f"\\f{font}{_text(words)}\\fR" for font, words in shown if words)
        yield _text(option.help or ("one or more" if option.many else "as above"))


def _value(option: Option) -> str:
    shown = "|".join(option.choices) if option.choices else option.value
    return f"{shown} ..." if option.many else shown


def _text(text: str) -> str:
    """Escaped for roff: backslashes, hyphens that are meant as such, control characters at the line's start."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe


def main(argv: Sequence[str]) -> int:
    """Write every page into the folder."""
    if len(argv) != 1:
        print("usage: python -m recorderd.cli.manual DIR", file=sys.stderr)
        return 2
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
