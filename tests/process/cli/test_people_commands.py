"""The commands on people, roles, grants and projects, on a database and on a server."""

import re

import pytest

from tests.process.cli.conftest import Call, NewPerson, Run, comparable
from tests.process.conftest import Process

WHERE = ("--environment", "local", "--key", "payments/limit")
WHY = ("--reason", "on call")
# PERSON and GRANT stand for the IDs.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("person", "list"),
    ("person", "list", "--group", "platform", "--json"),
    ("person", "list", "--search", "nothing"),
    ("person", "show", "PERSON"),
    ("person", "show", "unknown"),
    ("person", "show", "Asha@Example.org"),
    ("person", "show", "sha@example.org"),
    ("role", "list"),
    ("role", "show", "editor"),
    ("role", "show", "none"),
    ("role", "create", "releaser", "--scope", "read", "--scope", "write", *WHY),
    ("role", "create", "releaser", "--scope", "read"),
    ("role", "set", "editor", "--scope", "read", "--confirm", "editor"),
    ("role", "set", "releaser", "--scope", "read"),
    ("role", "set", "releaser", "--scope", "read", "--confirm", "editor"),
    ("role", "set", "releaser", "--scope", "read", "--confirm", "releaser"),
    ("role", "set", "releaser", "--description", "Releases"),
    ("role", "list", "--json"),
    ("grant", "list"),
    ("grant", "create", "releaser", "--environment", "local", *WHY),
    ("grant", "create", "releaser", "--group", "platform", *WHY),
    ("grant", "create", "none", "--group", "platform", "--environment", "local", *WHY),
    ("grant", "create", "releaser", "--group", "platform", "--environment", "nowhere", *WHY),
    ("grant", "create", "releaser", "--person", "none", "--environment", "local", *WHY),
    (
        *("grant", "create", "releaser", "--group", "platform", "--environment", "local"),
        *("--prefix", "payments/", *WHY),
    ),
    ("role", "delete", "releaser", "--confirm", "releaser"),
    ("grant", "list"),
    ("grant", "list", "--group", "platform", "--json"),
    ("grant", "list", "--group", "another"),
    ("person", "show", "PERSON"),
    ("access", "check", "person:PERSON", *WHERE),
    ("access", "check", "person:PERSON", *WHERE, "--json"),
    ("access", "check", "person:PERSON", *WHERE, "--scope", "write"),
    ("access", "check", "group:platform", *WHERE),
    ("access", "check", "person:none", *WHERE),
    ("access", "check", "person:PERSON", "--environment", "none", "--key", "a"),
    ("project", "list"),
    ("project", "create", "payments", "--prefix", "payments/", "--owner-group", "payers", *WHY),
    ("project", "create", "payments", "--prefix", "payments/", "--owner-group", "payers"),
    ("project", "set", "payments"),
    ("project", "set", "payments", "--description", "Cards [b]"),
    ("project", "set", "payments", "--owner-group", "platform"),
    ("project", "set", "payments", "--owner-group", "platform", "--confirm", "payments"),
    ("project", "list"),
    ("project", "show", "payments"),
    ("project", "show", "none"),
    ("grant", "list", "--project", "payments"),
    ("access", "check", "person:PERSON", *WHERE, "--scope", "write"),
    ("person", "suspend", "PERSON", "--reason", "left"),
    ("person", "suspend", "PERSON", "--reason", "left", "--confirm", "PERSON"),
    ("person", "restore", "asha@example.org", "--reason", "is back"),
    ("person", "suspend", "asha@example.org", "--reason", "left", "--confirm", "PERSON"),
    ("person", "suspend", "asha@example.org", *WHY, "--confirm", "asha@example.org"),
    ("person", "list"),
    ("access", "check", "person:PERSON", *WHERE),
    ("person", "restore", "PERSON", "--reason", " "),
    ("person", "restore", "PERSON", "--reason", "is back"),
    ("grant", "revoke", "GRANT", *WHY),
    ("grant", "revoke", "GRANT", *WHY, "--confirm", "GRANT"),
    ("grant", "revoke", "GRANT", *WHY, "--confirm", "GRANT"),
    ("role", "delete", "releaser", "--confirm", "releaser"),
    ("project", "delete", "payments", "--confirm", "another"),
    ("project", "delete", "payments", "--confirm", "payments"),
    ("grant", "history"),
    ("grant", "history", "--event", "role_created", "--json"),
    ("grant", "history", "--subject", "payments", "--limit", "1"),
)


