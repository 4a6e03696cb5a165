"""Shell completion of the three programs, made from `grammar`.

Law: pure text making; a script asks nobody while it completes: commands, options, fixed values and file names. Printed
by `recorderctl completion SHELL`.
"""

from __future__ import annotations

from collections.abc import Iterable

from recorderd.cli.grammar import Command, Option, programs

SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """The completion of all three programs for one of SHELLS."""
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return "\n".join(make(program) for program in programs())


def _words(options: Iterable[Option]) -> str:
    return " ".join(name for option in options for name in option.names)


def _bash(program: Command) -> str:
    name = program.name
    commands = " ".join(command.name for command in program.commands)
    cases, values = [], []
    for command in program.commands:
        cases.append(f'    {command.name}) words="{_words(command.options)}" ;;')
        for option in command.options:
            offer = f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur")); return ;;'
            values += [f"    {command.name}:{flag}) {offer}" for flag in option.names if option.choices]
        fixed = [choice for option in command.options if not option.names for choice in option.choices]
        if fixed:
            cases[-1] = f'    {command.name}) words="{_words(command.options)} {" ".join(fixed)}" ;;'
    valued = "|".join(_valued(program.options))
    skip = f"      {valued}) i=$((i+1)) ;;\n" if valued else ""
    return f"""_{name}() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb="" words="" i
  COMPREPLY=()
  for ((i=1; i<COMP_CWORD; i++)); do
    case "${{COMP_WORDS[i]}}" in
{skip}      -*) ;;
      *) verb="${{COMP_WORDS[i]}}"; break ;;
    esac
  done
  case "$verb:$prev" in
{chr(10).join(values) or "    -) ;;"}
  esac
  case "$verb" in
    "") words="{commands} {_words(program.options)}" ;;
{chr(10).join(cases)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _{name} {name}"""


def _valued(options: Iterable[Option]) -> list[str]:
    """Options that take a word of their own."""
    return [name for option in options if option.value for name in option.names]


def _zsh(program: Command) -> str:
    name = program.name
    described = "\n".join(f"    {_quoted(command.name + ':' + command.help)}" for command in program.commands)
    cases = "\n".join(
        f"      {command.name}) _arguments {' '.join(_zsh_option(option) for option in command.options)} ;;"
        for command in program.commands
    )
    return f"""_{name}() {{
  local -a verbs
  local state line
  verbs=(
{described}
  )
  _arguments -C {" ".join(_zsh_option(option) for option in program.options)} '1:command:->verb' '*::argument:->rest'
  case $state in
    verb) _describe command verbs ;;
    rest)
      case $line[1] in
{cases}
      esac ;;
  esac
}}
compdef _{name} {name}"""


def _zsh_option(option: Option) -> str:
    if option.choices:
        action = f":{option.value or 'value'}:({' '.join(option.choices)})"
    elif option.is_path:
        action = f":{option.value}:_files"
    else:
        action = f":{option.value}: " if option.value else ""
    if not option.names:
        return _quoted(f"{'*' if option.many else ''}{action or ':argument: '}")
    return " ".join(_quoted(f"{name}[{_bare(option.help)}]{action}") for name in option.names)


def _bare(text: str) -> str:
    return text.replace("[", "(").replace("]", ")").replace(":", ";")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _fish(program: Command) -> str:
    name = program.name
    verbs = " ".join(command.name for command in program.commands)
    alone = f"-n 'not __fish_seen_subcommand_from {verbs}'"
    lines = [
        f"complete -c {name} {alone} -f -a {command.name} -d {_quoted(command.help)}" for command in program.commands
    ]
    lines += [_fish_option(name, alone, option) for option in program.options if option.names]
    for command in program.commands:
        seen = f"-n '__fish_seen_subcommand_from {command.name}'"
        lines += [_fish_option(name, seen, option) for option in command.options if option.names or option.choices]
    return "\n".join(lines)


def _fish_option(name: str, when: str, option: Option) -> str:
    if not option.names:
        return f"complete -c {name} {when} -f -a {_quoted(' '.join(option.choices))}"
    words = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.names]
    if option.choices:
        words.append(f"-x -a {_quoted(' '.join(option.choices))}")
    elif option.value:
        words.append("-r" if option.is_path else "-x")
    return f"complete -c {name} {when} {' '.join(words)} -d {_quoted(option.help)}"
