"""The banner at the end of a start."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.server.banner import banner, print_banner
from app.settings import Settings, Tier, load


def _settings(folder: Path, **variables: str) -> Settings:
    return load({"DATA_DIR": str(folder), **variables})


def test_banner_in_local_names_urls_and_token_file(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    text = banner(_settings(folder, HOST="0.0.0.0", PORT="8081"))  # noqa: S104 - not bound

    assert "http://127.0.0.1:8081/docs\n" in text
    assert "http://127.0.0.1:8081/health/ready\n" in text
    assert f"Admin token        {folder}/admin-token\n" in text
    assert "curl -H " in text
    # Quoted for the shell.
    assert "it'\"'\"'s here/admin-token')" in text
    assert "Ctrl-C stops Flagstone." in text


@pytest.mark.parametrize("tier", [Tier.DEVELOPMENT, Tier.STAGING, Tier.PRODUCTION])
def test_banner_outside_local_creates_a_token(
    tmp_path: Path, tier: Tier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(sys.executable).parents[2])

    text = banner(replace(_settings(tmp_path), tier=tier))

    assert "http://127.0.0.1:8080/docs\n" in text
    assert f"  .venv/bin/{Path(sys.executable).name} -m app token create first --admin\n" in text
    assert "admin-token" not in text


def test_banner_with_link_says_how_to_get_another(tmp_path: Path) -> None:
    link = "http://127.0.0.1:8080/console/sign-in?code=x"

    text = banner(_settings(tmp_path), link)

    assert f"  Console            {link}\n" in text
    assert "once, within 10 minutes" in text
    assert "-m app console link\n" in text


def test_banner_without_link_names_the_console(tmp_path: Path) -> None:
    assert "  Console            http://127.0.0.1:8080/console\n" in banner(_settings(tmp_path))


def test_banner_host_is_bracketed_for_ipv6(tmp_path: Path) -> None:
    assert "http://[::1]:8080/docs" in banner(_settings(tmp_path, HOST="::"))


@pytest.mark.parametrize(
    ("log_format", "is_terminal", "is_shown"),
    [("console", False, True), ("json", True, True), ("json", False, False)],
)
def test_banner_is_left_out_of_json_logs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    log_format: str,
    is_terminal: bool,  # noqa: FBT001 - a case
    is_shown: bool,  # noqa: FBT001 - a case
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)

    print_banner(_settings(tmp_path, LOG_FORMAT=log_format))

    assert ("is ready" in capsys.readouterr().err) is is_shown
