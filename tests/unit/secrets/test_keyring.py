"""The key ring: parsing, changes, and hiding of keys."""

import base64
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from app.cli.key import ring_rows
from app.cli.terminal import show_table
from app.secrets.key_sources import change_ring, wrapper_of
from app.secrets.key_wrapping import KeyMissingError, RingWrapper, Wrapped, read_key_ring
from app.secrets.keyring import (
    RING_BYTES_MAX,
    Key,
    KeyRing,
    KeyRingError,
    KeyState,
    new_key,
    parse_key_ring,
)
from app.settings import load

DAY = date(2026, 11, 24)
TEXT = base64.b64encode(bytes(32)).decode()


def _ring(*states: KeyState) -> KeyRing:
    return KeyRing(tuple(new_key(state, DAY) for state in states))


def test_ring_text_round_trips() -> None:
    ring = _ring(KeyState.DECRYPT, KeyState.ACTIVE, KeyState.RETIRED)

    assert parse_key_ring(ring.text) == ring
    assert parse_key_ring("# a remark\n\n" + ring.text.replace("\n", " ; ")) == ring


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("active", "line 1 must be STATE ID KEY"),
        (f"active a {TEXT} more", "line 1 must be STATE ID KEY"),
        (f"\nactiv a {TEXT}", "line 2: the state must be one of active, decrypt, retired"),
        (f"active A {TEXT}", "line 1: the id must be"),
        (f"active {'a' * 65} {TEXT}", "line 1: the id must be"),
        ("active a c2hvcnQ=", "line 1: the key must be 32 bytes in base64"),
        ("active a not-base64!", "line 1: the key must be 32 bytes in base64"),
        (f"active a {TEXT}\ndecrypt a {TEXT}", "two keys of one id"),
        (f"active a {TEXT}\nactive b {TEXT}", "one active key, and has 2"),
        (f"decrypt a {TEXT}", "one active key, and has 0"),
    ],
)
def test_invalid_ring_error_names_line_and_rule(text: str, rule: str) -> None:
    with pytest.raises(KeyRingError) as refusal:
        parse_key_ring(text)

    assert rule in str(refusal.value)
    assert TEXT not in str(refusal.value)


@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        parse_key_ring(text)
    except KeyRingError:
        return


def test_key_repr_hides_material() -> None:
    key = new_key(KeyState.ACTIVE, DAY)

    assert repr(key.material)[2:-1] not in repr(KeyRing((key,)))


def test_replaced_active_key_still_decrypts() -> None:
    ring = _ring(KeyState.ACTIVE, KeyState.DECRYPT)
    first, second = ring.keys

    after = ring.activated(second.id)

    assert [key.state for key in after.keys] == [KeyState.DECRYPT, KeyState.ACTIVE]
    assert after.get(first.id) is not None


def test_active_key_cannot_be_retired() -> None:
    ring = _ring(KeyState.ACTIVE, KeyState.DECRYPT)
    first, second = ring.keys

    after = ring.retired(second.id)

    assert after.get(second.id) is None
    with pytest.raises(KeyRingError, match="is the active key"):
        ring.retired(first.id)
    with pytest.raises(KeyRingError, match="has no key absent"):
        ring.retired("absent")
    with pytest.raises(KeyRingError, match="to use"):
        after.activated(second.id)


async def test_active_key_wraps_and_own_key_unwraps() -> None:
    ring = _ring(KeyState.ACTIVE, KeyState.DECRYPT)
    first, second = ring.keys
    wrapper, material = RingWrapper(ring), os.urandom(32)

    wrapped = await wrapper.wrap(material, "local", bytes(8))
    later = RingWrapper(ring.activated(second.id))

    assert wrapped.kek_id == first.id
    assert await later.unwrap(wrapped) == material
    assert (await later.wrap(material, "local", bytes(8))).kek_id == second.id


async def test_missing_key_and_other_key_are_distinguished() -> None:
    ring = _ring(KeyState.ACTIVE)
    wrapped = await RingWrapper(ring).wrap(os.urandom(32), "local", bytes(8))
    same_id = Key(id=ring.keys[0].id, state=KeyState.ACTIVE, material=os.urandom(32))

    for other, reason in ((_ring(KeyState.ACTIVE), "is not in"), (KeyRing((same_id,)), "another")):
        with pytest.raises(KeyMissingError, match=reason) as refusal:
            await RingWrapper(other).unwrap(wrapped)
        assert refusal.value.kek_id == ring.keys[0].id


