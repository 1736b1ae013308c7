"""Test the strict check of the migration files, which comes before yoyo reads them."""

import hashlib
import json
from pathlib import Path

import pytest

from app.database.migrations.files import (
    FOLDER,
    MigrationError,
    MigrationFile,
    new_files,
    read_files,
)
from app.database.roles.rights import SEQUENCES, TABLES

NAME = "1795384800000-CreateThings"
UP = "-- Why.\n-- type: schema\n-- phase: core\ncreate table things (id int);\n"
DOWN = "drop table things;\n"
# Digests of the lists in rights.py, by the migration that changed them. Append only.
RIGHTS = {
    "1795890000401-AddEnvironmentDeletionTriggers": "8888517f54b6c007",
    "1795903575587-CreateSignInCodesTable": "9baf2309fa86d6a2",
    "1795904948554-CreateFlagUsageHoursTable": "ab9a9bbfadfaa970",
    "1795941324255-ValidateChangeSetKinds": "4392e1920a068605",
    "1795941528822-CreateListTables": "20983df4d818a54a",
    "1795943050000-CreatePlanStepsTable": "6a53b7ae118b1f89",
    "1795953227229-CreatePeopleTables": "93306ad00cffae91",
    "1795954003846-CreateOidcTables": "c63b68aa0bd7ce3b",
    "1795956000001-AddProposalAuthorsIndex": "b0ec9f5d3ea6fc38",
    "1795969820000-AddAccessEditions": "f59391a650351b45",
    "1795978015760-AddLocks": "6afd239cc5a12a0e",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, name: str = NAME, up: str | bytes = UP, down: str | bytes = DOWN) -> None:
    for ending, content in ((".sql", up), (".rollback.sql", down)):
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}{ending}").write_bytes(raw)


def checksum(folder: Path, **files: str | bytes) -> str:
    write(folder, **files)  # type: ignore[arg-type]
    (file,) = read_files(folder)
    return file.checksum


def refusal(folder: Path) -> str:
    with pytest.raises(MigrationError) as caught:
        read_files(folder)
    return str(caught.value)


def test_our_migrations_are_valid() -> None:
    files = read_files()

    assert [file.timestamp for file in files] == sorted({file.timestamp for file in files})
    assert len(files) == len(list(FOLDER.iterdir())) // 2


def test_migration_has_name_time_kind_and_phase(folder: Path) -> None:
    write(folder)

    (file,) = read_files(folder)

    assert file == MigrationFile(
        name=NAME,
        timestamp=1795384800000,
        kind="schema",
        phase="core",
        checksum=file.checksum,
        up=UP,
        down=DOWN,
    )
    assert len(file.checksum) == 64


def test_migrations_are_ordered_by_time(folder: Path) -> None:
    names = ["1795384800002-A", "1795384800010-B", "1795384800001-C"]
    for name in names:
        write(folder, name)

    assert [file.name for file in read_files(folder)] == [names[2], names[0], names[1]]


def test_empty_folder_is_refused(folder: Path) -> None:
    assert refusal(folder) == f"there are no migrations in {folder.name}/"


@pytest.mark.parametrize(
    "name",
    [
        "179538480000-CreateThings.sql",
        "17953848000000-CreateThings.sql",
        "0795384800000-CreateThings.sql",
        "\u0661795384800000-CreateThings.sql",
        "1795384800000_CreateThings.sql",
        "1795384800000-createThings.sql",
        "1795384800000-Create-Things.sql",
        "1795384800000-Create_Things.sql",
        "1795384800000-.sql",
        "CreateThings.sql",
        "1795384800000-CreateThings.SQL",
        "1795384800000-CreateThings.py",
        "1795384800000-CreateThings.down.sql",
        "1795384800000-CreateThings.sql.bak",
        "1795384800000-CreateThings",
        "README.md",
        ".hidden",
    ],
)
def test_misnamed_file_is_refused_by_name(folder: Path, name: str) -> None:
    """Without the check, yoyo would accept the file, or ignore it silently."""
    write(folder)
    (folder / name).write_text(UP)

    assert refusal(folder).startswith(f"{name} is misnamed")


