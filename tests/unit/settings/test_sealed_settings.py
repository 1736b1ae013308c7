"""Sealed settings: their sources, and the identities that open them."""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from app.crypto.identity import new_identity
from app.crypto.sealed import PREFIX, seal
from app.secrets.key_sources import wrapper_of
from app.secrets.keyring import KeyRing, KeyState, new_key
from app.settings import Secret, SettingsError, load
from app.settings import identity as identities
from app.settings.variables import VARIABLES
from tests.waiting import HANG_SECONDS

CANARY = "canary7f3a"
PASSWORD = f"{CANARY}-Hx7qWvZ2"
KEY = CANARY * 4
SECRETS = {
    "DATABASE_URL": f"postgresql://app:{PASSWORD}@db/flagstone",
    "DATABASE_MIGRATOR_URL": f"postgresql://migrator:{PASSWORD}@db/flagstone",
    "DATABASE_ADMIN_URL": f"postgresql://admin:{PASSWORD}@db/flagstone",
    "TOKEN_KEY": KEY,
}
STRICT = ("staging", "production")
FILE_TEXT, RECIPIENT = new_identity(datetime(2026, 11, 17, tzinfo=UTC))
SEALED = {name: seal(name, Secret(value), [RECIPIENT]) for name, value in SECRETS.items()}
CLOSED = "IDENTITY_FILE must be private: chmod 600"
UNREADABLE = "IDENTITY_FILE must be readable"
UNSET = "IDENTITY_FILE must be set: this host has no identity"


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return written(tmp_path / "identity", FILE_TEXT)


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(environ: Mapping[str, str]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        load(environ)
    shown = "".join(traceback.format_exception(caught.value))
    assert CANARY not in shown
    assert FILE_TEXT.split()[-1] not in shown
    assert PREFIX + "YWdl" not in shown
    return caught.value


# Every secret, from everywhere


@pytest.mark.parametrize("tier", ["local", "development", *STRICT])
def test_sealed_settings_open_in_every_tier(tier: str, identity: Path) -> None:
    settings = load({"TIER": tier, "IDENTITY_FILE": str(identity), **SEALED})

    clear = load(SECRETS)
    assert settings.access.token_key == clear.access.token_key
    targets = (settings.database.target, settings.database.migrator, settings.database.admin)
    users = [(target.user, target.password) for target in targets if target]
    assert users == [(role, Secret(PASSWORD)) for role in ("app", "migrator", "admin")]
    assert settings.warnings == ()


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("end", ["", "\n", " \r\n"])
def test_settings_file_may_be_sealed(name: str, end: str, identity: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "sealed", SEALED[name] + end, 0o644)
    beside = {n: v for n, v in SEALED.items() if n != name}

    from_file = load({f"{name}_FILE": str(file), "IDENTITY_FILE": str(identity), **beside})

    assert from_file == load({"IDENTITY_FILE": str(identity), **SEALED})


def test_env_file_may_have_sealed_values(
    identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{name}={value}\n" for name, value in SEALED.items()]
    written(tmp_path / ".env", f"IDENTITY_FILE={identity}\n" + "".join(lines))

    settings = load()

    assert settings.access.token_key == Secret(KEY)


def test_key_ring_file_may_be_sealed(identity: Path, tmp_path: Path) -> None:
    text = KeyRing((new_key(KeyState.ACTIVE, date(2026, 11, 24)),)).text
    file = written(tmp_path / "ring", seal("KEY_RING", Secret(text), [RECIPIENT]))

    wrapper = wrapper_of(load({"KEY_RING_FILE": str(file), "IDENTITY_FILE": str(identity)}))

    assert wrapper is not None
    assert wrapper.active_id == text.split()[1]


def test_systemd_credentials_work_by_name_file(identity: Path, tmp_path: Path) -> None:
    """`DATABASE_URL_FILE=%d/database-url` in a unit; credentials are not found by name alone."""
    written(tmp_path / "token_key", "another key" * 9, 0o440)
    file = written(tmp_path / "database-url", SECRETS["DATABASE_URL"], 0o440)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "DATABASE_URL_FILE": str(file)}

    settings = load({"TIER": "production", "TOKEN_KEY": KEY, **environ})

    assert identity.exists()
    assert settings.database.target is not None
    assert settings.database.target.password == Secret(PASSWORD)
    assert settings.access.token_key == Secret(KEY)


# Refused values


@pytest.mark.parametrize("name", SECRETS)
def test_value_of_another_setting_is_refused(name: str, identity: Path) -> None:
    for other in SECRETS:
        if other != name:
            error = refusal({**SEALED, name: SEALED[other], "IDENTITY_FILE": str(identity)})
            assert (name, "is sealed for another setting") in error.problems


@pytest.mark.slow
def test_changed_character_never_gives_another_value(identity: Path) -> None:
    """TOKEN_KEY accepts any long text, so a damaged value must not be used as one."""
    sealed = SEALED["TOKEN_KEY"]
    for place in range(len(sealed)):
        other = "B" if sealed[place] == "A" else "A"
        changed = sealed[:place] + other + sealed[place + 1 :]

        error = refusal({"TOKEN_KEY": changed, "IDENTITY_FILE": str(identity)})

        assert [name for name, _ in error.problems] == ["TOKEN_KEY"]


def test_identity_of_another_host_is_refused(tmp_path: Path) -> None:
    other = written(tmp_path / "other", new_identity(datetime.now(UTC))[0])

    error = refusal({**SEALED, "IDENTITY_FILE": str(other)})

    rule = "is sealed for other recipients than this identity, or was changed"
    assert error.problems == [(name, rule) for name in SECRETS]


def test_sealed_value_is_validated_like_plain_value(identity: Path) -> None:
    sealed = seal("DATABASE_URL", Secret(f"mysql://u:{CANARY}@h/d"), [RECIPIENT])

    error = refusal({"DATABASE_URL": sealed, "IDENTITY_FILE": str(identity)})

    assert error.problems == [("DATABASE_URL", "must start with postgresql://")]


def test_only_secrets_may_be_sealed(identity: Path) -> None:
    open_to_all = [variable.name for variable in VARIABLES if not variable.secret]
    environ = {name: seal(name, Secret("1"), [RECIPIENT]) for name in open_to_all}

    error = refusal({**environ, "TOKEN_KEY": KEY})

    assert identity.exists()
    assert {name for name, _ in error.problems} == set(open_to_all)
    assert ("INSTANCE_ID", "must not be sealed: it is not a secret") in error.problems


def test_all_sealing_errors_are_reported_together(identity: Path, tmp_path: Path) -> None:
    error = refusal(
        {
            "TIER": "production",
            "PORT": "0",
            "IDENTITY_FILE": str(identity),
            "DATABASE_URL": SEALED["TOKEN_KEY"],
            "DATABASE_MIGRATOR_URL_FILE": str(tmp_path / "missing"),
            "DATABASE_ADMIN_URL": SECRETS["DATABASE_ADMIN_URL"],
        }
    )

    assert sorted(name for name, _ in error.problems) == [
        "DATABASE_ADMIN_URL",
        "DATABASE_MIGRATOR_URL",
        "DATABASE_URL",
        "PORT",
        "TOKEN_KEY",
    ]


# The identity


def needing(**environ: str) -> str:
    """Return the rule that is reported for a sealed setting without a usable identity."""
    error = refusal({"TOKEN_KEY": SEALED["TOKEN_KEY"], **environ})
    ((name, rule),) = error.problems
    assert name == "TOKEN_KEY"
    assert rule.startswith("is sealed, and ")
    return rule.removeprefix("is sealed, and ")


def opens(**environ: str) -> bool:
    return load({"TOKEN_KEY": SEALED["TOKEN_KEY"], **environ}).access.token_key == Secret(KEY)


def test_sealed_setting_without_identity_is_refused(tmp_path: Path) -> None:
    assert needing() == UNSET
    assert needing(CREDENTIALS_DIRECTORY=str(tmp_path)) == UNSET
    assert needing(IDENTITY_FILE=" ", IDENTITY_COMMAND="") == UNSET


def test_identity_is_not_read_without_sealed_settings(tmp_path: Path) -> None:
    settings = load({"IDENTITY_FILE": str(tmp_path / "no"), "IDENTITY_COMMAND": "/no", **SECRETS})

    assert settings.access.token_key == Secret(KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o620, 0o644, 0o777])