async def test_empty_ring_cannot_wrap() -> None:
    with pytest.raises(KeyMissingError):
        await RingWrapper(KeyRing()).wrap(os.urandom(32), "local", bytes(8))


async def test_ring_file_change_reloads_unless_invalid(tmp_path: Path) -> None:
    file, ring = tmp_path / "ring", _ring(KeyState.ACTIVE, KeyState.DECRYPT)
    file.write_text(ring.text)
    wrapper = RingWrapper(read_key_ring(file), file)
    wrapped = await wrapper.wrap(os.urandom(32), "local", bytes(8))

    file.write_text("nonsense, which is longer")
    await wrapper.unwrap(wrapped)
    problems = [wrapper.problem]

    after = ring.activated(ring.keys[1].id)
    file.write_text(after.text)
    assert (await wrapper.wrap(os.urandom(32), "local", bytes(8))).kek_id == ring.keys[1].id
    problems.append(wrapper.problem)

    file.unlink()
    await wrapper.unwrap(wrapped)
    problems.append(wrapper.problem)

    assert problems == [
        "line 1 must be STATE ID KEY",
        None,
        "the file cannot be read: no such file or directory",
    ]


def test_missing_ring_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(KeyRingError, match="no such file"):
        read_key_ring(tmp_path / "nothing")


def test_ring_file_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ring")

    with pytest.raises(KeyRingError, match="cannot be read"):
        read_key_ring(tmp_path / "ring")


def test_ring_file_too_long_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ring"
    file.write_text(_ring(KeyState.ACTIVE).text + "#\n" * RING_BYTES_MAX)

    with pytest.raises(KeyRingError, match="cannot be read"):
        read_key_ring(file)


def test_concurrently_added_keys_are_all_stored(tmp_path: Path) -> None:
    """A key lost by a concurrent write may already have wrapped a data key."""
    path = tmp_path / "folder" / "ring"

    def add(_: int) -> str:
        def with_new(ring: KeyRing) -> KeyRing:
            state = KeyState.DECRYPT if ring.keys else KeyState.ACTIVE
            return ring.with_key(new_key(state, DAY))

        return change_ring(path, with_new).keys[-1].id

    with ThreadPoolExecutor(8) as pool:
        added = set(pool.map(add, range(8)))

    assert {key.id for key in read_key_ring(path).keys} == added
    assert len(added) == 8
    assert [entry.name for entry in path.parent.iterdir()] == ["ring"]


def test_linked_ring_file_is_changed_at_target(tmp_path: Path) -> None:
    file, link = tmp_path / "real", tmp_path / "link"
    file.write_text(_ring(KeyState.ACTIVE, KeyState.DECRYPT).text)
    link.symlink_to(file)

    after = change_ring(link, lambda ring: ring.activated(ring.keys[1].id))

    assert link.is_symlink()
    assert file.read_text() == after.text


@pytest.mark.parametrize(("mode", "warned"), [(0o600, 0), (0o440, 0), (0o644, 1), (0o660, 1)])
def test_ring_file_open_to_others_is_logged(tmp_path: Path, mode: int, warned: int) -> None:
    file = tmp_path / "ring"
    file.write_text(_ring(KeyState.ACTIVE).text)
    file.chmod(mode)

    with capture_logs() as logged:
        wrapper_of(load({"KEY_RING_FILE": str(file)}))

    assert [line["event"] for line in logged].count("key_ring_open") == warned


def test_key_id_with_markup_is_shown_literally(capsys: pytest.CaptureFixture[str]) -> None:
    for ring, ids in ((None, ("kms[red]/1", "kms[/x]")), (_ring(KeyState.ACTIVE), ("other",))):
        show_table(("key", "state", "data keys"), ring_rows(ring, Counter(ids)))

    text = capsys.readouterr().out
    assert all(part in text for part in ("kms[red]/1", "kms[/x]", "missing"))


def test_wrapped_key_repr_hides_content() -> None:
    wrapped = Wrapped(environment="e", id=b"", kek_id="k", wrapped=b"CONTENT")

    assert "CONTENT" not in repr(wrapped)
