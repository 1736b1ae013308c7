"""This machine: whether there is room for what it writes."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from app.operations.doctor.findings import Finding, failed, passed, warned
from app.operations.doctor.patient import Patient
from app.threads import in_thread

_MIB = 1024 * 1024
# The embedded server keeps up to 1 GiB of write-ahead log by itself, and stops on a full disk.
ROOM_WARN_BYTES = 2048 * _MIB
# Snapshots, of which three generations and a draft lie beside each other, and a log.
ROOM_FAIL_BYTES = 256 * _MIB


async def look_at_disk(patient: Patient) -> Sequence[Finding]:
    """Look at the room where DATA_DIR is, or would be made."""
    folder = patient.settings.data_dir
    while not folder.exists():
        folder = folder.parent
    usage = await in_thread("disk", lambda: shutil.disk_usage(folder))
    return [room_finding(usage.free, usage.total, folder)]


def room_finding(free: int, total: int, folder: Path) -> Finding:
    """Judge the bytes that are left."""
    text = f"{free // _MIB} MiB free of {total // _MIB} in {folder}"
    if free < ROOM_FAIL_BYTES:
        return failed("disk", text)
    if free < ROOM_WARN_BYTES:
        return warned("disk", text)
    return passed("disk", text)
