"""The folder of the roles' URLs: each is read, and its password looked at, here."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.crypto.password import broken_rules
from app.database.role_names import LOGIN_ROLES, PREFIX
from app.errors import ForeseenError
from app.settings import Target, parse_target

# The variables that name a file of the folder.
_VARIABLES = ("DATABASE_URL", "DATABASE_MIGRATOR_URL", "DATABASE_BACKUP_URL")
# Satisfies every rule of every tier; `provision` uses DATABASE_ADMIN_URL alone.
_STAND_IN = "postgresql://flagstone@/flagstone?host=/tmp"


class ProvisionError(ForeseenError):
    """The roles cannot be made as they should be; the text says what to do."""


def url_file(folder: Path, role: str) -> Path:
    return folder / f"{role.removeprefix(f'{PREFIX}_')}.url"


def before_provision(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the variables with a stand-in for each file that provisioning is about to make.

    So the settings of the service may be complete before its roles are made.
    """
    made = {url_file(folder, role).absolute() for role in LOGIN_ROLES}
    found = dict(environ)
    for name in _VARIABLES:
        file = Path(found.get(f"{name}_FILE", "").strip()).absolute()
        if file in made and not file.exists() and not found.get(name):
            found |= {name: _STAND_IN, f"{name}_FILE": ""}
    return found


def read_url(path: Path) -> Target:
    """Return what a file leads to. Raises ProvisionError that names the file and the rule."""
    try:
        return parse_target(path.read_text(encoding="ascii").strip())
    except UnicodeDecodeError:
        raise ProvisionError(f"{path} must be ASCII") from None
    except ValueError as error:
        raise ProvisionError(f"{path} {error}") from None


def check_passwords(paths: Sequence[Path], database: str) -> None:
    """Refuse a weak password that an operator has put into one of the files that are there.

    What is generated passes. Raises ProvisionError that names the file and each rule.
    """
    for path in paths:
        if not path.exists():
            continue
        target = read_url(path)
        password = target.password.reveal() if target.password else ""
        rules = [*broken_rules(password, (target.user, target.database, database))]
        if not (password.isascii() and password.isprintable()):
            # Drivers prepare others by SASLprep first, and so ask for another verifier than ours.
            rules.append("must be made of printable ASCII")
        if rules:
            raise ProvisionError(f"{path}: the password {', and '.join(rules)}")
