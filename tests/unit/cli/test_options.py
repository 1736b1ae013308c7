"""Options that several commands share."""

from datetime import datetime

import pytest
import typer

from app.cli.options import local_time


def test_time_without_zone_is_local() -> None:
    at = datetime(2026, 11, 24, 12)  # noqa: DTZ001 - as typer reads it

    assert local_time(at).timestamp() == at.timestamp()
    assert local_time(at).tzinfo is not None


def test_time_before_calendar_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="no such time"):
        local_time(datetime.min)  # noqa: DTZ901
