"""Generates docs/http-api.md from the OpenAPI document and its examples."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.http.api_texts import ApiTexts, Example
from app.http.problems import title
from app.server.routes import API_TEXTS, describe

PAGE = Path("docs/http-api.md")
_SERVER = "http://127.0.0.1:8080"
_LINE_CHARACTERS_MAX = 96
_HEAD = """\
<!-- Written by `make reference` from the OpenAPI document. -->
<!-- tested by tests/api/http/test_examples.py -->

# HTTP API

After this page you can send a request to each operation of the API.

A running service shows these operations at `/docs`, where you can try them, and at `/openapi.json`.
In the examples, `TOKEN` is a token with the scope of the operation. In the local tier,
`export TOKEN=$(cat .data/admin-token)` sets it.
"""


@dataclass(frozen=True)
class _Operation:
    method: str
    path: str
    content: Mapping[str, Any]

    @property
    def summary(self) -> str:
        return str(self.content["summary"])


def page() -> str:
    """Return the content of docs/http-api.md."""
    return "\n".join(_page(describe(), ApiTexts(API_TEXTS))) + "\n"


def _page(document: Mapping[str, Any], texts: ApiTexts) -> Iterator[str]:
    yield from (_HEAD, texts.introduction)
    operations = {
        content["operationId"]: _Operation(method.upper(), path, content)
        for path, methods in document["paths"].items()
        for method, content in methods.items()
    }
    for tag in [tag for tag in texts.tags if tag.examples]:
        yield f"## {tag.name}\n\n{tag.description}\n"
        for operation_id in dict.fromkeys(example.operation for example in tag.examples):
            operation = operations[operation_id]
            yield f"### {operation.summary}\n\n`{operation.method} {operation.path}`\n"
            yield operation.content["description"] + "\n"
            yield from _table("parameter", _parameters(operation))
            yield from _table("property of the body", _members(operation, document["components"]))
            for example in tag.examples:
                if example.operation == operation_id:
                    yield from _example(example, operations)
            errors = (status for status in operation.content["responses"] if status >= "400")
            yield f"[Errors](#examples-of-errors): {', '.join(errors)}\n"
    yield "## Examples of errors\n"
    for status, example in sorted(texts.errors.items()):
        yield f"### {status} {title(status)}\n\n{example.title}\n"
        yield _block("json", _layout(example.answer))


def _parameters(operation: _Operation) -> Iterator[tuple[str, str, str]]:
    for parameter in operation.content["parameters"]:
        yield parameter["name"], parameter["in"], _meaning(parameter["schema"], parameter)


def _members(
    operation: _Operation, components: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield each member of a JSON body with its necessity and meaning."""
    contents = operation.content.get("requestBody", {"content": {}})["content"].values()
    for reference in {content["schema"].get("$ref") for content in contents} - {None}:
        body = components["schemas"][reference.rpartition("/")[2]]
        for name, schema in body["properties"].items():
            necessity = "required" if name in body.get("required", ()) else "optional"
            yield name, necessity, _meaning(schema, schema)


def _meaning(schema: Mapping[str, Any], described: Mapping[str, Any]) -> str:
    sentences = [described["description"]]
    if "enum" in schema:
        sentences.append(f"Values: {', '.join(f'`{value}`' for value in schema['enum'])}.")
    if schema.get("default"):
        sentences.append(f"Default: `{schema['default']}`.")
    return " ".join(sentences)


def _table(title: str, rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    lines = [f"| `{name}` | {place} | {meaning} |" for name, place, meaning in rows]
    if lines:
        yield "\n".join((f"| {title} | | meaning |", "|---|---|---|", *lines, ""))


def _example(example: Example, operations: Mapping[str, _Operation]) -> Iterator[str]:
    operation = operations[example.operation]
    heading = example.title or "Example"
    if example.after:
        summaries = (operations[name.partition(":")[0]].summary for name in example.after)
        links = (f"[{text}](#{text.lower().replace(' ', '-')})" for text in summaries)
        relation = "with the token" if "Authorization" in example.headers else "after the example"
        heading += f", {relation} of {' and '.join(links)}"
    yield f"{heading}:\n"
    yield _block("sh", _curl(example, operation))
    answer = f"Answer {example.status}"
    if "text/event-stream" in operation.content["responses"][str(example.status)]["content"]:
        answer = "The data of an event"
    yield f"{answer}{' (a part of it)' if example.shows_part else ''}:\n"
    yield _block("text" if isinstance(example.answer, str) else "json", _layout(example.answer))


def _curl(example: Example, operation: _Operation) -> str:
    query = f"?{urlencode(example.query)}" if example.query else ""
    url = shlex.quote(_SERVER + operation.path.format(**example.path) + query)
    lines = [f"curl {url}" if operation.method == "GET" else f"curl -X {operation.method} {url}"]
    if "security" in operation.content:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    headers = {} if example.body is None else {"Content-Type": "application/json"}
    for name, value in (headers | example.headers).items():
        if name != "Authorization":
            lines.append(f"-H {shlex.quote(f'{name}: {value}')}")
    if example.body is not None:
        lines.append(f"--data-binary {shlex.quote(_layout(example.body))}")
    return " \\\n  ".join(lines)


def _layout(value: Any, indent: int = 0) -> str:
    """Return text as it is, and JSON with one line for each value that fits."""
    if isinstance(value, str) and indent == 0:
        return value.rstrip("\n")
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= _LINE_CHARACTERS_MAX or not isinstance(value, dict | list):
        return line
    if isinstance(value, dict):
        begin, end = "{}"
        items = [f'"{name}": {_layout(item, indent + 2)}' for name, item in value.items()]
    else:
        begin, end = "[]"
        items = [_layout(item, indent + 2) for item in value]
    separator = "\n" + " " * (indent + 2)
    return f"{begin}{separator}{f',{separator}'.join(items)}\n{' ' * indent}{end}"


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
