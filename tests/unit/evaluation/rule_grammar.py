"""Generate rules and contexts on which all implementations agree, and arbitrary ones.

The first kind leaves out known differences of flagd-core, or of its library, to the reference:

* it fails with an exception where a number is divided by zero;
* null and absent values count as 0 when they are compared or added loosely, are the text "null" in
  `cat`, and take the default of `var`;
* numbers and booleans are equal to `===` and within lists;
* + and * parse the whole string, by Python's rules, and % has the sign of the divisor;
* the empty string contains the empty string;
* weights must be Python integers, a version may have a prerelease without a patch number, an
  integer beyond 64 bits has a hash of its own, and an operator is unknown only when it is reached.
"""

from typing import Any

from hypothesis import strategies as st

from app.evaluation.operators import OPERATORS

Rules = st.SearchStrategy[Any]

WORDS = st.sampled_from(["", "a", "b", "ab", "ba", "abc", "x@example.org", "Köln", "日本", "😀"])
NUMBERS = st.integers(-20, 20) | st.sampled_from([0.5, -1.5, 2.0, 1e6])
VERSIONS = st.sampled_from(
    ["1.0.0", "v1.2.3", "2", "1.2", "1.2.3-rc.1", "1.2.3-rc.2", "2.0.0+x", "latest", "1.2.3.4"]
)
SEGMENTS = {
    "german": {"==": [{"var": "country"}, "DE"]},
    "adult": {">=": [{"var": ["age", 0]}, 18]},
}

CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "targetingKey": WORDS,
        "name": WORDS,
        "country": st.sampled_from(["DE", "FR"]),
        "age": NUMBERS,
        "score": NUMBERS,
        "beta": st.booleans(),
        "version": VERSIONS | st.integers(0, 3),
        "words": st.lists(WORDS, max_size=4),
        "ages": st.lists(NUMBERS, max_size=4),
        "user": st.fixed_dictionaries({}, optional={"name": WORDS, "tags": st.lists(WORDS)}),
    },
)


def _call(name: str, *arguments: Rules) -> Rules:
    return st.tuples(*arguments).map(lambda values: {name: list(values)})


def _variadic(names: list[str], argument: Rules) -> Rules:
    arguments = st.lists(argument, min_size=1, max_size=3)
    return st.builds(lambda name, values: {name: values}, st.sampled_from(names), arguments)


def _binary(names: list[str], argument: Rules) -> Rules:
    return st.builds(
        lambda name, *values: {name: list(values)}, st.sampled_from(names), argument, argument
    )


def _var(*names: str) -> Rules:
    return st.sampled_from(names).map(lambda name: {"var": name})


# Rules that give a string or null, always a string, or the same for numbers.
MAYBE_TEXTS = WORDS | _var("name", "country", "targetingKey", "user.name", "words.0", "user.tags.1")
SURE_TEXTS = WORDS | st.builds(
    lambda name, default: {"var": [name, default]},
    st.sampled_from(["name", "country", "user.name", "words.1", "$flagd.flagKey"]),
    WORDS,
)
SURE_NUMBERS = NUMBERS | st.builds(
    lambda name, default: {"var": [name, default]},
    st.sampled_from(["age", "score", "ages.0", "words.length"]),
    NUMBERS,
)

MAYBE_LISTS = _var("words", "user.tags", "name")