def test_identity_file_open_to_others_is_refused(identity: Path, mode: int) -> None:
    identity.chmod(mode)

    assert needing(IDENTITY_FILE=str(identity)) == CLOSED


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_identity_file_of_owner_only_is_accepted(identity: Path, mode: int) -> None:
    identity.chmod(mode)

    assert opens(IDENTITY_FILE=f" {identity}\n")


def test_invalid_identity_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("missing", "", "pipe", "\x00"):
        assert needing(IDENTITY_FILE=f"{tmp_path}/{name}") == UNREADABLE
    for content in ("", "# comment\n", CANARY, "AGE-SECRET-KEY-1" + CANARY, "ä"):
        file = written(tmp_path / "identity", content)
        assert "AGE-SECRET-KEY-1…" in needing(IDENTITY_FILE=str(file))
    large = written(tmp_path / "large", "#" * 70_000)
    assert needing(IDENTITY_FILE=str(large)) == "IDENTITY_FILE must not be above 65536 bytes"
    homeless = refusal({"TOKEN_KEY": SEALED["TOKEN_KEY"], "IDENTITY_FILE": f"~{CANARY}/identity"})
    assert {name for name, _ in homeless.problems} == {"IDENTITY_FILE", "TOKEN_KEY"}


def test_identity_source_order_is_fixed(identity: Path, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    # As systemd leaves it: the mask of its access list looks like the group's permission.
    written(folder / "flagstone-identity", FILE_TEXT, 0o440)
    broken = written(tmp_path / "broken", CANARY)

    assert opens(CREDENTIALS_DIRECTORY=str(folder))
    assert opens(CREDENTIALS_DIRECTORY=str(folder), IDENTITY_FILE=str(broken))
    assert opens(IDENTITY_FILE=str(identity), IDENTITY_COMMAND="/bin/false")
    (folder / "flagstone-identity").unlink()
    (folder / "flagstone-identity").mkdir()
    rule = needing(CREDENTIALS_DIRECTORY=str(folder), IDENTITY_FILE=str(identity))
    assert rule == "the credential flagstone-identity must be readable"


def test_identity_command_is_used(identity: Path, tmp_path: Path) -> None:
    identity.chmod(0o644)
    spaced = identity.rename(tmp_path / "two words")

    assert opens(IDENTITY_COMMAND=f"cat '{spaced}'")
    # It is no shell.
    assert "exit code 0" in needing(IDENTITY_COMMAND=f"cat '{spaced}' | cat")


@pytest.mark.parametrize("command", ["/missing/program", "'", " '' ", "/", "\x00"])
def test_invalid_identity_command_is_refused(command: str) -> None:
    assert needing(IDENTITY_COMMAND=command).endswith("must be a program and its arguments")


def test_failing_identity_command_is_refused(tmp_path: Path) -> None:
    noise = written(tmp_path / "noise", "print('#' * 70_000)")

    assert needing(IDENTITY_COMMAND="false") == "IDENTITY_COMMAND must end with exit code 0"
    assert "65536 bytes" in needing(IDENTITY_COMMAND=f"'{sys.executable}' '{noise}'")
    assert "AGE-SECRET-KEY-1…" in needing(IDENTITY_COMMAND=f"echo {CANARY}")


def test_identity_command_with_long_output_is_killed() -> None:
    """It could fill the memory within its time."""
    rule = needing(IDENTITY_COMMAND="yes")

    assert rule == "IDENTITY_COMMAND must not be above 65536 bytes"


def test_identity_command_after_output_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "COMMAND_SECONDS", 0.5)
    script = written(tmp_path / "quiet", "import os, time\nos.close(1)\ntime.sleep(3600)\n")

    rule = needing(IDENTITY_COMMAND=f"'{sys.executable}' '{script}'")

    assert rule == "IDENTITY_COMMAND must end in 0.5 s"


