"""Programs that evaluate one flag and get its type, by language."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from app.console.flag.snippet_texts import LANGUAGES, SnippetLanguage
from app.evaluation.rule_reader import read
from app.evaluation.rule_tree import (
    Advanced,
    Comparison,
    Condition,
    ConditionGroup,
    Negation,
)
from app.evaluation.targeting import IN_LIST
from app.flags.sampling import TARGETING_KEY
from app.flags.summary import type_of

_ATTRIBUTES_MAX = 2


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """`install` are the lines for the shell. `note` is a sentence that the reader needs."""

    name: str
    install: str
    program: str
    note: str = ""


def snippets(key: str, definition: Any, url: str) -> Iterator[Snippet]:
    """Yield a program for each language. `url` is that of the service."""
    type_, default = _type_and_default(definition)
    attributes = dict(islice(_examples(definition), _ATTRIBUTES_MAX))
    for language in LANGUAGES:
        literals = {name: _literal(language, value) for name, value in attributes.items()}
        texts = {
            "URL": url,
            "KEY": key,
            "METHOD": language.methods.get(type_, ""),
            "TYPE": language.types.get(type_, ""),
            "DEFAULT": language.empty_object if type_ == "object" else _literal(language, default),
            **_contexts(attributes, literals),
        }
        program = language.program.strip("\n")
        for name, text in texts.items():
            program = program.replace(f"__{name}__", text)
        install = language.install.strip("\n")
        yield Snippet(name=language.name, install=install, program=program, note=language.note)


def _contexts(attributes: Mapping[str, Any], literals: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes in the forms that the programs need."""
    pairs = [(_quoted(name), literal) for name, literal in literals.items()]
    context = {TARGETING_KEY: "user-1", **attributes}
    return {
        "ATTRIBUTES": f"{{{', '.join(f'{name}: {literal}' for name, literal in pairs)}}}",
        "JAVA_ATTRIBUTES": ", ".join(f"{name}, new Value({literal})" for name, literal in pairs),
        "NET_ATTRIBUTES": "".join(f".Set({name}, {literal})" for name, literal in pairs),
        "CONTEXT": _javascript_object(context),
        # Within single quotes of the shell.
        "JSON_CONTEXT": _quoted(context).replace("'", "'\\''"),
    }


def _literal(language: SnippetLanguage, value: Any) -> str:
    if isinstance(value, bool):
        return language.true if value else language.false
    return _quoted(value)


def _quoted(value: Any) -> str:
    """Return a literal that JSON and all these languages share."""
    return json.dumps(value, ensure_ascii=False)


def _javascript_object(members: Mapping[str, Any]) -> str:
    pairs = (
        f"{name if name.isidentifier() else _quoted(name)}: {_quoted(value)}"
        for name, value in members.items()
    )
    return f"{{ {', '.join(pairs)} }}"


def _type_and_default(definition: Any) -> tuple[str, Any]:
    """Return the type of the flag, and the value of its default variant."""
    variants = definition.get("variants") if isinstance(definition, dict) else None
    values = variants if isinstance(variants, dict) and variants else {"off": False}
    type_ = type_of(values) or "object"
    if type_ == "number" and all(isinstance(value, int) for value in values.values()):
        type_ = "integer"
    default = definition.get("defaultVariant") if isinstance(definition, dict) else None
    return type_, values.get(default, next(iter(values.values())))


def _examples(definition: Any) -> Iterator[tuple[str, Any]]:
    """Yield attributes of the rules, each with a value that makes its condition true."""
    tree = read(definition.get("targeting") or {}) if isinstance(definition, dict) else None
    if tree is None or isinstance(tree, Advanced):
        return
    conditions = [rule.condition for rule in tree.rules]
    for condition in _comparisons([*conditions, tree.shorthand] if tree.shorthand else conditions):
        name, value = condition.attribute.name, _example(condition)
        if name != TARGETING_KEY and "." not in name and value is not None:
            yield name, value


def _comparisons(conditions: Sequence[Condition]) -> Iterator[Comparison]:
    for condition in conditions:
        match condition:
            case Comparison():
                yield condition
            case ConditionGroup(_, parts):
                yield from _comparisons(parts)
            case Negation(part):
                yield from _comparisons([part])
            case _:
                pass


def _example(comparison: Comparison) -> str | float | bool | None:
    if comparison.operator == IN_LIST:
        return None
    value: Any = comparison.value
    if isinstance(value, list):
        value = value[0] if value else None
    if comparison.operator == "ends_with" and isinstance(value, str):
        value = f"ada{value}"
    return value if isinstance(value, str | int | float | bool) else None
