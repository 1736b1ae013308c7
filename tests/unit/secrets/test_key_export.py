"""A key ring is exported and imported completely or not at all, and never shown."""

import stat
from datetime import UTC, date, datetime
from pathlib import Path

import pyrage
import pytest
from pyrage import x25519

from app.crypto.identity import new_identity, parse_identity
from app.crypto.sealed import SealedError
from app.private_files import write_new
from app.secrets.key_export import open_key_ring, seal_key_ring
from app.secrets.key_sources import change_ring
from app.secrets.keyring import KEYS_MAX, KeyRing, KeyRingError, KeyState, new_key
from tests.commands import run_command

TODAY = date(2026, 11, 24)
NOW = datetime(2026, 11, 24, tzinfo=UTC)
IDENTITY, RECIPIENT = new_identity(NOW)
OTHER_IDENTITY, OTHER = new_identity(NOW)
RING = KeyRing(
    tuple(new_key(state, TODAY) for state in (KeyState.RETIRED, KeyState.ACTIVE, KeyState.DECRYPT))
)
RETIRED, ACTIVE, DECRYPT = RING.keys


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "identity").write_text(IDENTITY)
    (tmp_path / "other").write_text(OTHER_IDENTITY)
    for name in ("identity", "other"):
        (tmp_path / name).chmod(0o600)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/key-ring").write_text(RING.text)
    (tmp_path / "ring.age").write_text(seal_key_ring(RING, [RECIPIENT]))
    return tmp_path


def ran(*words: str, **environ: str) -> tuple[int, str]:
    """Run a command of `key`; return its exit code and all of its output."""
    result = run_command("key", *words, **{"DATA_DIR": "data", **environ})
    text = result.output + result.errors
    assert not any(key.line.split()[2] in text for key in RING.keys)
    return result.code, text


def test_export_opens_for_each_recipient_and_with_age(folder: Path) -> None:
    recipients = ("--recipient", RECIPIENT, "--recipient", OTHER)

    code, output = ran("export", *recipients, "out.age")

    file = folder / "out.age"
    assert (code, "out.age has the key ring, keys: 3" in output) == (0, True)
    assert "warning: not in the access log: there is no database yet" in output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(folder.glob("out.age.*"))
    for identity in (IDENTITY, OTHER_IDENTITY):
        key = x25519.Identity.from_str(identity.split()[-1])
        assert pyrage.decrypt(file.read_bytes(), [key]).decode() == RING.text


def test_export_needs_recipient_and_new_file(folder: Path) -> None:
    before = (folder / "ring.age").read_text()

    taken = ran("export", "--recipient", RECIPIENT, "ring.age")
    wrong = ran("export", "--recipient", "age1nobody", "out.age")
    nowhere = ran("export", "--recipient", RECIPIENT, "nowhere/out.age")
    nobody = ran("export", "out.age")

    # The access log has no row for it.
    assert taken == (1, "error: ring.age exists already and was not changed\n")
    assert (folder / "ring.age").read_text() == before
    assert wrong == (1, "error: --recipient: must be sealed for age recipients, age1…\n")
    assert nowhere[1].endswith("error: FILE: cannot be written: no such file or directory\n")
    assert nobody[0] == 2
    assert not (folder / "out.age").exists()


def test_concurrent_export_second_is_refused(folder: Path) -> None:
    """The check before the write finds no file; the given name is used."""
    with pytest.raises(FileExistsError):
        write_new(folder / "identity", "another")

    assert (folder / "identity").read_text() == IDENTITY
    assert not list(folder.glob("identity.*"))


def test_ring_in_variable_exports_but_does_not_import(folder: Path) -> None:
    exported = ran("export", "--recipient", RECIPIENT, "out.age", KEY_RING=RING.text)
    imported = ran("import", "out.age", "--identity", "identity", KEY_RING=RING.text)

    assert exported[0] == 0
    identity = parse_identity(IDENTITY)
    assert open_key_ring((folder / "out.age").read_bytes(), identity) == RING
    assert imported[0] == 1
    assert "KEY_RING_FILE: must name the key ring's file" in imported[1]


def test_export_with_key_command_is_refused() -> None:
    exported = ran("export", "--recipient", RECIPIENT, "out.age", KEY_COMMAND="/bin/true")
    imported = ran("import", "ring.age", "--identity", "identity", KEY_COMMAND="/bin/true")

    assert exported == (1, "error: KEY_COMMAND: has the keys: there is no key ring to export\n")
    assert imported[0] == 1
    assert imported[1].startswith("error: KEY_COMMAND: has the keys: there is no file")


def test_export_without_ring_is_refused() -> None:
    code, output = ran("export", "--recipient", RECIPIENT, "out.age", DATA_DIR="elsewhere")

    assert (code, output) == (1, "error: KEY_RING: must be set: there is no key ring to export\n")
    assert not Path("elsewhere").exists()


@pytest.mark.parametrize("place", ["data_dir", "variable"])
def test_import_without_ring_creates_it(folder: Path, place: str) -> None:
    """Every other command refuses a KEY_RING_FILE that does not exist."""
    file = folder / "new" / "key-ring"
    environ = {"DATA_DIR": "new"} if place == "data_dir" else {"KEY_RING_FILE": str(file)}

    code, output = ran("import", "ring.age", "--identity", "identity", **environ)

    assert code == 0, output
    assert file.read_text() == RING.text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("target", ["elsewhere/ring", "loop"])
