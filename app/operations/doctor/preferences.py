"""The settings: what they warn of, their passwords, and what the next tier would refuse."""

from collections.abc import Sequence

from app.operations.doctor.findings import Finding, absent, failed, passed, warned
from app.operations.doctor.patient import Patient
from app.settings import STRICT_TIERS
from app.settings.review import Review, review
from app.threads import in_thread


async def look_at_settings(patient: Patient) -> Sequence[Finding]:
    tier, warnings = patient.settings.tier, patient.settings.warnings
    return [
        passed("settings", f"usable in {tier}"),
        *(warned("settings", warning) for warning in warnings if ": the password " not in warning),
    ]


async def look_at_passwords(patient: Patient) -> Sequence[Finding]:
    found: list[Finding] = []
    if patient.settings.database.target is None:
        found.append(passed("passwords", "those of the embedded PostgreSQL are generated"))
    for url, rules in (await _reviewed(patient)).passwords.items():
        if rules is None:
            found.append(absent(f"password of {url}", "there is none in it"))
        elif rules:
            verdict = failed if patient.settings.tier in STRICT_TIERS else warned
            told = " and ".join(rule.removeprefix("the password ") for rule in rules)
            found.append(verdict(f"password of {url}", told))
        else:
            found.append(passed(f"password of {url}", "long, hard to guess, on no list"))
    return found


async def look_at_next_tier(patient: Patient) -> Sequence[Finding]:
    reviewed = await _reviewed(patient)
    if reviewed.next_tier is None:
        return [absent("settings", f"there is no tier above {patient.settings.tier}")]
    if reviewed.refused:
        return [
            warned(name, f"{reviewed.next_tier} would refuse it: {rule}")
            for name, rule in reviewed.refused
        ]
    return [
        passed("settings", f"{reviewed.next_tier} would start with them"),
        *(warned("settings", f"it would say: {warning}") for warning in reviewed.warned),
    ]


async def _reviewed(patient: Patient) -> Review:
    if patient.review is None:
        patient.review = await in_thread("review", review)
    return patient.review
