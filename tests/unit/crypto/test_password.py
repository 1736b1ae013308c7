"""Password rules; checking is quick and reveals nothing of the password."""

import secrets
import subprocess
import sys

import pytest

from app.crypto.password import KNOWN_BAD, LISTED, broken_rules
from tests.work import counted_calls

NAMES = ("flagstone_app", "flagstone", "kestrelbay")
SHORT = "must have at least 16 characters"
KNOWN = "must not be a well-known password"
NAMED = "must not consist of the name of the user or the database"
GUESSED = "must be harder to guess"


@pytest.mark.parametrize(
    ("password", "rules"),
    [
        ("", [SHORT, GUESSED]),
        ("kX9#mQ2vLp7&Rt4", [SHORT]),
        ("kX9#mQ2vLp7&Rt4z", []),
        ("drum apricot 7 sailing lantern", []),
        ("pässwörterbuchgröße-ü9x", []),
        ("\ud800" * 3 + "kX9#mQ2vLp7&Rt4z", []),
        ("correct horse battery staple", [KNOWN]),
        ("C0rrect-H0rse-Battery-Staple!2026", [KNOWN]),
        ("thisisnotapassword", [KNOWN]),
        ("postgresqlpassword1", [KNOWN]),
        ("flagstone_app_FLAGSTONE", [NAMED]),
        ("Flagstone-App-2026-11-24", [NAMED]),
        ("passwordpasswordpassword", [KNOWN, GUESSED]),
        ("q1w2e3r4t5y6u7i8", [GUESSED]),
        # A score of 2 is not enough, and the name counts as a word that attackers try first.
        ("zxcvbnmasdfghjkl1", [GUESSED]),
        ("kestrelbayqwertyuiop", [GUESSED]),
        ("a" * 10_000, [GUESSED]),
        # The rest is not scored, or a good password would take minutes.
        ("a" * 72 + "kX9#mQ2vLp7&Rt4z", [GUESSED]),
    ],
)
def test_password_each_broken_rule_is_reported(password: str, rules: list[str]) -> None:
    assert list(broken_rules(password, NAMES)) == rules


@pytest.mark.parametrize("length", [73, 10_000])
def test_long_password_takes_as_much_work_as_its_beginning(length: int) -> None:
    password = secrets.token_urlsafe(length)[:length]
    list(broken_rules("", NAMES))
    with counted_calls() as scored:
        list(broken_rules(password[:72], NAMES))

    with counted_calls() as whole:
        broken = list(broken_rules(password, NAMES))

    assert broken == []
    # Without a limit on the length, the work grows with the square of it.
    assert whole.calls < 4 * scored.calls


def test_generated_password_passes() -> None:
    generated = [secrets.token_urlsafe(32) for _ in range(50)]

    assert [list(broken_rules(password, NAMES)) for password in generated] == [[]] * 50


def test_password_with_short_name_passes() -> None:
    assert list(broken_rules("kX9#mQ2vLp7&Rt4z", ("k", "mQ2", "Lp7"))) == []


def test_password_list_is_normalized() -> None:
    """An entry with a capital or a final digit would never match."""
    for word in LISTED.split():
        assert KNOWN in list(broken_rules(f"{word.title()}-1")), word
    assert len(KNOWN_BAD) == len(LISTED.split())


def test_estimate_is_loaded_on_first_use() -> None:
    code = "import sys; from app.settings import load; load({}); print('zxcvbn' in sys.modules)"

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout == "False\n"
