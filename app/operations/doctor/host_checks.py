"""Checks of this host: settings, keys, backups and free disk space."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.access.local_credentials import has_token_key, token_key
from app.crypto.signing import Signer
from app.names import counted
from app.operations.backups import store
from app.operations.backups.store import Backup
from app.operations.doctor.findings import Finding, absent, failed, passed, warned
from app.operations.doctor.installation import Installation
from app.program import PROGRAM
from app.secrets.key_sources import ring_file, ring_of
from app.secrets.keyring import KeyState
from app.settings import STRICT_TIERS, Tier
from app.settings.review import review
from app.threads import in_thread

_GROUP_AND_OTHERS = 0o077
_FIRST_START = "there is none yet; the first start creates it"
# Without BACKUP_INTERVAL an operator's job makes backups. Expect one per day, allow one miss.
_BACKUP_AGE_MAX = timedelta(days=2)
_VERIFICATION_AGE_MAX = timedelta(days=31)
_VERIFY = f"`{PROGRAM} backup verify` restores one"
_MIB = 1024 * 1024
# The embedded server keeps up to 1 GiB of write-ahead log, and stops when the disk is full.
FREE_WARN_BYTES = 2048 * _MIB
# Space for three generations of snapshots, a draft and a log.
FREE_FAIL_BYTES = 256 * _MIB


async def check_settings(installation: Installation) -> Sequence[Finding]:
    tier, warnings = installation.settings.tier, installation.settings.warnings
    return [
        passed("settings", f"usable in {tier}"),
        *(warned("settings", warning) for warning in warnings if ": the password " not in warning),
    ]


async def check_passwords(installation: Installation) -> Sequence[Finding]:
    findings: list[Finding] = []
    if installation.settings.database.target is None:
        findings.append(passed("passwords", "those of the embedded PostgreSQL are generated"))
    for url, rules in (await in_thread("review", review)).passwords.items():
        name = f"password of {url}"
        if rules is None:
            findings.append(absent(name, "the URL has none"))
        elif rules:
            text = " and ".join(rule.removeprefix("the password ") for rule in rules)
            findings.append(installation.unsafe(name, text))
        else:
            findings.append(passed(name, "long, hard to guess, on no list"))
    return findings


async def check_next_tier(installation: Installation) -> Sequence[Finding]:
    """Check whether the next tier would accept the settings."""
    reviewed = await in_thread("review", review)
    if reviewed.next_tier is None:
        return [absent("settings", f"there is no tier above {installation.settings.tier}")]
    if reviewed.refused:
        return [
            warned(name, f"{reviewed.next_tier} would refuse it: {rule}")
            for name, rule in reviewed.refused
        ]
    return [
        passed("settings", f"{reviewed.next_tier} would start with them"),
        *(warned("settings", f"it would warn: {warning}") for warning in reviewed.warned),
    ]


async def check_key_ring(installation: Installation) -> Sequence[Finding]:
    """Check the key ring and the mode of its file. Creates none."""
    settings = installation.settings
    if settings.keys.command is not None:
        return [absent("key ring", "KEY_COMMAND has the keys")]
    ring, file = ring_of(settings), ring_file(settings)
    if ring is None or not ring.keys:
        because = _FIRST_START if settings.tier is Tier.LOCAL else "KEY_RING is not set"
        return [absent("key ring", f"{because}: until then there are no secrets")]
    retired = sum(key.state is KeyState.RETIRED for key in ring.keys)
    text = f"{counted(len(ring.keys), 'key')}, {retired} of them retired"
    if retired:
        text += ", which can be erased once no backup needs them"
    findings = [passed("key ring", text)]
    if file is not None:
        mode = file.stat().st_mode & 0o777
        text = f"{file} has mode {mode:04o}"
        if mode & _GROUP_AND_OTHERS:
            findings.append(warned("key ring's file", f"{text}: set it to 0600"))
        else:
            findings.append(passed("key ring's file", text))
    return findings


async def check_token_key(installation: Installation) -> Sequence[Finding]:
    """Check whether TOKEN_KEY is set, or its file is in DATA_DIR."""
    if installation.settings.access.token_key is not None:
        return [passed("token key", "is set")]
    if has_token_key(installation.settings):
        return [passed("token key", f"is in {installation.settings.data_dir}")]
    return [warned("token key", _FIRST_START)]


async def check_provider(installation: Installation) -> Sequence[Finding]:
    """Check whether the OpenID Connect provider can be reached, and its document is usable."""
    settings = installation.settings.oidc
    if settings.issuer is None:
        return []
    # Few services need it.
    from app.access.oidc.client import ProviderFault  # noqa: PLC0415
    from app.access.oidc.discovery import address_of  # noqa: PLC0415
    from app.access.oidc.provider import Provider  # noqa: PLC0415

    provider = Provider(settings)
    try:
        await provider.metadata()
    except ProviderFault as fault:
        document = address_of(settings.issuer)
        text = f"cannot sign people in. {fault} The document is {document}"
        return [warned("sign-in provider", text)]
    finally:
        await provider.close()
    return [passed("sign-in provider", "answers, and its keys can be used")]


async def check_backups(installation: Installation) -> Sequence[Finding]:
    """Check the age of the newest backup, and of the last verification."""
    settings = installation.settings
    folder, interval = settings.backups.folder, settings.backups.interval_seconds
    if not has_token_key(settings):
        return [absent("backups", "there is no TOKEN_KEY yet that could sign one")]
    key = Signer(token_key(settings)).public_key
    backups = await in_thread("backups", lambda: store.list_all(folder, key))
    usable = list(store.usable(backups))
    if not usable:
        text = f"no usable backup of this installation in {folder}, out of {len(backups)}"
        is_required = settings.tier in STRICT_TIERS or interval > 0
        return [failed("backups", text) if is_required else absent("backups", f"there is {text}")]
    age_max = timedelta(seconds=2 * interval) if interval else _BACKUP_AGE_MAX
    return [_newest(usable[0], age_max), *_damaged(backups), _verified(usable)]


def _newest(backup: Backup, age_max: timedelta) -> Finding:
    if backup.manifest is None:
        return failed("backups", f"{backup.name} has no manifest")
    age = datetime.now(UTC) - backup.manifest.created_at
    text = f"{backup.name}, {_duration(age)} old, {backup.manifest.bytes} bytes"
    if age > age_max:
        return warned("backups", f"{text}: above {_duration(age_max)}")
    return passed("backups", text)


def _damaged(backups: Sequence[Backup]) -> list[Finding]:
    problems = [backup.problem for backup in backups if backup.problem is not None]
    if not problems:
        return []
    return [warned("damaged backups", f"{len(problems)} of {len(backups)}: {problems[0]}")]


def _verified(backups: Sequence[Backup]) -> Finding:
    verifications = [backup.verification for backup in backups if backup.verification is not None]
    if not verifications:
        text = f"{counted(len(backups), 'backup')}, none was ever restored: {_VERIFY}"
        return warned("proven backups", text)
    age = datetime.now(UTC) - verifications[0].at
    text = f"one was restored {_duration(age)} ago, in {verifications[0].restore_seconds:g} s"
    if age > _VERIFICATION_AGE_MAX:
        return warned("proven backups", f"{text}: {_VERIFY}")
    return passed("proven backups", text)


def _duration(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.1f} h"


async def check_disk(installation: Installation) -> Sequence[Finding]:
    """Check the free space of the disk that has, or will have, DATA_DIR."""
    folder = installation.settings.data_dir
    while not folder.exists():
        folder = folder.parent
    usage = await in_thread("disk", lambda: shutil.disk_usage(folder))
    return [disk_finding(usage.free, usage.total, folder)]


def disk_finding(free: int, total: int, folder: Path) -> Finding:
    text = f"{free // _MIB} MiB free of {total // _MIB} in {folder}"
    if free < FREE_FAIL_BYTES:
        return failed("disk", text)
    if free < FREE_WARN_BYTES:
        return warned("disk", text)
    return passed("disk", text)
