"""The answers to errors that are prepared as bytes."""

import pytest

from app import errors
from app.http.problems import STATUS, encoded_error, of_error


def _errors() -> list[errors.AppError]:
    plain = [
        kind("some_code", 'A text with "quotes", é and %d.')
        for kind in STATUS
        if kind
        not in {errors.ApprovalRequired, errors.Unauthenticated, errors.Stale, errors.Misdirected}
    ]
    return [
        *plain,
        errors.Unauthenticated("token_refused", "Send a token.", reason="absent"),
        errors.LimitExceeded("attempts_exceeded", "Too many.", retry_after_seconds=42),
        errors.LimitExceeded("attempts_exceeded", "Too many.", retry_after_seconds=41),
        errors.Unavailable("starting", "x" * 3_000),
        errors.malformed("limit", "must be a whole number"),
        errors.Misdirected("https://core.example.com"),
        errors.Misdirected("https://other.example.com"),
        errors.Stale("It has changed.", version=3, epoch="12345678-1234"),
    ]


@pytest.mark.parametrize("error", _errors(), ids=lambda error: type(error).__name__)
def test_prepared_error_equals_the_error(error: errors.AppError) -> None:
    expected = of_error(error, "id-1.2_A")

    for _ in range(2):
        response = encoded_error(error, "id-1.2_A")

        lines = response.head.decode().removesuffix("\r\n").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert response.status == expected.status
        assert response.parts == (expected.body,)
        assert headers == {
            **expected.headers,
            "Content-Type": expected.content_type,
            "Content-Length": str(len(response.parts[0])),
        }
