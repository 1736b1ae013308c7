"""Options that several commands share."""

from datetime import datetime

import pytest
import typer

from app.cli.options import local_time


def test_a_time_without_a_zone_is_of_this_machine() -> None:
    at = datetime(2026, 11, 24, 12)  # noqa: DTZ001 - as typer reads it

    assert local_time(at).timestamp() == at.timestamp()
    assert local_time(at).tzinfo is not None


def test_the_beginning_of_the_calendar_is_refused_in_words() -> None:
    with pytest.raises(typer.BadParameter, match="no such time"):
        local_time(datetime.min)  # noqa: DTZ901
