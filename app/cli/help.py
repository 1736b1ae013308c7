"""The help of a command: usage, purpose, parameters, an example, and where the command works.

The docstring of a command has it all. Paragraphs that begin with a label are not part of the text:

    Example:     lines for the shell; a test runs them
    Works on:    the database, a server, or files
    Needs:       settings that are required
    Exit codes:  a list

A command without its own "Works on:" or "Needs:" has those of its group.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from app.cli.protected_writes import ProposedError, begin_write, options
from app.cli.server_options import SERVER_OPTIONS, begin_command, warn_of_variable
from app.program import CHECKOUT_PROGRAM, PROGRAM

Function = TypeVar("Function", bound=Callable[..., Any])
_LABELS = ("Example", "Works on", "Needs", "Exit codes")
_LABELLED = re.compile(rf"({'|'.join(_LABELS)}):\s(.+)", re.DOTALL)
_VERBATIM = {"Example", "Exit codes"}
_INHERITED = {"Works on", "Needs"}
_SENTENCE = re.compile(r".+?\.(?=\s|$)", re.DOTALL)
_PLACEHOLDERS: dict[Any, str] = {int: "N", Path: "FILE", datetime: "TIME"}


class HelpText(NamedTuple):
    """A docstring in parts. `notes` has the paragraphs with a label."""

    text: str
    notes: dict[str, str]

    @property
    def sentence(self) -> str:
        """The first sentence, in one line."""
        first = _SENTENCE.match(self.text)
        return " ".join((first[0] if first else self.text).split())


def help_text(context: typer.Context) -> HelpText:
    """Return the docstring of a command in parts, with the notes that its group has for it."""
    text, own = _split(context.command.help)
    inherited = _split(context.parent.command.help)[1] if context.parent else {}
    notes = {name: note for name, note in inherited.items() if name in _INHERITED} | own
    return HelpText(text, {name: notes[name] for name in _LABELS if name in notes})


def _split(docstring: str | None) -> HelpText:
    whole = inspect.cleandoc(docstring or "").replace(CHECKOUT_PROGRAM, PROGRAM)
    paragraphs = whole.split("\n\n")
    labelled = [match for match in map(_LABELLED.match, paragraphs) if match]
    text = "\n\n".join(part for part in paragraphs if not _LABELLED.match(part))
    return HelpText(text, {match[1]: inspect.cleandoc(f"\n{match[2]}") for match in labelled})


def sections(context: typer.Context) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the tables of the help: a title, then rows of a form and its text."""
    command = context.command
    is_root = context.parent is None
    hidden = () if is_root else SERVER_OPTIONS
    parameters = [p for p in command.get_params(context) if p not in hidden]
    if is_root or not isinstance(command, TyperGroup):
        for title, kind in (("Arguments", TyperArgument), ("Options", TyperOption)):
            yield title, [(_form(p), _text(p, context)) for p in parameters if isinstance(p, kind)]
    panels: dict[str, list[tuple[str, str]]] = {}
    for name, member in subcommands(context):
        title = getattr(member, "rich_help_panel", None) or "Commands"
        panels.setdefault(title, []).append((name, _split(member.help).sentence))
    yield from panels.items()


def subcommands(context: typer.Context) -> Iterator[tuple[str, Any]]:
    """Yield the names and the commands of a group, in the order in which a user needs them."""
    group: Any = context.command
    for name in group.list_commands(context) if isinstance(group, TyperGroup) else ():
        member = group.get_command(context, name)
        if member is not None and not member.hidden:
            yield name, member


def _form(parameter: TyperArgument | TyperOption) -> str:
    value = _placeholder(parameter)
    if isinstance(parameter, TyperArgument):
        return value
    names = sorted(parameter.opts, key=len) + parameter.secondary_opts
    return f"{', '.join(names)} {value}".rstrip()


def _placeholder(parameter: TyperArgument | TyperOption) -> str:
    if parameter.metavar is not None:
        return parameter.metavar
    name = parameter.opts[0].lstrip("-").rsplit("-", maxsplit=1)[-1].upper()
    if isinstance(parameter, TyperArgument):
        return name if parameter.nargs == 1 else f"{name}..."
    if parameter.is_flag:
        return ""
    return _PLACEHOLDERS.get(parameter.type_descriptor.annotation, name)


