"""What the settings are worth: their passwords, and what the next tier would refuse of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.settings.env_file import environment
from app.settings.reading import SettingsError, read_values
from app.settings.rules import DATABASE_URLS, warnings, weak_passwords
from app.settings.variable import Tier

_NEXT = {
    Tier.LOCAL: Tier.DEVELOPMENT,
    Tier.DEVELOPMENT: Tier.STAGING,
    Tier.STAGING: Tier.PRODUCTION,
}


@dataclass(frozen=True, kw_only=True)
class Review:
    """`passwords`: of each URL that is set, the rules that its password breaks; None without one.

    `refused`: each variable and rule that `next_tier` would not start with; `warned`: what it would
    say if there is none.
    """

    passwords: Mapping[str, Sequence[str] | None]
    next_tier: Tier | None
    refused: Sequence[tuple[str, str]]
    warned: Sequence[str]


def review(environ: Mapping[str, str] | None = None) -> Review:
    """Read what `load` reads, once for the tier that is set and once for the next.

    Blocks, as the identity may have to be asked for. Raises SettingsError.
    """
    given = environment() if environ is None else environ
    tier, values, _, _ = read_values(given)
    weak = list(weak_passwords(values))
    set_urls = [name for name in DATABASE_URLS if values[name] is not None]
    next_tier = _NEXT.get(tier)
    refused, warned = _answer(given, next_tier) if next_tier else ([], [])
    return Review(
        passwords={
            url: [rule for name, rule in weak if name == url] if values[url].password else None
            for url in set_urls
        },
        next_tier=next_tier,
        refused=refused,
        warned=warned,
    )


def _answer(
    environ: Mapping[str, str], tier: Tier
) -> tuple[Sequence[tuple[str, str]], Sequence[str]]:
    try:
        found, values, kept_secret, _ = read_values({**environ, "TIER": tier})
    except SettingsError as error:
        return error.problems, []
    return [], list(warnings(found, values, kept_secret))