@pytest.mark.parametrize("ending", [".sql", ".rollback.sql"])
def test_unpaired_file_is_refused(folder: Path, ending: str) -> None:
    write(folder)
    (folder / f"{NAME}{ending}").unlink()

    other = ".rollback.sql" if ending == ".sql" else ".sql"
    assert refusal(folder) == f"{NAME}{other} is unpaired: there is no {NAME}{ending}"


def test_equal_timestamps_are_refused(folder: Path) -> None:
    write(folder, "1795384800000-CreateOthers")
    write(folder, "1795384800000-CreateThings")

    assert refusal(folder) == (
        "1795384800000-CreateThings has the same timestamp as 1795384800000-CreateOthers"
    )


@pytest.mark.parametrize(
    ("up", "header"),
    [
        ("-- phase: core\n", "type"),
        ("-- type: schema\n", "phase"),
        ("", "type"),
        ("-- type: schemas\n-- phase: core\n", "type"),
        ("-- type: schema\n-- phase: other\n", "phase"),
        ("-- type:schema\n-- phase: core\n", "type"),
        ("--type: schema\n-- phase: core\n", "type"),
        ("-- type: schema phase: core\n", "type"),
    ],
)
def test_missing_header_is_refused(folder: Path, up: str, header: str) -> None:
    write(folder, up=up)

    assert refusal(folder).startswith(f"{NAME} needs a line '-- {header}: ")


def test_rollback_file_needs_no_headers(folder: Path) -> None:
    write(folder, down="")

    assert len(read_files(folder)) == 1


@pytest.mark.parametrize(
    ("damaged", "name"), [("up", f"{NAME}.sql"), ("down", f"{NAME}.rollback.sql")]
)
def test_byte_order_mark_is_refused_by_name(folder: Path, damaged: str, name: str) -> None:
    text = UP if damaged == "up" else DOWN
    write(folder, **{damaged: b"\xef\xbb\xbf" + text.encode()})  # type: ignore[arg-type]

    assert refusal(folder).startswith(f"{name} begins with a byte order mark")


def test_other_encoding_is_refused_by_name(folder: Path) -> None:
    write(folder, down=b"-- \xe9\n")

    assert refusal(folder) == f"{NAME}.rollback.sql is not UTF-8"


@pytest.mark.parametrize(
    "statement",
    [
        "begin;",
        "BEGIN;",
        "  commit;",
        "\tRollback ;",
        "start transaction;",
        "START\n  TRANSACTION isolation level serializable;",
        "begin isolation level serializable;",
        "end;",
        "savepoint a;",
        "rollback to savepoint a;",
        "commit and chain;",
        "abort;",
        "release savepoint a;",
        "prepare transaction 'a';",
        "select 1; commit;",
        "commit",
        "/* why */ commit;",
        "do $$ begin end $$; commit;",
        "-- it costs $$\ncommit;",
        "comment on table things is '$$';\ncommit;",
    ],
)
@pytest.mark.parametrize("where", ["up", "down"])
def test_transaction_control_is_refused(folder: Path, statement: str, where: str) -> None:
    """After a commit within the file, a failure would leave a partial migration unrecorded."""
    write(folder, **{where: f"{UP}{statement}\n"})

    ending = ".sql" if where == "up" else ".rollback.sql"
    assert (
        refusal(folder) == f"{NAME}{ending} controls transactions; remove that, the runner does it"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "create function f() returns int language plpgsql as $$\nbegin\n  return 1;\nend;\n$$;",
        "do $$\nbegin\n  commit;\nend;\n$$;\ndo $$\nbegin\n  null;\nend\n$$;",
        "create function f() returns int language plpgsql as $f$\nbegin\n  null;\nend;\n$f$;",
        "create function f() returns int\nbegin atomic\n  select 1;\nend;",
        "create view v as\nselect case\n  when true then 1\nend as one;",
        "-- begin;\nselect 1;",
        "/*\ncommit;\n*/",
        "comment on table things is 'first\ncommit;\nlast';",
        "create table endings (begins int, committed int);",
        "select 1 as beginning;",
        "alter table things\n  alter id drop default;",
    ],
)
def test_text_like_transaction_control_is_accepted(folder: Path, statement: str) -> None:
    write(folder, up=f"{UP}{statement}\n")

    assert len(read_files(folder)) == 1


