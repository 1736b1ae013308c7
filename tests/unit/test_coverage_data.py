import sqlite3
import warnings
from pathlib import Path

import pytest
from coverage import Coverage, CoverageData

from tests.coverage_data import remove_damaged

FILES = 50


def _write(file: Path) -> None:
    data = CoverageData(str(file))
    data.add_arcs({f"/{n}.py": [(line, line + 1) for line in range(50)] for n in range(FILES)})
    data.close()


def _combine(folder: Path) -> set[str]:
    combined = Coverage(data_file=str(folder / ".coverage"), config_file=False)
    with warnings.catch_warnings(action="error"):
        combined.combine([str(folder)])
    return combined.get_data().measured_files()


@pytest.mark.parametrize("part", [0.0, 0.1, 0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("is_zeroed", [False, True])
def test_combine_succeeds_with_data_of_a_killed_process(
    tmp_path: Path, part: float, *, is_zeroed: bool
) -> None:
    whole, damaged = tmp_path / ".coverage.whole", tmp_path / ".coverage.damaged"
    _write(whole)
    content = whole.read_bytes()
    length = int(len(content) * part)
    rest = bytes(len(content) - length) if is_zeroed else b""
    damaged.write_bytes(content[:length] + rest)

    remove_damaged(tmp_path)

    assert not damaged.exists()
    assert len(_combine(tmp_path)) == FILES


def test_combine_succeeds_with_data_that_has_no_tables_yet(tmp_path: Path) -> None:
    _write(tmp_path / ".coverage.whole")
    (tmp_path / ".coverage.empty").touch()
    for n, table in enumerate(("arc", "tracer", "meta")):
        file = tmp_path / f".coverage.{n}"
        _write(file)
        with sqlite3.connect(file) as connection:
            connection.execute(f"drop table {table}")

    remove_damaged(tmp_path)

    assert len(_combine(tmp_path)) == FILES