def test_identity_command_timeout_kills_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that keeps the pipe open must not keep the start waiting."""
    pids = tmp_path / "pids"
    pids.touch()
    script = written(
        tmp_path / "slow",
        "import json, os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '3600'])\n"
        f"json.dump([os.getpid(), child.pid], open({str(pids)!r}, 'w'))\n"
        "time.sleep(3600)\n",
    )

    # On a busy machine, the first limit may come before the child.
    for seconds in (0.5, 5.0, 50.0):
        monkeypatch.setattr(identities, "COMMAND_SECONDS", seconds)
        rule = needing(IDENTITY_COMMAND=f"'{sys.executable}' '{script}'")
        assert rule == f"IDENTITY_COMMAND must end in {seconds:g} s"
        if pids.read_text():
            break

    for pid in json.loads(pids.read_text()):
        deadline = time.monotonic() + HANG_SECONDS
        while _runs(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # Killed, and its exit code is not collected yet.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_ctrl_c_ends_identity_command(tmp_path: Path) -> None:
    script = written(
        tmp_path / "interrupts",
        "import os, signal, time\nos.kill(os.getppid(), signal.SIGUSR1)\ntime.sleep(3600)\n",
    )

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            needing(IDENTITY_COMMAND=f"'{sys.executable}' '{script}'")
    finally:
        signal.signal(signal.SIGUSR1, before)


# Passwords in clear


@pytest.mark.parametrize("tier", STRICT)
def test_allowed_clear_password_is_logged_at_start(tier: str) -> None:
    settings = load({"TIER": tier, **SECRETS, "ALLOW_PLAINTEXT_DSN": "true"})

    assert settings.warnings == tuple(
        f"{name} holds a password in clear, as ALLOW_PLAINTEXT_DSN allows"
        for name in SECRETS
        if name != "TOKEN_KEY"
    )


@pytest.mark.parametrize("tier", STRICT)
def test_url_without_password_needs_no_sealing(tier: str) -> None:
    url = "postgresql://app@db/flagstone"

    settings = load({"TIER": tier, "TOKEN_KEY": KEY, "DATABASE_URL": url})

    assert settings.warnings == ()