def _text(parameter: TyperArgument | TyperOption, context: typer.Context) -> str:
    choices = parameter.type_descriptor.choices
    default = parameter.get_default(context, call=False)
    text = parameter.help or ""
    if choices:
        text += f" One of {', '.join(map(_plain, choices))}."
    if not parameter.required and default not in {None, "", False}:
        text += f" Default: {_plain(default)}."
    return text


def _plain(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


class _Help:
    """Replaces the layout of Typer, which shows `<bool>` beside switches and wraps badly at 80."""

    def __init__(self: Any, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        for parameter in self.params:
            if isinstance(parameter, TyperArgument):
                # The name of the argument in errors.
                parameter.metavar = _placeholder(parameter)

    def get_params(self: Any, ctx: Any) -> list[Any]:
        """Return the parameters, with those that name a server."""
        return [*super().get_params(ctx), *SERVER_OPTIONS]  # type: ignore[misc]

    def get_help_option(self: Any, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        option.help = "Show this help."
        return option

    def collect_usage_pieces(self: Any, ctx: Any) -> list[str]:
        """Return the arguments, then the options that are required."""
        if isinstance(self, TyperGroup):
            return ["COMMAND"]
        parameters = self.get_params(ctx)
        required = [_form(p) for p in parameters if p.required]
        optional = [p for p in parameters if isinstance(p, TyperArgument) and not p.required]
        return [*required, *(f"[{_form(p)}]" for p in optional), "[OPTIONS]"]

    def format_help(self: Any, ctx: Any, formatter: Any) -> None:
        self.format_usage(ctx, formatter)
        text, notes = help_text(ctx)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)
        for title, rows in sections(ctx):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        for title, note in notes.items():
            with formatter.section(title):
                if title in _VERBATIM:
                    formatter.write("".join(f"  {line}\n" for line in note.splitlines()))
                else:
                    formatter.write_text(note[0].upper() + note[1:])
        if isinstance(self, TyperGroup):
            formatter.write(f"\nSee `{ctx.command_path} COMMAND --help` for one command.\n")


def _check_texts(context: Any) -> None:
    """Raise BadParameter for a text that is not UTF-8. Python has its bytes as surrogates."""
    for parameter in context.command.params:
        value = context.params.get(parameter.name)
        texts = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(text, str) and not _is_utf8(text) for text in texts):
            raise typer.BadParameter("must be UTF-8", ctx=context, param=parameter)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


class Command(_Help, TyperCommand):
    """A command on the database or on this host."""

    is_remote = False

    def invoke(self, ctx: Any) -> Any:
        """Run the command, on a server if it can."""
        _check_texts(ctx)
        begin_command(ctx, is_remote=self.is_remote)
        if not self.is_remote and "database" in help_text(ctx).notes.get("Works on", ""):
            warn_of_variable(ctx.command_path)
        return super().invoke(ctx)


class RemoteCommand(Command):
    """A command on the database or on a server."""

    is_remote = True


class WritingCommand(RemoteCommand):
    """A command whose write a protected environment may refuse. It has the parameter `message`."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params += options()

    def invoke(self, ctx: Any) -> Any:
        """Run the command. A change that became a proposal is no error."""
        _check_texts(ctx)
        begin_write(ctx)
        try:
            return super().invoke(ctx)
        except ProposedError as proposed:
            resolve_name("app.cli.proposal_text:show_step")(proposed.proposal)


class CommandGroup(_Help, TyperGroup): ...


class Commands(typer.Typer):
    """A group of commands. Its help has notes for all of them."""

    def __init__(self, help_: str = "", *, is_remote: bool = False, **attributes: Any) -> None:
        self._command_class = RemoteCommand if is_remote else Command
        super().__init__(
            **{"cls": CommandGroup, **attributes},
            help=help_,
            no_args_is_help=True,
            add_completion=False,
            rich_markup_mode=None,
            context_settings={"help_option_names": ["-h", "--help"]},
            # A traceback with local variables would print passwords.
            pretty_exceptions_enable=False,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Return the decorator that makes a function a command."""
        return super().command(name, **{"cls": self._command_class, **options})
