"""Pairs of entries before and after a change, each with its sentences. Names stand in **.

A verb is in both tenses: <changed|changes> for a change that was made, or is planned.

They are changes that teams make: kill switches, rollouts, audiences, limits, passwords.
"""

from typing import Any

EMAIL, PLAN, COUNTRY = {"var": "email"}, {"var": "plan"}, {"var": "country"}
STAFF = {"ends_with": [EMAIL, "@example.org"]}
TEAM, PRO = {"==": [PLAN, "team"]}, {"==": [PLAN, "pro"]}
GERMAN = {"==": [COUNTRY, "DE"]}
GERMAN_SPEAKING = {"in": [COUNTRY, ["DE", "AT", "CH"]]}
BETA = {"$ref": "beta-testers"}
NEW_APP = {"sem_ver": [{"var": "appVersion"}, ">=", "2.1.0"]}
ADULT = {">=": [{"var": "age"}, 18]}
FLAG_KEY = {"var": "$flagd.flagKey"}
ALL_TESTERS = {"some": [{"var": "groups"}, {"==": [{"var": ""}, "testers"]}]}

Entry = dict[str, Any]
Pair = tuple[Entry | None, Entry | None, list[str]]


def entry(kind: str, value: Any, **members: Any) -> Entry:
    return {"kind": kind, "value": value, "schema": None, "description": None} | members


def setting(value: Any, **members: Any) -> Entry:
    return entry("setting", value, **members)


def secret(version: int, **members: Any) -> Entry:
    return entry("secret", None, sealed=True, version=version, **members)


def flag(*branches: Any, **members: Any) -> Entry:
    """Return a boolean flag: rules in the form of `if`, or without branches off for all."""
    targeting = {"targeting": {"if": list(branches)}} if branches else {}
    return _flag({"on": True, "off": False}, "off", targeting | members)


def split(*shares: Any, by: Any = None, **members: Any) -> Entry:
    """Return a boolean flag whose shares are a rollout."""
    return flag(**{"targeting": shares_of(*shares, by=by)} | members)


def shares_of(*shares: Any, by: Any = None) -> Any:
    return {"fractional": [*([] if by is None else [by]), *map(list, shares)]}


def color(*branches: Any, **members: Any) -> Entry:
    """Return a flag of texts, with the default blue."""
    targeting = {"targeting": {"if": list(branches)}} if branches else {}
    return _flag({"blue": "blue", "green": "green", "red": "red"}, "blue", targeting | members)


def limit(**variants: Any) -> Entry:
    return _flag(variants, next(iter(variants)), {})


def _flag(variants: Any, default: str, members: Any) -> Entry:
    definition = {"state": "ENABLED", "variants": variants, "defaultVariant": default} | members
    return entry("flag", {name: value for name, value in definition.items() if value is not ...})


def tests_of(*rows: Any) -> Any:
    return {"guards": [dict(zip(("name", "context", "variant"), row, strict=True)) for row in rows]}


TEN_RULES = [part for number in range(10) for part in ({"==": [PLAN, f"p{number}"]}, "on")]


_APPROVAL = "waits for an approval before it begins"


def planned(*steps: Any, **members: Any) -> Entry:
    """Return a flag with a plan of steps: the day in December, the percentage, further members."""
    made = [
        {
            "at": f"2026-12-{day:02}T09:00:00Z",
            "rollout": {"variant": "on", "percent": percent},
            **more,
        }
        for day, percent, more in ((*step, {})[:3] for step in steps)
    ]
    return flag(plan={"name": "launch", "steps": made} | members)


