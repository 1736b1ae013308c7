"""A review of the settings: weak passwords, and settings that the next tier would refuse."""

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
    """The result of a review.

    `passwords`: by URL variable, the rules that its password breaks; None without a password.
    `refused`: the variables and rules for which `next_tier` would not start.
    `warned`: its warnings otherwise.
    """

    passwords: Mapping[str, Sequence[str] | None]
    next_tier: Tier | None
    refused: Sequence[tuple[str, str]]
    warned: Sequence[str]


def review(environ: Mapping[str, str] | None = None) -> Review:
    """Check the settings for their tier and for the next one.

    Blocks while IDENTITY_COMMAND runs. Raises SettingsError.
    """
    given = environment() if environ is None else environ
    tier, values, _, _ = read_values(given)
    weak = list(weak_passwords(values))
    set_urls = [name for name in DATABASE_URLS if values[name] is not None]
    next_tier = _NEXT.get(tier)
    refused: list[tuple[str, str]] = []
    warned: list[str] = []
    if next_tier is not None:
        try:
            warned = list(warnings(*read_values({**given, "TIER": next_tier})[:3]))
        except SettingsError as error:
            refused = error.problems
    return Review(
        passwords={
            url: [rule for name, rule in weak if name == url] if values[url].password else None
            for url in set_urls
        },
        next_tier=next_tier,
        refused=refused,
        warned=warned,
    )