def test_checksum_changes_with_either_file(folder: Path) -> None:
    checksums = {
        checksum(folder),
        checksum(folder, up=UP + "-- more\n"),
        checksum(folder, down=DOWN + "-- more\n"),
        checksum(folder, up=UP + "\n"),
        checksum(folder, up=UP + DOWN, down=""),
        checksum(folder, up=UP.replace("int", "INT")),
    }

    assert len(checksums) == 6


def test_checksum_ignores_line_endings_and_name(folder: Path) -> None:
    """Git converts line endings, depending on the settings of the machine."""
    before = checksum(folder)

    after = checksum(folder, up=UP.replace("\n", "\r\n"), down=DOWN.replace("\n", "\r\n"))

    assert before == after


def test_headers_with_windows_line_endings_are_read(folder: Path) -> None:
    write(folder, up=UP.replace("\n", "\r\n"))

    (file,) = read_files(folder)

    assert (file.kind, file.phase) == ("schema", "core")


def test_new_pair_is_read_back(folder: Path) -> None:
    pair = new_files("AddOwner", 1795384800000, folder)

    (file,) = read_files(folder)
    assert [path.name for path in pair] == [
        "1795384800000-AddOwner.sql",
        "1795384800000-AddOwner.rollback.sql",
    ]
    assert (file.kind, file.phase) == ("schema", "core")


@pytest.mark.parametrize(
    ("up", "down", "missing"),
    [
        (UP, DOWN, None),
        (UP, "-- Nothing to take back.\n", None),
        (UP, "", f"{NAME}.rollback.sql is empty"),
        (UP.replace("create table things (id int);", " ;"), DOWN, f"{NAME}.sql has no statement"),
        (UP.replace("create", "/* create"), DOWN, None),
        (UP.replace("create", "/* create") + "*/", DOWN, f"{NAME}.sql has no statement"),
    ],
)
def test_template_without_statements_is_incomplete(
    folder: Path, up: str, down: str, missing: str | None
) -> None:
    write(folder, up=up, down=down)

    (file,) = read_files(folder)

    assert (file.missing or "").startswith(missing or "")
    assert bool(file.missing) == bool(missing)


@pytest.mark.parametrize(
    ("title", "timestamp"),
    [("addOwner", 1795384800000), ("Add Owner", 1795384800000), ("", 1), ("AddOwner", 12)],
)
def test_new_pair_needs_a_pascal_case_name(folder: Path, title: str, timestamp: int) -> None:
    with pytest.raises(MigrationError, match="must be PascalCase"):
        new_files(title, timestamp, folder)

    assert list(folder.iterdir()) == []


def test_rights_change_only_with_a_migration() -> None:
    """An older release at the same time leaves the rights unchanged only if the ledger is newer.

    So a change of the rights needs a migration, and a new line in RIGHTS.
    """
    rights = json.dumps([TABLES, SEQUENCES], sort_keys=True)
    names = [file.name for file in read_files()]

    digest = hashlib.sha256(rights.encode()).hexdigest()[:16]
    assert list(RIGHTS.values())[-1] == digest, f'add "{names[-1]}": "{digest}" to RIGHTS'
    assert set(RIGHTS) <= set(names)