class Database:
    """The commands on one database, with the IDs of its person and its grant."""

    def __init__(self, run: Call, person: str) -> None:
        self._run = run
        self.ids = {"PERSON": person}

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run a command, and return what is equal for each database."""
        result = self._run(*(self._with_ids(word) for word in words), COLUMNS="300")
        if words[:2] == ("grant", "create") and result.code == 0:
            self.ids["GRANT"] = result.output.partition(":")[0]
        return comparable(result, *self.ids.values())

    def _with_ids(self, word: str) -> str:
        return re.sub("PERSON|GRANT", lambda match: self.ids.get(match[0], match[0]), word)


@pytest.mark.slow
async def test_people_commands_print_the_same_on_a_server(
    run: Run, call: Call, new_person: NewPerson, beside: Process
) -> None:
    local = Database(run, new_person("asha", "platform", "staff"))
    served = {**beside.environment, "DATA_DIR": str(beside.data_dir)}
    remote = Database(call, new_person("asha", "platform", "staff", **served))

    for words in COMMANDS:
        printed = local(*words)
        assert printed == remote(*words), words
        assert "Traceback" not in printed[2], printed


def test_people_commands_say_what_they_did(run: Run, new_person: NewPerson) -> None:
    person = new_person("asha", "platform")
    platform = ("--group", "platform", "--environment", "local", "--prefix", "payments/")
    created = run("grant", "create", "editor", *platform, *WHY)
    where = "editor in local for keys with the prefix payments/"
    granted = created.output.partition(":")[0]

    assert created.output == f"{granted}: group platform is {where}\n"
    shown = run("person", "show", person, COLUMNS="200").output
    assert run("person", "show", f"person:{person}", COLUMNS="200").output == shown
    assert re.search(r"editor +local +payments/ +group platform +on call", shown)
    check = ("access", "check", f"person:{person}", *WHERE, "--scope")
    allowed, refused = run(*check, "write"), run(*check, "publish")
    assert allowed.output.startswith("Asha may write payments/limit in local\n")
    assert "via group platform" in allowed.output
    assert (refused.code, refused.output) == (
        1,
        (
            "Asha may not publish payments/limit in local\n"
            "  Asha has no grant with the scope publish for this key.\n"
        ),
    )

    who = run("access", "who", *WHERE, "--scope", "write", COLUMNS="200").output
    assert re.search(rf"person:{person} +Asha +editor via group platform", who)
    assert re.search(r"group:platform +platform +editor", who)

    unconfirmed = run("grant", "revoke", granted, *WHY)
    assert (unconfirmed.code, "--confirm" in unconfirmed.errors) == (1, True)
    revoked = run("grant", "revoke", granted, *WHY, "--confirm", granted)
    assert revoked.output == (f"revoked {granted}: group platform was {where}\n")
    assert run("grant", "list").output == "none\n"
    history = run("grant", "history", COLUMNS="300").output
    assert re.search(r"grant revoked .* payments/ .* on call", history)


def test_e_mail_address_names_a_person_if_it_is_unique(run: Run, new_person: NewPerson) -> None:
    address, other = "asha@example.org", "https://other.example.com"
    first = new_person("asha")

    shown = run("person", "show", address.upper())
    asked = run("person", "suspend", address, *WHY, COLUMNS="300")
    part = run("person", "show", "sha@example.org")
    second = new_person("asha", issuer=other)
    ambiguous = [
        run("person", "show", address, COLUMNS="300"),
        run("person", "suspend", address, *WHY, "--confirm", address, COLUMNS="300"),
        run("person", "restore", address, *WHY, COLUMNS="300"),
    ]

    assert (shown.code, shown.output) == (0, run("person", "show", first).output)
    whom = f"to suspend Asha ({first}, from https://login.example.com), because"
    assert (asked.code, whom in asked.errors) == (1, True)
    assert (part.code, "No person has the e-mail address sha@example.org." in part.errors) == (
        1,
        True,
    )
    for refused in ambiguous:
        assert (refused.code, refused.output) == (1, "")
        assert "2 people have this e-mail address. Give an ID: " in refused.errors
        for id_, issuer in ((first, "https://login.example.com"), (second, other)):
            assert f"{id_} ({issuer})" in refused.errors
    assert "suspended" not in run("person", "list").output


def test_commands_warn_of_wide_prefixes_and_go_on(run: Run) -> None:
    token = run(
        *("token", "create", "ci", "--environment", "local"),
        *("--prefix", "payments", "--prefix", ""),
    )
    grant = run("grant", "create", "editor", "--group", "a", "--environment", "local", *WHY)
    wide = run("project", "create", "payments", "--prefix", "payments", "--owner-group", "payers")

    assert (token.code, grant.errors) == (0, "")
    assert token.output.startswith("fs_")
    assert token.errors.startswith("warning: the empty prefix is for all keys, so payments limits")
    assert (wide.code, "payments is also the beginning of payments-old/x" in wide.errors) == (
        0,
        True,
    )


def test_commands_retain_the_last_administrator(run: Run, new_person: NewPerson) -> None:
    person = new_person("asha")
    grant = run(
        "grant", "create", "admin", "--person", person, "--environment", "*", *WHY
    ).output.partition(":")[0]

    suspended = run("person", "suspend", person, *WHY, "--confirm", person)
    revoked = run("grant", "revoke", grant, *WHY, "--confirm", grant)

    for refused in (suspended, revoked):
        assert (refused.code, "Give it to another person first" in refused.errors) == (1, True)


def test_rows_of_another_key_are_signed(run: Run, new_person: NewPerson) -> None:
    person = new_person("asha")
    before = run("access", "sign").output
    another = {"TOKEN_KEY": "another key of this installation, long enough for all"}

    ignored = run("person", "list", **another).output
    unconfirmed = run("access", "sign", **another)
    signed = run("access", "sign", "--confirm", "1", **another)

    assert before == "signed 0 rows\n"
    assert "ignored" in ignored
    assert (unconfirmed.code, person in unconfirmed.output) == (1, True)
    assert signed.output.endswith("signed 1 row\n")
    assert "ignored" not in run("person", "list", **another).output
