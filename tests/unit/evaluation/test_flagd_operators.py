"""flagd's operators on strings: `sem_ver`, `starts_with` and `ends_with`."""

from typing import Any

import pytest
import semver
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.semver import COMPARISONS
from tests.unit.evaluation.rules import result, var

VERSIONS = st.builds(
    "{}.{}.{}{}{}".format,
    *[st.integers(0, 12)] * 3,
    st.sampled_from(["", "", "-alpha", "-alpha.1", "-alpha.beta", "-1", "-10", "-2", "-0a", "--"]),
    st.sampled_from(["", "", "+build", "+1.0"]),
)


def compared(left: Any, comparison: Any, right: Any) -> Any:
    """Return the result of sem_ver, which must be the same for literals and attributes."""
    fixed = result({"sem_ver": [var("left"), comparison, right]}, {"left": left})
    values = {"left": left, "comparison": comparison, "right": right}
    assert result({"sem_ver": [var(name) for name in values]}, values) is fixed
    return fixed


@given(left=VERSIONS, right=VERSIONS)
def test_version_order_equals_semver_library(left: str, right: str) -> None:
    first, second = semver.Version.parse(left), semver.Version.parse(right)

    expected = {
        "=": first == second,
        "!=": first != second,
        "<": first < second,
        "<=": first <= second,
        ">": first > second,
        ">=": first >= second,
        "^": first.major == second.major,
        "~": (first.major, first.minor) == (second.major, second.minor),
    }

    assert expected.keys() == COMPARISONS.keys()
    assert {name: compared(left, name, right) for name in COMPARISONS} == expected


@pytest.mark.parametrize(
    ("left", "comparison", "right", "expected"),
    [
        ("v1.2.3", "=", "V1.2.3", True),
        ("1", "=", "1.0.0", True),
        ("1.2", "<", "1.2.1", True),
        ("1+build", "=", "1.0.0", True),
        (1, "=", "1.0.0", True),
        (1.0, "=", "1.0.0", True),
        (1.10, "=", "1.1.0", True),
        ("1.0.0+a", "=", "1.0.0+b", True),
        ("1.0.0-rc.1", "<", "1.0.0", True),
        ("1.0.0-9", "<", "1.0.0-10", True),
        ("1.0.0-10", "<", "1.0.0-a", True),
        ("1.0.0-a.b", ">", "1.0.0-a", True),
        ("1.9.0", "^", "1.10.0-x", True),
        ("2.0.0", "^", "1.9.9", False),
        ("1.2.9", "~", "1.2.0", True),
        ("1.3.0", "~", "1.2.9", False),
        ("1-beta", "=", "1.0.0-beta", None),
        ("1.2.3.4", "=", "1.2.3", None),
        ("01.2.3", "=", "1.2.3", None),
        ("1.2.3-01", "=", "1.2.3-1", None),
        ("1.2.3-", "=", "1.2.3", None),
        ("1.2.3\n", "=", "1.2.3", None),
        (" 1.2.3", "=", "1.2.3", None),
        ("", "=", "1.2.3", None),
        ("\u0661.0.0", "=", "1.0.0", None),
        ("1.2.3-" + "a" * 300, ">", "1.0.0", None),
        (True, "=", "1.0.0", None),
        (None, "=", "1.0.0", None),
        (["1.0.0"], "=", "1.0.0", None),
        ("1.0.0", "==", "1.0.0", None),
        ("1.0.0", None, "1.0.0", None),
        ("1.0.0", "=", "latest", None),
        (1e21, "=", "1.0.0", None),
    ],
)
def test_invalid_version_has_no_order(
    left: Any, comparison: Any, right: Any, expected: Any
) -> None:
    assert compared(left, comparison, right) is expected


@pytest.mark.parametrize("arguments", [[], ["1.0.0"], ["1.0.0", "="], ["1", "=", "1", "1"], "1"])
def test_sem_ver_other_operand_count_gives_null(arguments: Any) -> None:
    assert result({"sem_ver": arguments}) is None


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("abc", "ab", {"starts_with": True, "ends_with": False}),
        ("abc", "bc", {"starts_with": False, "ends_with": True}),
        ("abc", "", {"starts_with": True, "ends_with": True}),
        ("", "a", {"starts_with": False, "ends_with": False}),
        ("x" * 200, "x" * 150, {"starts_with": True, "ends_with": True}),
        (1, "1", {"starts_with": None, "ends_with": None}),
        ("1", 1, {"starts_with": None, "ends_with": None}),
        (None, "a", {"starts_with": None, "ends_with": None}),
        (["abc"], "ab", {"starts_with": None, "ends_with": None}),
    ],
)
def test_affix_of_other_types_gives_null(left: Any, right: Any, expected: Any) -> None:
    for name in expected:
        assert result({name: [var("left"), right]}, {"left": left}) is expected[name]
        assert result({name: [left, var("right")]}, {"right": right}) is expected[name]


@pytest.mark.parametrize("arguments", [[], ["a"], ["a", "a", "a"], "a"])
def test_starts_with_other_operand_count_gives_null(arguments: Any) -> None:
    assert result({"starts_with": arguments}) is None
    assert result({"ends_with": arguments}) is None
