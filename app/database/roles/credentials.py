"""Read and check the files with the database URL of each role."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from app.crypto.password import broken_rules
from app.database.role_names import LOGIN_ROLES, PREFIX
from app.errors import ForeseenError
from app.settings import Target, parse_target

# Settings whose file may be in the folder.
_VARIABLES = ("DATABASE_URL", "DATABASE_MIGRATOR_URL", "DATABASE_BACKUP_URL")
# Valid in every tier. `provision` uses only DATABASE_ADMIN_URL.
_PLACEHOLDER = "postgresql://flagstone@/flagstone?host=/tmp"


class ProvisionError(ForeseenError):
    """The roles cannot be provisioned. The message says what to do."""


def url_file(folder: Path, role: str) -> Path:
    return folder / f"{role.removeprefix(f'{PREFIX}_')}.url"


def before_provision(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Replace each URL file that provisioning will create by a placeholder URL.

    So the settings of the service may name the files before they exist.
    """
    files = {url_file(folder, role).absolute() for role in LOGIN_ROLES}
    variables = dict(environ)
    for name in _VARIABLES:
        file = Path(variables.get(f"{name}_FILE", "").strip()).absolute()
        if file in files and not file.exists() and not variables.get(name):
            variables |= {name: _PLACEHOLDER, f"{name}_FILE": ""}
    return variables


def read_url(path: Path) -> Target:
    """Read the target of a file. Raises ProvisionError with the file and the rule."""
    try:
        return parse_target(path.read_text(encoding="ascii").strip())
    except UnicodeDecodeError:
        raise ProvisionError(f"{path} must be ASCII") from None
    except ValueError as error:
        raise ProvisionError(f"{path} {error}") from None


def read_targets(folder: Path) -> dict[str, Target]:
    """Return the target of each login role. Raises OSError and ProvisionError."""
    return {role: read_url(url_file(folder, role)) for role in LOGIN_ROLES}


def check_passwords(paths: Sequence[Path], database: str) -> None:
    """Refuse a weak password that an operator wrote into a file. Generated passwords pass.

    Raises ProvisionError with the file and each broken rule.
    """
    for path in paths:
        if not path.exists():
            continue
        target = read_url(path)
        password = target.password.reveal() if target.password else ""
        rules = [*broken_rules(password, (target.user, target.database, database))]
        if not (password.isascii() and password.isprintable()):
            # Drivers apply SASLprep to other characters, which our verifier does not.
            rules.append("must consist of printable ASCII characters")
        if rules:
            raise ProvisionError(f"{path}: the password {', and '.join(rules)}")