def test_import_through_dangling_link_creates_target(folder: Path, target: str) -> None:
    (folder / "new").mkdir()
    (folder / "new/key-ring").symlink_to(folder / target)
    (folder / "loop").symlink_to(folder / "loop")

    code, output = ran("import", "ring.age", "--identity", "identity", DATA_DIR="new")

    if target == "loop":
        assert (code, "try again" in output) == (1, True)
    else:
        assert (code, (folder / target).read_text()) == (0, RING.text)
        assert (folder / "new/key-ring").is_symlink()


def test_import_ring_created_meanwhile_is_refused(
    folder: Path,
) -> None:
    file = folder / "new" / "key-ring"

    def meanwhile(_: KeyRing) -> KeyRing:
        file.write_text("of the service\n")
        return RING

    with pytest.raises(KeyRingError, match="was created by another process; try again"):
        change_ring(file, meanwhile)

    assert file.read_text() == "of the service\n"


def test_import_into_invalid_ring_names_the_ring(folder: Path) -> None:
    (folder / "data/key-ring").write_text(f"retired {RETIRED.id} {'A' * 43}=\n")

    code, output = ran("import", "ring.age", "--identity", "identity")

    assert (code, output) == (1, "error: KEY_RING: must have one active key, and has 0\n")


def test_import_adds_missing_keys(folder: Path) -> None:
    ours = new_key(KeyState.ACTIVE, TODAY)
    file = folder / "data/key-ring"
    file.write_text(KeyRing((ours,)).with_missing(KeyRing((RETIRED,))).text)

    first = ran("import", "ring.age", "--identity", "identity")
    second = ran("import", "ring.age", IDENTITY_FILE="identity")

    assert (first[0], second[0]) == (0, 0)
    assert "data/key-ring has every key of the file already" in second[1]
    assert [line.split()[:2] for line in file.read_text().splitlines()] == [
        *(["active", ours.id], ["retired", RETIRED.id]),
        *(["decrypt", ACTIVE.id], ["decrypt", DECRYPT.id]),
    ]


def test_import_above_key_limit_is_refused() -> None:
    ours = [new_key(KeyState.ACTIVE, TODAY)]
    ours += [new_key(KeyState.DECRYPT, TODAY) for _ in range(KEYS_MAX - len(RING.keys))]

    with pytest.raises(KeyRingError, match="must not have more than 1000 keys"):
        KeyRing(tuple(ours)).with_missing(RING)
    assert len(KeyRing(tuple(ours[1:])).with_missing(KeyRing(RING.keys[1:])).keys) == KEYS_MAX - 1


def test_import_other_key_with_same_id_is_refused(folder: Path) -> None:
    ours = KeyRing((new_key(KeyState.ACTIVE, TODAY),)).text
    mixed = ours + f"decrypt {DECRYPT.id} {'A' * 43}=\n"
    (folder / "data/key-ring").write_text(mixed)

    code, output = ran("import", "ring.age", "--identity", "identity")

    assert code == 1
    assert output == f"error: FILE: {DECRYPT.id} has different key material in the two key rings\n"
    assert (folder / "data/key-ring").read_text() == mixed


def test_import_unopenable_file_creates_nothing(folder: Path) -> None:
    (folder / "plain").write_text(RING.text)
    (folder / "empty").write_text("")
    recipient = x25519.Recipient.from_str(RECIPIENT)
    (folder / "nonsense").write_bytes(pyrage.encrypt(b"nonsense", [recipient]))
    (folder / "nothing").write_bytes(pyrage.encrypt(b"# no key\n", [recipient]))

    for words, rule in (
        (("ring.age", "--identity", "other"), "FILE: is sealed for other recipients"),
        (("ring.age", "--identity", "missing"), "--identity: IDENTITY_FILE must be readable"),
        (("ring.age",), "identity: IDENTITY_FILE must be set"),
        (("plain", "--identity", "identity"), "FILE: must be an age file"),
        (("empty", "--identity", "identity"), "FILE: must be an age file"),
        (("nonsense", "--identity", "identity"), "FILE: line 1 must be STATE ID KEY"),
        (("nothing", "--identity", "identity"), "FILE: holds no key"),
        (("missing", "--identity", "identity"), "FILE: cannot be read: no such file"),
        ((".", "--identity", "identity"), "FILE: cannot be read: "),
    ):
        code, output = ran("import", *words, DATA_DIR="new")
        assert (code, output.startswith(f"error: {rule}")) == (1, True), output
    assert not (folder / "new").exists()


def test_export_changed_byte_is_refused() -> None:
    identity = parse_identity(IDENTITY)
    armored = seal_key_ring(RING, [RECIPIENT]).encode()
    binary = pyrage.encrypt(RING.text.encode(), [x25519.Recipient.from_str(RECIPIENT)])

    assert open_key_ring(armored, identity) == open_key_ring(binary, identity) == RING
    for place in range(len(binary)):
        flipped = bytearray(binary)
        flipped[place] ^= 1 << place % 8
        for changed in (bytes(flipped), binary[:place]):
            with pytest.raises((SealedError, KeyRingError)):
                open_key_ring(changed, identity)
    for place in range(len(armored.rstrip())):
        with pytest.raises((SealedError, KeyRingError)):
            open_key_ring(armored[:place], identity)