PAIRS: dict[str, Pair] = {
    "add a plan": (
        flag(),
        planned((1, 10), (2, 50)),
        ["Plan **launch** <was|is> added: 2 steps, from 2026-12-01 09:00 UTC"],
    ),
    "remove a plan": (planned((1, 10)), flag(), ["Plan **launch** <was|is> removed"]),
    "replace a plan": (
        planned((1, 10), (2, 50)),
        planned((3, 100), name="all at once"),
        ["Plan **launch** <was|is> replaced by **all at once**: 1 step, from 2026-12-03 09:00 UTC"],
    ),
    "rename a plan": (
        planned((1, 10)),
        planned((1, 10), name="slow"),
        ["Plan **launch** <was|is> renamed to **slow**"],
    ),
    "pause a plan": (
        planned((1, 10), (2, 50)),
        planned((1, 10), (2, 50), pausedAt="2026-12-01T10:00:00Z"),
        ["Plan **launch** <was|is> paused"],
    ),
    "continue a plan": (
        planned((1, 10), (2, 50), (3, 90), pausedAt="2026-12-01T10:00:00Z"),
        planned((1, 10), (3, 50), (4, 90)),
        [
            "Plan **launch** <was continued|continues>",
            "Steps 2 to 3 of the plan <moved|moves> 1 d later, to 2026-12-03 09:00 UTC",
        ],
    ),
    "change and add steps of a plan": (
        planned((1, 10), (2, 50)),
        planned((1, 20), (2, 50, {"hold": "approval"}), (5, 100), linear=True),
        [
            "The percentage of the plan <now |>grows continuously between its steps",
            "Step 1 of the plan <changed|changes>: **on for 10 %** → **on for 20 %**",
            f"Step 2 of the plan <changed|changes>: **on for 50 %** → **on for 50 %, {_APPROVAL}**",
            "Step 3 of the plan <was|is> added: **on for 100 %**, 2026-12-05 09:00 UTC",
        ],
    ),
    "skip a step and remove the last one": (
        planned((1, 10), (2, 50), (3, 100)),
        planned((1, 10, {"skipped": True}), (2, 50)),
        [
            "Step 1 of the plan <changed|changes>: **on for 10 %** → **on for 10 %, was skipped**",
            "Step 3 of the plan <was|is> removed: **on for 100 %**",
        ],
    ),
    "switch off a flag with rules": (
        flag(STAFF, "on", BETA, "on"),
        flag(),
        ["<Switched|Switches> off: **off** is served to all"],
    ),
    "need another flag": (
        flag(STAFF, "on"),
        flag(
            *(STAFF, "on"),
            prerequisites=[{"flag": "payments", "variant": "on"}],
            offVariant="off",
        ),
        ["The flag <now |>needs **payments** to give **on**", 'Off variant <was|is> added: "off"'],
    ),
    "need other flags instead": (
        flag(
            prerequisites=[{"flag": "a", "variant": "on"}, {"flag": "b", "variant": "on"}],
        ),
        flag(prerequisites=[{"flag": "a", "variant": "beta"}]),
        [
            "The flag <now |>needs **a** to give **beta**",
            "The flag no longer needs **b** to give **on**",
        ],
    ),
    "add a rule by another flag": (
        flag(STAFF, "on"),
        flag(STAFF, "on", {"flag": ["payments", "on"]}, "on"),
        ["Rule 2 <was|is> added: if **payments gives on**, serve **on**"],
    ),
    "switch off a rollout": (
        split(("on", 25), ("off", 75)),
        flag(),
        ["<Switched|Switches> off: **off** is served to all"],
    ),
    "switch off a flag that is on for all": (
        flag(defaultVariant="on"),
        flag(),
        ["<Switched|Switches> off: **off** is served to all"],
    ),
    "disable a flag": (
        flag(STAFF, "on"),
        flag(STAFF, "on", state="DISABLED"),
        ["<Switched|Switches> off: each program uses the default in its own code"],
    ),
    "enable a disabled flag": (
        flag(STAFF, "on", state="DISABLED"),
        flag(STAFF, "on"),
        ["<Switched|Switches> on"],
    ),
    "disable a flag that is off for all": (
        flag(),
        flag(state="DISABLED"),
        ["The flag <was|is> disabled: each program uses the default in its own code"],
    ),
    "enable a disabled flag that is off for all": (
        flag(state="DISABLED"),
        flag(),
        ["The flag <was|is> enabled: **off** is served to all"],
    ),
    "enable a disabled flag that is on for all": (
        flag(state="DISABLED", defaultVariant="on"),
        flag(defaultVariant="on"),
        ["<Switched|Switches> on: **on** is served to all"],
    ),
    "enable a disabled flag of texts": (
        color(state="DISABLED"),
        color(),
        ["The flag <was|is> enabled: **blue** is served to all"],
    ),
    "switch off a disabled flag with rules": (
        flag(STAFF, "on", state="DISABLED"),
        flag(),
        [
            "The flag <was|is> enabled: **off** is served to all",
            "Rule 1 <was|is> removed: if **email ends with @example.org**, serve **on**",
        ],
    ),
    "switch on for all": (
        flag(),
        flag(defaultVariant="on"),
        ["<Switched|Switches> on: **on** is served to all"],
    ),
    "switch on with the earlier rules": (
        flag(),
        flag(STAFF, "on", BETA, "on"),
        [
            "<Switched|Switches> on",
            "Rule 1 <was|is> added: if **email ends with @example.org**, serve **on**",
            "Rule 2 <was|is> added: if **in segment beta-testers**, serve **on**",
        ],
    ),
    "start a rollout": (
        flag(),
        split(("on", 10), ("off", 90)),
        ["<Switched|Switches> on", "Rollout of **on** <changed|changes> from 0 % to 10 %"],
    ),
    "start a rollout by company": (
        flag(),
        split(("on", 10), ("off", 90), by={"var": "company"}),
        [
            "<Switched|Switches> on",
            "Rollout of **on** <changed|changes> from 0 % to 10 %, by **company**",
        ],
    ),
    "raise a rollout": (
        split(("on", 10), ("off", 90)),
        split(("on", 25), ("off", 75)),
        ["Rollout of **on** <changed|changes> from 10 % to 25 %"],
    ),
    "lower a rollout": (
        split(("on", 25), ("off", 75)),
        split(("on", 5), ("off", 995)),
        ["Rollout of **on** <changed|changes> from 25 % to 0.5 %"],
    ),
    "finish a rollout": (
        split(("on", 50), ("off", 50)),
        flag("on"),
        ["Rollout of **on** <changed|changes> from 50 % to 100 %"],
    ),
    "finish a rollout as the default": (
        split(("on", 50), ("off", 50)),
        flag(defaultVariant="on"),
        [
            "Rollout of **on** <changed|changes> from 50 % to 100 %",
            "Default <changed|changes> from **off** to **on**",
        ],
    ),
    "raise a rollout behind rules": (
        flag(STAFF, "on", shares_of(("on", 10), ("off", 90))),
        flag(STAFF, "on", shares_of(("on", 20), ("off", 80))),
        ["Rollout of **on** for everyone else <changed|changes> from 10 % to 20 %"],
    ),
    "raise a rollout within a rule": (
        flag(STAFF, "on", BETA, shares_of(("on", 10), ("off", 90))),
        flag(STAFF, "on", BETA, shares_of(("on", 50), ("off", 50))),
        ["Rollout of **on** in rule 2 <changed|changes> from 10 % to 50 %"],
    ),
    "reweight a split of three": (
        color(targeting=shares_of(("blue", 60), ("green", 20), ("red", 20))),
        color(targeting=shares_of(("blue", 40), ("green", 40), ("red", 20))),
        ["Split <changed|changes>: **blue** from 60 % to 40 %, **green** from 20 % to 40 %"],
    ),
    "add a variant to a split": (
        color(targeting=shares_of(("blue", 1), ("green", 1))),
        color(targeting=shares_of(("blue", 1), ("green", 1), ("red", 1))),
        [
            (
                "Split <changed|changes>: **blue** from 50 % to 33.333 %, **green** from 50"
                " % to 33.333 %, **red** from 0 % to 33.333 %"
            )
        ],
    ),
    "split by company": (
        split(("on", 10), ("off", 90)),
        split(("on", 10), ("off", 90), by={"cat": [FLAG_KEY, {"var": "company"}]}),
        ["Split is <now |>by **company** instead of **targetingKey**"],
    ),
    "split independently of other flags": (
        split(("on", 10), ("off", 90), by={"var": "company"}),
        split(("on", 10), ("off", 90), by={"cat": [FLAG_KEY, {"var": "company"}]}),
        ["Split <now |>also depends on the key of the flag"],
    ),
    "reverse the order of a split": (
        split(("on", 50), ("off", 50)),
        split(("off", 50), ("on", 50)),
        ["Order of the split <changed|changes>; keys may get another variant"],
    ),
    "scale the weights of a split": (
        split(("on", 1), ("off", 9)),
        split(("on", 10), ("off", 90)),
        ["Targeting has another form; its words are the same"],
    ),
    "replace a rollout by rules": (
        split(("on", 10), ("off", 90)),
        flag(STAFF, "on", "off"),
        [
            "Rule 1 <was|is> added: if **email ends with @example.org**, serve **on**",
            "Rollout of **on** for everyone else <changed|changes> from 10 % to 0 %",
        ],
    ),
    "serve one variant for all instead of rules": (
        color(STAFF, "green", GERMAN, "red"),
        color(defaultVariant="green"),
        ["**green** is <now |>served to all; 2 rules <were|are> removed"],
    ),
    "add the first rule": (
        color(),
        color(STAFF, "green"),
        ["Rule 1 <was|is> added: if **email ends with @example.org**, serve **green**"],
    ),
    "add a rule at the end": (
        flag(STAFF, "on"),
        flag(STAFF, "on", GERMAN, "on"),
        ["Rule 2 <was|is> added: if **country is DE**, serve **on**"],
    ),
    "add a rule with a split at the top": (
        flag(STAFF, "on"),
        flag({"and": [BETA, NEW_APP]}, shares_of(("on", 1), ("off", 1)), STAFF, "on"),
        [
            (
                "Rule 1 <was|is> added: if **in segment beta-testers and version appVersion"
                " >= 2.1.0**, serve **50 % on, 50 % off by targetingKey**"
            )
        ],
    ),
    "remove a rule": (
        flag(STAFF, "on", GERMAN, "on", BETA, "on"),
        flag(STAFF, "on", BETA, "on"),
        ["Rule 2 <was|is> removed: if **country is DE**, serve **on**"],
    ),
    "replace a rule": (
        color(STAFF, "green", BETA, "red"),
        color(STAFF, "green", GERMAN, "green"),
        [
            "Rule 2 <was|is> removed: if **in segment beta-testers**, serve **red**",
            "Rule 2 <was|is> added: if **country is DE**, serve **green**",
        ],
    ),
    "swap two rules": (
        flag(STAFF, "on", GERMAN, "off"),
        flag(GERMAN, "off", STAFF, "on"),
        ["Rule 1 <moved|moves> below rule 2"],
    ),
    "move the last rule to the top": (
        flag(STAFF, "on", GERMAN, "off", BETA, "on"),
        flag(BETA, "on", STAFF, "on", GERMAN, "off"),
        ["Rule 3 <moved|moves> above rule 1"],
    ),
    "serve another variant in a rule": (
        color(STAFF, "green"),
        color(STAFF, "red"),
        ["Rule 1 <now |>serves **red** instead of **green**"],
    ),
    "serve another variant for the others": (
        color(STAFF, "green"),
        color(STAFF, "green", "red"),
        ["Everyone else <now |>gets **red** instead of **blue**"],
    ),
    "widen a rule by a plan": (
        flag(STAFF, "on", PRO, "on"),
        flag(STAFF, "on", {"or": [PRO, TEAM]}, "on"),
        ["Rule 2 <now |>also matches **plan is team**"],
    ),
    "widen a list of countries": (
        flag(GERMAN, "on"),
        flag(GERMAN_SPEAKING, "on"),
        ["Rule 1 <now |>also matches **country is one of AT, CH**"],
    ),
    "narrow a list of countries": (
        flag(GERMAN_SPEAKING, "on"),
        flag({"in": [COUNTRY, ["DE", "FR"]]}, "on"),
        [
            "Rule 1 <now |>also matches **country is FR**",
            "Rule 1 no longer matches **country is one of AT, CH**",
        ],
    ),
    "narrow a rule by a second condition": (
        flag(GERMAN, "on"),
        flag({"and": [GERMAN, ADULT]}, "on"),
        ["Rule 1 <now |>also requires **age >= 18**"],
    ),
    "drop a condition": (
        flag({"and": [GERMAN, ADULT, TEAM]}, "on"),
        flag({"and": [GERMAN, TEAM]}, "on"),
        ["Rule 1 no longer requires **age >= 18**"],
    ),
    "change a condition in a group": (
        flag({"and": [GERMAN, {">=": [{"var": "age"}, 16]}]}, "on"),
        flag({"and": [GERMAN, ADULT]}, "on"),
        ["In rule 1, **age >= 16** <changed|changes> to **age >= 18**"],
    ),
    "add a country within a group": (
        flag({"and": [TEAM, {"in": [COUNTRY, ["DE", "AT"]]}]}, "on"),
        flag({"and": [TEAM, GERMAN_SPEAKING]}, "on"),
        ["In rule 1, **CH** <was|is> added to the list of **country**"],
    ),
    "add to a nested group": (
        flag({"and": [NEW_APP, {"or": [STAFF, TEAM]}]}, "on"),
        flag({"and": [NEW_APP, {"or": [STAFF, TEAM, BETA]}]}, "on"),
        [
            (
                "In rule 1, **in segment beta-testers** <was|is> added to **email ends with"
                " @example.org or plan is team**"
            )
        ],
    ),
    "need any condition instead of all": (
        flag({"and": [GERMAN, ADULT]}, "on"),
        flag({"or": [GERMAN, ADULT]}, "on"),
        ["Rule 1 <now |>needs only one of its conditions"],
    ),
    "exclude another country": (
        flag({"!": {"in": [COUNTRY, ["US"]]}}, "on"),
        flag({"!": {"in": [COUNTRY, ["US", "CA"]]}}, "on"),
        ["In rule 1, **CA** <was|is> added to the list of **country**"],
    ),
    "replace a condition": (
        flag(GERMAN, "on"),
        flag(BETA, "on"),
        [
            (
                "Condition of rule 1 <changed|changes> from **country is DE** to **in segment "
                "beta-testers**"
            )
        ],
    ),
    "require a newer app": (
        flag(NEW_APP, "on"),
        flag({"sem_ver": [{"var": "appVersion"}, ">=", "2.2.0"]}, "on"),
        [
            (
                "Condition of rule 1 <changed|changes> from **version appVersion >= 2.1.0**"
                " to **version appVersion >= 2.2.0**"
            )
        ],
    ),
    "change and move a rule": (
        flag(GERMAN, "on", STAFF, "on", PRO, "on"),
        flag(STAFF, "on", {"or": [PRO, TEAM]}, "on"),
        [
            "Rule 1 <was|is> removed: if **country is DE**, serve **on**",
            "Rule 2 (before: rule 3) <now |>also matches **plan is team**",
        ],
    ),
    "compare in another form": (
        flag(GERMAN, "on"),
        flag({"===": [COUNTRY, "DE"]}, "on"),
        ["Rule 1 has another form; its words are the same"],
    ),
    "change a targeting without a short form": (
        flag(ALL_TESTERS, "on"),
        flag({"some": [{"var": "teams"}, {"==": [{"var": ""}, "testers"]}]}, "on"),
        ["Targeting <changed|changes> at **if[0].some[0].var**"],
    ),
    "add a targeting without a short form": (
        flag(),
        flag(ALL_TESTERS, "on"),
        ["<Switched|Switches> on", "Targeting <was|is> added; it has no short form"],
    ),
    "switch off a targeting without a short form": (
        flag(ALL_TESTERS, "on"),
        flag(),
        ["<Switched|Switches> off: **off** is served to all"],
    ),
    "change the default": (
        color(STAFF, "green"),
        color(STAFF, "green", defaultVariant="red"),
        ["Default <changed|changes> from **blue** to **red**"],
    ),
    "change the default of a flag without rules": (
        color(),
        color(defaultVariant="red"),
        ["Default <changed|changes> from **blue** to **red**"],
    ),
    "remove the default": (
        color(STAFF, "green"),
        color(STAFF, "green", defaultVariant=...),
        ["Default <was|is> removed"],
    ),
    "remove ten rules": (
        flag(*TEN_RULES),
        flag("on"),
        ["**on** is <now |>served to all; 10 rules <were|are> removed"],
    ),
    "add a variant": (
        limit(low=5),
        limit(low=5, high=10),
        ["Variant **high** <was|is> added with the value 10"],
    ),
    "remove a variant": (
        limit(low=5, high=10),
        limit(low=5),
        ["Variant **high** <was|is> removed"],
    ),
    "change the value of a variant": (
        limit(low=5, high=10),
        limit(low=5, high=20),
        ["Value of variant **high** <changed|changes> from 10 to 20"],
    ),
    "change an object of a variant": (
        limit(small={"cpu": 1, "memory": {"mb": 256}}),
        limit(small={"cpu": 1, "memory": {"mb": 512}, "disk": 10}),
        [
            (
                "Value of variant **small** <changed|changes>: **memory.mb** from 256 to "
                "512, **disk** <was|is> added: 10"
            )
        ],
    ),
    "change the owner": (
        flag(metadata={"owner": "checkout"}),
        flag(metadata={"owner": "payments"}),
        ['Metadata **owner** <changed|changes> from "checkout" to "payments"'],
    ),
    "add tags and an expiry": (
        flag(metadata={"owner": "checkout"}),
        flag(metadata={"owner": "checkout", "tags": "checkout,web", "expires": "2027-01-31"}),
        [
            'Metadata **tags** <was|is> added: "checkout,web"',
            'Metadata **expires** <was|is> added: "2027-01-31"',
        ],
    ),
    "remove an owner": (
        flag(metadata={"owner": "checkout"}),
        flag(),
        ["Metadata **owner** <was|is> removed"],
    ),
    "add a guard": (
        flag(STAFF, "on"),
        flag(STAFF, "on", **tests_of(("staff see it", {"email": "a@example.org"}, "on"))),
        ['Guard **staff see it** <was|is> added: {"email": "a@example.org"} must get **on**'],
    ),
    "change a guard": (
        flag(STAFF, "on", **tests_of(("staff see it", {"email": "a@example.org"}, "on"))),
        flag(STAFF, "on", **tests_of(("staff see it", {"email": "b@example.org"}, "off"))),
        [
            "Guard **staff see it** <now |>requires **off** instead of **on**",
            (
                "Context of guard **staff see it** <changed|changes>: **email** from "
                '"a@example.org" to "b@example.org"'
            ),
        ],
    ),
    "remove a guard without a name": (
        flag(guards=[{"context": {"plan": "team"}, "variant": "off"}]),
        flag(),
        ['Guard <was|is> removed: {"plan": "team"} must get **off**'],
    ),
    "change a member that flagd does not define": (
        flag(owner="shop"),
        flag(owner="search"),
        ['Member **owner** <changed|changes> from "shop" to "search"'],
    ),
    "describe a flag": (
        flag(),
        flag() | {"description": "The new checkout page"},
        ['Description <was|is> added: "The new checkout page"'],
    ),
    "change the schema of a flag": (
        flag(),
        flag() | {"schema": {"type": "object"}},
        ['Schema <was|is> added: {"type": "object"}'],
    ),
    "create a flag": (
        None,
        flag(STAFF, "on"),
        [
            (
                "Flag **new-checkout** <was|is> created: on if email ends with "
                "@example.org; off for all others"
            )
        ],
    ),
    "create a flag with a split": (
        None,
        split(("on", 125), ("off", 875)),
        ["Flag **new-checkout** <was|is> created: 12.5 % on, 87.5 % off by targetingKey for all"],
    ),
    "delete a flag": (flag(), None, ["Flag **new-checkout** <was|is> deleted"]),
    "create a setting": (
        None,
        setting({"host": "db1", "port": 5432}),
        ['Setting **db.pool** <was|is> created: {"host": "db1", "port": 5432}'],
    ),
    "change a number": (setting(10), setting(20), ["**db.pool** <changed|changes> from 10 to 20"]),
    "change a text": (
        setting("Welcome"),
        setting("Hello"),
        ['**db.pool** <changed|changes> from "Welcome" to "Hello"'],
    ),
    "change the end of a long text": (
        setting(
            "Maintenance on Sunday from 02:00 to 04:00 UTC. Orders are stored, and sent at 04:00."
        ),
        setting(
            "Maintenance on Sunday from 02:00 to 04:00 UTC. Orders are stored, and sent at 05:00."
        ),
        ['**db.pool** <changed|changes> from …nd sent at 04:00." to …nd sent at 05:00."'],
    ),
    "change the type": (
        setting("10"),
        setting(10),
        ['**db.pool** <changed|changes> from "10" to 10'],
    ),
    "change two members": (
        setting({"host": "db1", "pool": {"size": 10, "timeout": 5}}),
        setting({"host": "db1", "pool": {"size": 20}, "tls": True}),
        [
            (
                "**db.pool** <changed|changes>: **pool.size** from 10 to 20, "
                "**pool.timeout** <was|is> removed, **tls** <was|is> added: true"
            )
        ],
    ),
    "change many members": (
        setting({f"limit{number:02}": number for number in range(15)}),
        setting({f"limit{number:02}": number + 1 for number in range(15)}),
        [
            (
                "**db.pool** <changed|changes>: **limit00** from 0 to 1, **limit01** from 1"
                " to 2, **limit02** from 2 to 3, and 12 more"
            )
        ],
    ),
    "add to the front of a list": (
        setting(["db2", "db3"]),
        setting(["db1", "db2", "db3"]),
        ['**db.pool** <changed|changes>: **[0]** <was|is> added: "db1"'],
    ),
    "limit a setting by a schema": (
        setting(10, schema={"type": "integer", "maximum": 20}),
        setting(10, schema={"type": "integer", "maximum": 50}),
        ["Schema of **db.pool** <changed|changes>: **maximum** from 20 to 50"],
    ),
    "change a description": (
        setting(10, description="Connections"),
        setting(10, description="Connections to the database"),
        [
            (
                'Description of **db.pool** <changed|changes> from "Connections" to "Connections '
                'to the database"'
            )
        ],
    ),
    "delete a setting": (
        setting(10),
        None,
        ["Setting **db.pool** <was|is> deleted; its value <was|is> 10"],
    ),
    "make a setting a secret": (
        setting("hunter2"),
        secret(2),
        ["Kind of **smtp.password** <changed|changes> from setting to secret"],
    ),
    "create a secret": (None, secret(1), ["Secret **smtp.password** <was|is> created"]),
    "replace a secret": (secret(1), secret(2), ["The secret **smtp.password** <was|is> replaced"]),
    "describe a secret": (
        secret(1),
        secret(2, description="Password of the mail server"),
        [
            "The secret **smtp.password** <may have been|may be> replaced",
            'Description of **smtp.password** <was|is> added: "Password of the mail server"',
        ],
    ),
    "delete a secret": (secret(2), None, ["Secret **smtp.password** <was|is> deleted"]),
    "seal a setting for other hosts": (
        setting("sealed:age:v1:AAAA"),
        setting("sealed:age:v1:BBBB"),
        ["The sealed value of **db.pool** <was|is> replaced"],
    ),
    "create a segment": (
        None,
        entry("segment", STAFF),
        ["Segment **staff** <was|is> created: email ends with @example.org"],
    ),
    "widen a segment": (
        entry("segment", {"or": [STAFF, PRO]}),
        entry("segment", {"or": [STAFF, PRO, TEAM]}),
        ["Segment **staff** <now |>also matches **plan is team**"],
    ),
    "narrow a segment": (
        entry("segment", STAFF),
        entry("segment", {"and": [STAFF, ADULT]}),
        ["Segment **staff** <now |>also requires **age >= 18**"],
    ),
    "change a segment without a short form": (
        entry("segment", STAFF),
        entry("segment", ALL_TESTERS),
        ["Segment **staff** <changed|changes> at **ends_with**, **some**"],
    ),
}
