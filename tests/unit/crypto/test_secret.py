"""A secret is not shown by printing, logging, copying or encoding."""

import copy
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import pytest
import structlog
from rich.console import Console
from rich.pretty import pretty_repr

from app.settings import Secret, load

CANARY = "canary7f3a"
SECRET = Secret(CANARY * 4)


@dataclass(frozen=True)
class Holder:
    name: str
    secret: Secret


HOLDER = Holder("holder", SECRET)
SETTINGS = load(
    {
        "DATABASE_URL": f"postgresql://app:{CANARY}@db/flagstone",
        "DATABASE_MIGRATOR_URL": f"postgresql://migrator:{CANARY}@db/flagstone",
        "DATABASE_ADMIN_URL": f"postgresql://admin:{CANARY}@db/flagstone",
        "TOKEN_KEY": CANARY * 4,
    }
)


def logged(value: object) -> str:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logger = logging.Logger("of this test")  # noqa: LOG001 - it must not reach the others
    logger.addHandler(handler)
    logger.warning("it is %s, %r", value, value, extra={"value": value})
    return written.getvalue()


def structured(value: object) -> str:
    event = {"event": "it", "value": value}
    as_json = structlog.processors.JSONRenderer()(None, "info", dict(event))
    as_text = structlog.dev.ConsoleRenderer(colors=False)(None, "info", dict(event))
    return f"{as_json!r} {as_text}"


def raised(value: object) -> str:
    try:
        raise ValueError("it", value)  # noqa: TRY301 - the traceback is checked
    except ValueError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        return f"{error} {error!r} {error.args} {''.join(shown.format())}"


def printed(value: object) -> str:
    console = Console(file=io.StringIO(), width=400)
    console.print(value, {"value": value})
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


WAYS: dict[str, Callable[[Any], object]] = {
    "str": str,
    "repr": repr,
    "format": lambda value: f"{value} {value!s} {value!r}",
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031
    "pprint": pprint.pformat,
    "rich": pretty_repr,
    "console": printed,
    "logging": logged,
    "structlog": structured,
    "exception": raised,
    "json": lambda value: json.dumps(value, default=str, ensure_ascii=False),
    "msgspec": lambda value: msgspec.json.encode(value, enc_hook=str).decode(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [SECRET, HOLDER, SETTINGS], ids=["secret", "holder", "settings"])
def test_secret_is_not_shown(way: str, value: object) -> None:
    shown = WAYS[way](value)

    assert CANARY not in str(shown)
    assert "Secret(…)" in str(shown)


@pytest.mark.parametrize("value", [SECRET, HOLDER, SETTINGS], ids=["secret", "holder", "settings"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secret_is_not_pickled(value: object, protocol: int) -> None:
    with pytest.raises(TypeError) as caught:
        pickle.dumps(value, protocol)

    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("value", [SECRET, HOLDER, SETTINGS], ids=["secret", "holder", "settings"])
@pytest.mark.parametrize("encode", [json.dumps, msgspec.json.encode, msgspec.to_builtins])
def test_secret_is_not_encoded(value: object, encode: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as caught:
        encode(value)

    assert CANARY not in str(caught.value)


def test_secret_state_is_not_returned() -> None:
    with pytest.raises(TypeError):
        SECRET.__getstate__()
    with pytest.raises(TypeError):
        vars(SECRET)


@pytest.mark.parametrize("group", ["access", "database"])
def test_settings_groups_hide_secrets(group: str) -> None:
    settings = getattr(SETTINGS, group)

    shown = f"{vars(settings)} {asdict(settings)} {settings}"
    assert "Secret(…)" in shown
    assert CANARY not in shown


def test_database_target_hides_secrets() -> None:
    target = SETTINGS.database.target

    assert target is not None
    assert CANARY not in f"{vars(target)} {asdict(target)} {target} {target.summary}"
    assert target.password == Secret(CANARY)


def test_secret_format_width_applies_to_mask() -> None:
    assert f"{SECRET:>12}" == "   Secret(…)"


def test_copied_secret_still_reveals() -> None:
    copied = copy.deepcopy(HOLDER)

    assert copied.secret is SECRET
    assert replace(HOLDER, name="other").secret.reveal() == CANARY * 4


def test_secrets_with_equal_values_are_equal() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\udc80") != Secret("ä")
