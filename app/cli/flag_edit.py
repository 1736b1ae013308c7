"""The commands of `flag` that create and change flags, without the text of a definition."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from app.cli.backend import run_backend
from app.cli.backend.interface import Backend
from app.cli.entries import delete_entry, find_flag
from app.cli.flag_writes import edit_flag, report
from app.cli.help import Commands, WritingCommand
from app.cli.options import DryRun, EnvironmentName, Message
from app.cli.terminal import console
from app.configuration.entries.models import NewConfiguration, WriteResult
from app.errors import Stale, invalid
from app.evaluation.rule_tree import ConditionGroup
from app.flags.condition_text import parse_condition
from app.flags.editing import (
    Definition,
    add_rule,
    check_not_switched_off,
    roll_out,
    variant_of,
)
from app.flags.prerequisites import with_prerequisite, without_prerequisite
from app.flags.switching import switched_off, switched_on
from app.flags.wording import describe, prerequisites_text

cli = Commands(is_remote=True)

Key = Annotated[str, typer.Argument(help="Key of the flag.")]
Variant = Annotated[
    str | None, typer.Option(help="Variant to serve; by default the one whose value is true.")
]


@cli.command("create", cls=WritingCommand)
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

    new = NewConfiguration(value=definition, kind="flag", message=message)

    async def write(backend: Backend) -> WriteResult:
        try:
            return await backend.put_entry(environment, key, new, 0)
        except Stale:
            raise invalid("key", "must be new, but this entry exists") from None

    report(environment, key, run_backend(write), definition)


@cli.command("show")
def show(environment: EnvironmentName, key: Key) -> None:
    """Describe in words which variant a flag serves to whom.

    Example: python -m app flag show local new-checkout
    """
    definition = run_backend(lambda b: find_flag(b, environment, key)).value
    for line in filter(None, (prerequisites_text(definition), *describe(definition))):
        console.print(line)


@cli.command("target", cls=WritingCommand)
def target(
    environment: EnvironmentName,
    key: Key,
    condition: Annotated[
        list[str],
        typer.Option(
            "--if",
            metavar="CONDITION",
            help="ATTRIBUTE OPERATOR VALUE, ATTRIBUTE, segment KEY, or flag KEY VARIANT. Several "
            "must all be true.",
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

    Operators: = != < <= > >= in not_in in_list contains starts_with ends_with version= version!=
    version< version<= version> version>= version~ version^. Commas separate the values of in and
    not_in. The value of in_list is the key of a list.

    Example: python -m app flag target local new-checkout --if "country in DE,AT"
    """
    conditions = tuple(map(parse_condition, condition))
    together = conditions[0] if len(conditions) == 1 else ConditionGroup("and", conditions)

    def edit(definition: Definition, earlier: Definition | None) -> Definition:
        served = variant or variant_of(definition, "--variant", value=True)
        check_not_switched_off(definition, earlier)
        return add_rule(definition, together, served, first=first)

    edit_flag(environment, key, edit, message)


@cli.command("rollout", cls=WritingCommand)
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

    def edit(definition: Definition, earlier: Definition | None) -> Definition:
        served = variant or variant_of(definition, "--variant", value=True)
        rest = others or variant_of(definition, "--others", value=False)
        check_not_switched_off(definition, earlier)
        return roll_out(definition, served, share, others=rest, attribute=by)

    edit_flag(environment, key, edit, message)


@cli.command("disable", cls=WritingCommand)
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

    def edit(definition: Definition, _: Definition | None) -> Definition:
        return switched_off(definition, variant)

    edit_flag(environment, key, edit, message)


@cli.command("enable", cls=WritingCommand)
def enable(
    environment: EnvironmentName, key: Key, variant: Variant = None, message: Message = ""
) -> None:
    """Switch a flag on: restore the rules that it had before `flag disable`.

    A flag that never had rules serves one variant to all. `--variant` does so in any case.

    Example: python -m app flag enable local new-checkout
    """

    def edit(definition: Definition, earlier: Definition | None) -> Definition:
        return switched_on(definition, earlier, variant)

    edit_flag(environment, key, edit, message)


@cli.command("require", cls=WritingCommand)
def require(
    environment: EnvironmentName,
    key: Key,
    needed: Annotated[str, typer.Argument(help="Key of the flag that it needs.", metavar="FLAG")],
    variant: Annotated[str, typer.Option(help="Variant that the other flag must give.")] = "on",
    off_variant: Annotated[
        str | None, typer.Option("--otherwise", help="Variant to serve when it does not hold.")
    ] = None,
    *,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the prerequisite instead.")
    ] = False,
    message: Message = "",
) -> None:
    """Add a prerequisite: serve the flag only if another flag gives a variant.

    Otherwise the flag serves its off variant, or its default variant if it has none.

    Example: python -m app flag require local new-search new-checkout --otherwise off
    """

    def edit(definition: Definition, _: Definition | None) -> Definition:
        if remove:
            return without_prerequisite(definition, needed)
        return with_prerequisite(definition, needed, variant, off_variant)

    edit_flag(environment, key, edit, message)


@cli.command("delete", cls=WritingCommand)
def delete(
    environment: EnvironmentName,
    key: Key,
    version: Annotated[
        int | None, typer.Option(min=1, help="Delete only if the flag has this version.")
    ] = None,
    message: Message = "",
    *,
    dry_run: DryRun = False,
) -> None:
    """Delete a flag. Programs that still evaluate it use the default in their own code.

    Example: python -m app flag delete local new-search -m "The search is on for all"
    """
    delete_entry(environment, key, version, message, dry_run=dry_run, only_flags=True)
