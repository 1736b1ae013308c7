"""The commands of `flag` that create and change flags, without the text of a definition."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from app.cli.configuration import write_content
from app.cli.help import Commands
from app.cli.options import EnvironmentName, Message
from app.cli.terminal import console
from app.configuration.changes.history import key_history
from app.configuration.changes.models import Content, Kind
from app.configuration.changes.rows import read_entries
from app.configuration.entries import service
from app.database import Connection
from app.environments import service as environments
from app.errors import NotFound, Stale, invalid
from app.evaluation.rule_tree import ConditionGroup
from app.flags.condition_text import parse_condition
from app.flags.editing import (
    Definition,
    add_rule,
    roll_out,
    serve_all,
    serves_all,
    variant_of,
)
from app.flags.wording import describe
from app.scripts import Resources, run_query, run_transaction

cli = Commands()

Key = Annotated[str, typer.Argument(help="Key of the flag.")]
Variant = Annotated[
    str | None, typer.Option(help="Variant to serve; by default the one whose value is true.")
]
# Changes of a flag that are searched for its last rules.
_HISTORY = 100


@cli.command("create")
def create(
    environment: EnvironmentName,
    key: Key,
    variants: Annotated[
        str | None,
        typer.Option(help="Texts to choose from, separated by commas; the first is the default."),
    ] = None,
    message: Message = "",
) -> None:
    """Create a flag with the variants on and off. It serves off to all.

    `--variants blue,green` makes a flag of texts instead. `configuration set --kind flag` and
    `configuration import` create flags with other variants.

    Example: python -m app flag create local new-search
    """
    values: dict[str, Any] = {"on": True, "off": False}
    default = "off"
    if variants is not None:
        values = {name.strip(): name.strip() for name in variants.split(",")}
        default = next(iter(values))
    definition = {"state": "ENABLED", "variants": values, "defaultVariant": default}

    async def write(resources: Resources, connection: Connection) -> tuple[int, int | None]:
        try:
            return await write_content(
                connection,
                environment,
                key,
                Content(kind=Kind.FLAG, value=definition),
                version=0,
                message=message,
                resources=resources,
            )
        except Stale:
            raise invalid("key", "must be new, but this entry exists") from None

    _report(environment, key, run_transaction(write), definition)


@cli.command("show")
def show(environment: EnvironmentName, key: Key) -> None:
    """Describe in words which variant a flag serves to whom.

    Example: python -m app flag show local new-checkout
    """
    for line in describe(run_query(lambda c: _stored(c, environment, key))[0].value):
        console.print(line)


@cli.command("target")
def target(
    environment: EnvironmentName,
    key: Key,
    condition: Annotated[
        list[str],
        typer.Option(
            "--if",
            metavar="CONDITION",
            help="ATTRIBUTE OPERATOR VALUE, ATTRIBUTE, or segment KEY. Several must all be true.",
        ),
    ],
    variant: Variant = None,
    message: Message = "",
    *,
    first: Annotated[
        bool, typer.Option("--first", help="Put it before the other rules, not after them.")
    ] = False,
) -> None:
    """Add a rule: serve a variant to the contexts that match a condition.

    Operators: = != < <= > >= in not_in contains starts_with ends_with version= version!= version<
    version<= version> version>= version~ version^. Commas separate the values of in and not_in.

    Example: python -m app flag target local new-checkout --if "country in DE,AT"
    """
    conditions = tuple(map(parse_condition, condition))
    together = conditions[0] if len(conditions) == 1 else ConditionGroup("and", conditions)

    def edit(definition: Definition) -> Definition:
        served = variant or variant_of(definition, "--variant", value=True)
        return add_rule(definition, together, served, first=first)

    _edit(environment, key, edit, message)


@cli.command("rollout")
def rollout(
    environment: EnvironmentName,
    key: Key,
    percent: Annotated[str, typer.Argument(help="Share in percent, from 0 to 100.")],
    variant: Variant = None,
    others: Annotated[
        str | None,
        typer.Option(
            help="Variant for the others; by default the one whose value is false.",
            metavar="VARIANT",
        ),
    ] = None,
    *,
    by: Annotated[
        str | None,
        typer.Option(
            help="Attribute to split by, instead of the targeting key.", metavar="ATTRIBUTE"
        ),
    ] = None,
    message: Message = "",
) -> None:
    """Serve a variant to a share of the contexts that match no rule.

    A context keeps its variant while the share grows.

    Example: python -m app flag rollout local new-checkout 25
    """
    try:
        share = Decimal(percent.removesuffix("%"))
    except InvalidOperation:
        raise invalid("percent", "must be a number from 0 to 100") from None

    def edit(definition: Definition) -> Definition:
        served = variant or variant_of(definition, "--variant", value=True)
        rest = others or variant_of(definition, "--others", value=False)
        return roll_out(definition, served, share, others=rest, attribute=by)

    _edit(environment, key, edit, message)


@cli.command("disable")
def disable(
    environment: EnvironmentName,
    key: Key,
    variant: Annotated[
        str | None, typer.Option(help="Variant to serve; by default the one whose value is false.")
    ] = None,
    message: Message = "",
) -> None:
    """Switch a flag off: serve one variant to all, without rules. `flag enable` restores the rules.

    Example: python -m app flag disable local new-checkout
    """

    def edit(definition: Definition) -> Definition:
        served = variant or variant_of(definition, "--variant", value=False)
        return serve_all(definition, served)

    _edit(environment, key, edit, message)


@cli.command("enable")
def enable(
    environment: EnvironmentName, key: Key, variant: Variant = None, message: Message = ""
) -> None:
    """Switch a flag on: restore the rules that it had before `flag disable`.

    A flag that never had rules serves one variant to all.

    Example: python -m app flag enable local new-checkout
    """

    async def restored(connection: Connection, definition: Definition) -> Definition:
        if serves_all(definition) is None:
            return definition
        earlier = await _before_switching_off(connection, environment, key)
        if earlier is not None:
            return earlier
        served = variant or variant_of(definition, "--variant", value=True)
        return serve_all(definition, served)

    _edit_with_history(environment, key, restored, message)


def _edit(
    environment: str, key: str, edit: Callable[[Definition], Definition], message: str
) -> None:
    async def edited(connection: Connection, definition: Definition) -> Definition:
        changed = edit(definition)
        # A new rule would bring the flag back without the rules that it had.
        if (
            serves_all(definition) is not None
            and serves_all(changed) is None
            and await _before_switching_off(connection, environment, key) is not None
        ):
            command = f"`python -m app flag enable {environment} {key}`"
            raise invalid("key", f"names a flag that is switched off. Run {command} first")
        return changed

    _edit_with_history(environment, key, edited, message)


async def _before_switching_off(
    connection: Connection, environment: str, key: str
) -> Definition | None:
    """Return the latest definition that had rules."""
    for change in (await key_history(connection, environment, key, limit=_HISTORY)).items:
        before = change.before
        if before is not None and before.kind == Kind.FLAG and serves_all(before.value) is None:
            earlier: Definition = before.value
            return earlier
    return None


def _edit_with_history(
    environment: str,
    key: str,
    edit: Callable[[Connection, Definition], Awaitable[Definition]],
    message: str,
) -> None:
    async def write(
        resources: Resources, connection: Connection
    ) -> tuple[tuple[int, int | None] | None, Definition]:
        stored, version = await _stored(connection, environment, key)
        definition = await edit(connection, stored.value)
        if definition == stored.value:
            return None, definition
        written = await write_content(
            connection,
            environment,
            key,
            replace(stored, value=definition),
            version=version,
            message=message,
            resources=resources,
        )
        return written, definition

    written, definition = run_transaction(write)
    _report(environment, key, written, definition)


async def _stored(connection: Connection, environment: str, key: str) -> tuple[Content, int]:
    """Return the flag's content and version. Raises NotFound, or Invalid for another kind."""
    await environments.get(connection, environment)
    entry = (await read_entries(connection, environment, [service.check_key(key)]))[key]
    if entry.content is None:
        raise NotFound("flag_unknown", f"There is no flag {key} in {environment}.")
    if entry.content.kind is not Kind.FLAG:
        rule = f"must be a flag, but this entry is a {entry.content.kind}"
        raise invalid("key", f"{rule}. A flag needs another key")
    return entry.content, entry.last_version


def _report(
    environment: str, key: str, written: tuple[int, int | None] | None, definition: Definition
) -> None:
    if written is None:
        console.print(f"{environment}/{key} is unchanged")
    else:
        console.print(f"{environment}/{key} is at version {written[1]}, revision {written[0]}")
    for line in describe(definition):
        console.print(f"  {line}")