texts: Rules = st.deferred(
    lambda: (
        SURE_TEXTS
        | _variadic(["cat"], texts)
        | _call("substr", texts, st.integers(-4, 4))
        | _call("substr", texts, st.integers(-4, 4), st.integers(-4, 4))
        | _call("if", conditions, texts, texts)
    )
)
numbers: Rules = st.deferred(
    lambda: (
        SURE_NUMBERS
        | _variadic(["+", "*", "max", "min"], numbers)
        | _binary(["-"], numbers)
        | _variadic(["-"], numbers).map(lambda rule: {"-": rule["-"][:1]})
        | _call("/", numbers, st.integers(1, 9))
        | _call("%", st.integers(0, 99), st.integers(1, 9))
        | _call("if", conditions, numbers, numbers)
        | st.just(
            {"reduce": [{"var": "ages"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]}
        )
    )
)
lists: Rules = st.deferred(
    lambda: (
        st.lists(SURE_TEXTS, max_size=3)
        | _call("filter", MAYBE_LISTS, st.just(True))
        | _variadic(["merge"], lists | texts)
        | _call("filter", lists, element_conditions)
        | _call("map", lists, _call("cat", st.just({"var": ""}), WORDS))
        | st.just({"missing": ["name", "user.name", "age"]})
        | st.just({"missing_some": [1, ["name", "country", "user.name"]]})
    )
)
element_conditions: Rules = (
    _call("in", WORDS, st.just({"cat": ["-", {"var": ""}]}))
    | _call("==", st.just({"var": ""}), WORDS)
    | _call("<", st.just({"var": ""}), WORDS)
)
conditions: Rules = st.deferred(
    lambda: (
        st.booleans()
        | _var("beta", "absent")
        | _binary(["==", "!=", "===", "!=="], MAYBE_TEXTS | texts)
        | _binary(["==", "!=", "===", "!==", "<", "<=", ">", ">="], numbers)
        | _binary(["<", "<=", ">", ">="], texts)
        | _call("<", numbers, numbers, numbers)
        | _call("in", texts, _call("cat", st.just("-"), texts))
        | _call("in", MAYBE_TEXTS, lists | _var("words", "user.tags"))
        | _binary(["starts_with", "ends_with"], MAYBE_TEXTS | numbers)
        | _call(
            "sem_ver",
            _var("version", "name") | VERSIONS,
            st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "^", "~", "=="]),
            VERSIONS,
        )
        | st.sampled_from(["!", "!!"]).flatmap(
            lambda name: _call(name, conditions | lists | numbers)
        )
        | _variadic(["and", "or"], conditions)
        | st.sampled_from(["some", "all", "none"]).flatmap(
            lambda name: _call(name, lists | MAYBE_LISTS, element_conditions)
        )
        | st.sampled_from(sorted(SEGMENTS)).map(lambda name: {"$ref": name})
    )
)
buckets = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(-3, 50)).map(list)
    | st.sampled_from("ab").map(lambda name: [name]),
    min_size=1,
    max_size=4,
)
splits: Rules = st.builds(
    lambda by, parts: {"fractional": [*by, *parts]},
    st.just([]) | st.tuples(texts | numbers | MAYBE_TEXTS | _var("beta", "user")),
    buckets,
)
# Results of a flag's rule: a variant, null, or a value that is no variant.
targetings: Rules = st.deferred(
    lambda: _call("if", conditions, outcomes, outcomes) | _call("if", conditions, outcomes) | splits
)
outcomes: Rules = st.deferred(
    lambda: (
        st.sampled_from(["a", "b", "c", None, True, False]) | targetings | conditions | _var("name")
    )
)

# Arbitrary JSON that contains many names of operators.
OPERATOR_NAMES = st.sampled_from(sorted([*OPERATORS, "$ref", "log"]))
NAMES = st.sampled_from(["", "a", "b", "a.b", "$flagd", "length", "0", "current", "accumulator"])
ANY_TEXT = NAMES | st.text(max_size=8) | st.sampled_from(["1", "-0x1", "1e999", "1.2.3", "a" * 500])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(2**63), 2**64])
    | st.floats()
    | ANY_TEXT
)
ANY_VALUE: Rules = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=15,
)
ANY_RULE: Rules = st.recursive(
    SCALARS | NAMES.map(lambda name: {"var": name}),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            OPERATOR_NAMES, st.lists(inner, max_size=4) | inner, min_size=1, max_size=1
        )
        | st.dictionaries(ANY_TEXT, inner, max_size=3)
    ),
    max_leaves=25,
)
STORED: Rules = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=15,
)
