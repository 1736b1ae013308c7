"""The steps of the compose file: the secrets that it generates, and the commands that it runs."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.help import subcommands
from app.cli.reference import commands
from tests.paths import ROOT
from tests.waiting import HANG_SECONDS

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]


def _script(name: str) -> str:
    (script,) = SERVICES[name]["command"]
    return str(script).replace("$$", "$")


def _write_secrets(folder: Path) -> None:
    subprocess.run(
        ["/bin/sh", "-euc", _script("secrets").replace("/secrets", str(folder))],
        check=True,
        timeout=HANG_SECONDS,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="the step runs as root")
def test_secrets_are_generated_once(tmp_path: Path) -> None:
    _write_secrets(tmp_path)
    password = (tmp_path / "postgres-password").read_text()
    _write_secrets(tmp_path)

    url = (tmp_path / "admin.url").read_text()
    status = (tmp_path / "admin.url").stat()

    assert re.fullmatch("[0-9a-f]{48}", password)
    assert url == f"postgresql://postgres:{password}@postgres:5432/postgres"
    assert (tmp_path / "postgres-password").read_text() == password
    assert (status.st_mode & 0o777, status.st_uid) == (0o400, 10001)
    assert {path.name for path in tmp_path.iterdir()} == {"admin.url", "postgres-password"}


def test_commands_of_the_migration_exist() -> None:
    paths = {context.command_path for context in commands() if not any(subcommands(context))}
    lines = _script("migrate").splitlines()

    ran = {" ".join(line.split()[1:3]) for line in lines}

    assert ran == {"database provision", "database migrate"}
    assert {f"python -m app {name}" for name in ran} <= paths


def test_service_starts_after_the_migration() -> None:
    needs = SERVICES["flagstone"]["depends_on"]

    assert needs["migrate"] == {"condition": "service_completed_successfully"}
    assert needs["postgres"] == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", ["secrets", "migrate", "flagstone"])
def test_containers_have_no_power_that_they_do_not_need(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["CHOWN"] if name == "secrets" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in service or service["ports"] == ["127.0.0.1:8080:8080"]
