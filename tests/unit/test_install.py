"""The installer of `make`, with a stand-in for Python, pip and their versions."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.paths import ROOT
from tests.waiting import HANG_SECONDS

# Behaves like Python where the installer calls it. `-m venv` copies it, as the version that it has.
_PYTHON = """\
#!/bin/sh
case $1 in
    -V) echo Python VERSION ;;
    -c) exit 0 ;;
    -m) case $2 in
        venv) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; touch "$3/bin/pip"; chmod +x "$3/bin/pip"
              printf 'version = VERSION\\ncommand = python -m venv %s\\n' "$3" >"$3/pyvenv.cfg" ;;
        pip) for lock; do :; done; echo "$lock" >>installed; PIP ;;
        esac ;;
esac
"""
_PROGRAMS = "cat chmod cp date dirname find grep id mkdir rm sed sh touch"
Install: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


def add_python(folder: Path, name: str, version: str, *, pip: str = "exit 0") -> None:
    program = folder / "bin" / name
    program.write_text(_PYTHON.replace("VERSION", version).replace("PIP", pip))
    program.chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkout that has only the installer and the locks, and a folder for programs."""
    for name in ("app", "bin", "tests"):
        (tmp_path / name).mkdir()
    script = (ROOT / "app" / "install.sh").read_text()
    (tmp_path / "app" / "install.sh").write_text(script)
    for lock in ("requirements.lock", "tests/requirements.lock"):
        (tmp_path / lock).write_text("aiohttp==3.14.5 \\\nattrs==26.1.0 \\\n")
    for program in _PROGRAMS.split():
        (tmp_path / "bin" / program).symlink_to(shutil.which(program) or program)
    return tmp_path


@pytest.fixture
def install(folder: Path) -> Install:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", folder / "app" / "install.sh", *arguments],
            capture_output=True,
            check=False,
            env={"PATH": str(folder / "bin"), **variables},
            text=True,
            timeout=HANG_SECONDS,
        )

    return run


def installed(folder: Path) -> list[str]:
    """Return the locks that pip was called with, in order."""
    record = folder / "installed"
    return record.read_text().split() if record.exists() else []


def test_first_install_tells_version_and_count(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")

    outcome = install("run")

    assert outcome.returncode == 0
    assert outcome.stdout == ""
    first, second, third = outcome.stderr.splitlines()
    assert first == "Create .venv with Python 3.11.2. The first time takes about a minute."
    assert second == "Install the 2 packages of requirements.lock"
    assert third.startswith("Installed in ")
    assert installed(folder) == ["requirements.lock"]


def test_second_install_does_nothing(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")
    install("run")

    outcome = install("run")

    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert installed(folder) == ["requirements.lock"]


def test_changed_lock_is_installed(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")
    install()
    os.utime(folder / ".venv" / ".installed", (0, 0))
    # .venv is enough: PYTHON may have named a Python that is not in PATH.
    (folder / "bin" / "python3").unlink()

    outcome = install()

    assert "Create .venv" not in outcome.stderr
    assert installed(folder) == ["requirements.lock"] * 2


def test_tools_include_the_runtime(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")

    install("tools")
    install("run")

    assert installed(folder) == ["tests/requirements.lock"]


@pytest.mark.parametrize("versions", [{}, {"python3": "3.10.12"}, {"python3": "3.9.2"}])
def test_missing_python_names_the_next_step(
    folder: Path, install: Install, versions: dict[str, str]
) -> None:
    for name, version in versions.items():
        add_python(folder, name, version)

    outcome = install("run")

    assert outcome.returncode == 1
    assert "Flagstone needs Python 3.11 or newer." in outcome.stderr
    assert (
        "python3 is 3." in outcome.stderr if versions else "No Python was found." in outcome.stderr
    )
    assert "PYTHON=/path/to/python" in outcome.stderr
    assert not (folder / ".venv").exists()


def test_newer_python_is_found_beside_an_old_one(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.10.12")
    add_python(folder, "python3.12", "3.12.4")

    assert "Create .venv with Python 3.12.4." in install("run").stderr


def test_python_without_venv_names_the_package(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")
    program = folder / "bin" / "python3"
    program.write_text(program.read_text().replace("-c) exit 0", "-c) exit 1"))

    outcome = install("run")

    assert outcome.returncode == 1
    assert "apt install python3-venv" in outcome.stderr


def test_venv_of_another_python_is_rebuilt(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.12.1")
    install()
    # An upgrade of the system replaced the Python that .venv links to.
    add_python(folder, "python3", "3.13.5")
    shutil.copy(folder / "bin" / "python3", folder / ".venv" / "bin" / "python")

    outcome = install("run")

    assert "Remove .venv: it was made by Python 3.12.1, and runs 3.13.5" in outcome.stderr
    assert "Create .venv with Python 3.13.5" in outcome.stderr
    assert install("run").stderr == ""


def test_venv_without_its_python_is_rebuilt(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")
    install("run")
    (folder / ".venv" / "bin" / "python").unlink()

    assert "Remove .venv: its Python 3.11.2 is missing" in install("run").stderr


def test_venv_of_a_moved_folder_is_rebuilt(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")
    install("run")
    configuration = folder / ".venv" / "pyvenv.cfg"
    configuration.write_text(configuration.read_text().replace(str(folder), "/elsewhere"))

    assert "Remove .venv: it was made in /elsewhere/.venv" in install("run").stderr


def test_failed_installation_is_continued(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2", pip="echo ERROR: no network >&2; exit 1")

    failed = install("run")

    assert failed.returncode == 1
    assert "ERROR: no network" in failed.stderr
    assert "Then run make again: it continues here." in failed.stderr
    add_python(folder, "python3", "3.11.2")
    shutil.copy(folder / "bin" / "python3", folder / ".venv" / "bin" / "python")
    continued = install("run")
    assert continued.returncode == 0
    assert "Create .venv" not in continued.stderr


def is_closed(path: Path) -> bool:
    return not path.stat().st_mode & stat.S_IXOTH


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another account")
def test_root_in_a_closed_folder_is_refused_first(folder: Path, install: Install) -> None:
    (folder / "bin" / "python3").symlink_to(os.path.realpath(sys.executable))
    folder.chmod(0o700)
    # pytest's own folders are closed too.
    closed = next(path for path in [*reversed(folder.parents), folder] if is_closed(path))

    outcome = install("run")

    assert outcome.returncode == 1
    assert f" cannot enter {closed}.\n" in outcome.stderr
    assert "set DATABASE_URL" in outcome.stderr
    assert not (folder / ".venv").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_read_only_folder_names_the_next_step(folder: Path, install: Install) -> None:
    add_python(folder, "python3", "3.11.2")
    folder.chmod(0o500)

    outcome = install("run")

    folder.chmod(0o700)
    assert outcome.returncode == 1
    assert f"cannot write to {folder}" in outcome.stderr
