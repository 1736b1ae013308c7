"""Write settings as `.env` text that shells and readers of `.env` understand in the same way.

The text has one meaning in sh, bash, dash, zsh, python-dotenv, npm's dotenv and node's
`--env-file`. They have no common escape. So a value is in single quotes, or in double quotes when
it contains a single quote. A value that fits neither form is left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from app.configuration.changes.models import Content, Kind

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Shells refuse these names, use them for themselves, or execute their values.
_NAMES_OF_SHELLS = frozenset(
    """
    _ ARGC argv BASH_ARGC BASH_ARGV BASH_COMMAND BASH_COMPAT BASH_LINENO BASH_SOURCE BASH_SUBSHELL
    BASH_VERSINFO BASH_XTRACEFD BASHOPTS BASHPID cdpath COLUMNS DIRSTACK EGID EPOCHREALTIME
    EPOCHSECONDS ERRNO EUID fignore fpath FUNCNAME FUNCNEST GID GROUPS HISTCHARS histchars HISTCMD
    HISTSIZE IFS KEYBOARD_HACK KEYTIMEOUT LINENO LINES LISTMAX MAILCHECK mailpath manpath
    module_path OPTIND path PPID PROMPT prompt PROMPT2 PROMPT3 PROMPT4 PROMPT_COMMAND PS0 PS1 PS2
    PS3 PS4 psvar RANDOM RPROMPT RPS1 SAVEHIST SECONDS SHELLOPTS SHLVL SRANDOM TRY_BLOCK_ERROR
    TRY_BLOCK_INTERRUPT TTYIDLE UID USERNAME watch ZLE_RPROMPT_INDENT ZSH_EVAL_CONTEXT
    zsh_eval_context zsh_scheduled_events ZSH_SUBSHELL
    aliases builtins commands dis_aliases dis_builtins dis_functions dis_functions_source
    dis_galiases dis_patchars dis_reswords dis_saliases funcfiletrace funcsourcetrace funcstack
    functions functions_source functrace galiases history historywords jobdirs jobstates jobtexts
    keymaps modules nameddirs options parameters patchars pipestatus reswords saliases status
    termcap terminfo userdirs usergroups widgets
    """.split()  # noqa: SIM905 - a list would have one name per line
)
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
# python-dotenv reads two backslashes as one. All readers treat a backslash before a quote as an
# escape.
_NOT_IN_SINGLE_QUOTES = re.compile(r"'|\\\\|\\\Z")
_NOT_IN_DOUBLE_QUOTES = re.compile(r"[\"$`\\]")


def env_values(entries: Mapping[str, Content]) -> dict[str, str]:
    """Return the quoted value of each setting that the format can hold."""
    texts = {
        key: content.value if isinstance(content.value, str) else _json(content.value)
        for key, content in entries.items()
        if content.kind is Kind.SETTING and _is_name(key) and _is_scalar(content.value)
    }
    return {key: value for key, text in texts.items() if (value := _quoted(text)) is not None}


def env_lines(entries: Mapping[str, Content]) -> Iterator[str]:
    """Yield comments on the settings that are left out, then a line for each value."""
    values = env_values(entries)
    yield from _comment(
        "Left out, because this format cannot hold them",
        [key for key in entries if key not in values],
    )
    yield from _comment(
        "Not strings, but read as strings from this file",
        [key for key in values if not isinstance(entries[key].value, str)],
    )
    for key, value in values.items():
        yield f"{key}={value}\n"


def _is_name(key: str) -> bool:
    return _NAME.fullmatch(key) is not None and key not in _NAMES_OF_SHELLS


def _is_scalar(value: Any) -> bool:
    return value is not None and not isinstance(value, dict | list)


def _quoted(text: str) -> str | None:
    """Return the value in a form that all readers understand, or None."""
    if _BARE.fullmatch(text):
        return text
    # Readers change carriage returns to line feeds. python-dotenv replaces ${NAME} in any quotes.
    if "\r" in text or "\0" in text or "}" in text.partition("${")[2]:
        return None
    if not _NOT_IN_SINGLE_QUOTES.search(text):
        return f"'{text}'"
    if not _NOT_IN_DOUBLE_QUOTES.search(text):
        return f'"{text}"'
    return None


def _comment(text: str, keys: Sequence[str]) -> Iterator[str]:
    if keys:
        yield f"# {text}: {', '.join(keys)}\n"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
