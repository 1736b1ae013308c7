"""The settings in the files of deploy/ exist, with values that their parsers accept."""

import re
import shlex
from collections.abc import Mapping

import pytest
import yaml

from app.settings.variables import VARIABLES
from tests.paths import ROOT

# Of programs below ours.
NOT_OURS = {"PATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR"}
PARSERS = {variable.name: variable.parse for variable in VARIABLES}


def _image() -> dict[str, str]:
    text = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ")
    final = text.rpartition("\nFROM ")[2]
    words = " ".join(re.findall(r"^ENV (.*)$", final, re.MULTILINE))
    return dict(word.split("=", 1) for word in shlex.split(words))


def _unit() -> dict[str, str]:
    text = (ROOT / "deploy/flagstone.service").read_text()
    words = " ".join(re.findall(r"^Environment=(.*)$", text, re.MULTILINE))
    return dict(word.split("=", 1) for word in words.split())


def _compose() -> dict[str, str]:
    text = (ROOT / "deploy/compose.yaml").read_text()
    settings: dict[str, str] = yaml.safe_load(text)["services"]["flagstone"]["environment"]
    return settings


@pytest.mark.parametrize(
    "settings", [_image(), _unit(), _compose()], ids=["image", "unit", "compose"]
)
def test_settings_of_deploy_exist(settings: Mapping[str, str]) -> None:
    ours = {name: value for name, value in settings.items() if name not in NOT_OURS}

    assert {name.removesuffix("_FILE") for name in ours} <= PARSERS.keys()
    for name, value in ours.items():
        if name in PARSERS and "%" not in value:
            PARSERS[name](value)
