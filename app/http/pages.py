"""The OpenAPI document as one page of HTML: nothing is loaded from elsewhere, nothing is run."""

import html
import json
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff }
h2 { font-size: 1.1rem; margin: 2.5rem 0 .3rem; overflow-wrap: anywhere }
code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { background: #f5f5f2; padding: .7rem; overflow-x: auto }
td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top }
.method { display: inline-block; min-width: 4.5rem; color: #0b5d4c }
.scope { color: #666; font-weight: normal }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #1b1b1b } pre { background: #262626 } .method { color: #6fc7b1 }
}
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    return "\n".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = html.escape(f"{info['title']} {info['version']}")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<style>{_STYLE}</style><h1>{title}</h1><p>{html.escape(info['description'])}</p>"
    yield '<p>The same for machines: <a href="openapi.json">openapi.json</a>.</p>'
    problems = document["components"]["responses"]
    everywhere = set.intersection(*(set(answer["headers"]) for answer in problems.values()))
    yield f"<p>HEAD answers as GET, without the body. Every answer has {_codes(everywhere)}.</p>"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method not in {"head", "options"}:
                yield from _operation(path, method, operation, everywhere)
    yield '<h1 id="problems">Problems</h1><table>'
    for status, answer in problems.items():
        meaning, headers = html.escape(answer["description"]), set(answer["headers"]) - everywhere
        yield f"<tr><td>{status}<td>{meaning}<td>{_codes(headers)}</tr>"
    yield "</table><h1>Shapes</h1>"
    for name, schema in document["components"]["schemas"].items():
        text = html.escape(json.dumps(schema, indent=2))
        yield f'<h2 id="{html.escape(name)}">{html.escape(name)}</h2><pre>{text}</pre>'


def _operation(
    path: str, method: str, operation: Mapping[str, Any], everywhere: AbstractSet[str]
) -> Iterator[str]:
    scope = operation.get("x-scope", "open")
    yield f'<h2><span class="method">{method.upper()}</span> <code>{html.escape(path)}</code> '
    yield f'<span class="scope">{html.escape(scope)}</span></h2>'
    yield f"<p>{html.escape(operation['summary'])}</p><table>"
    for parameter in operation["parameters"]:
        meaning = html.escape(parameter.get("description", ""))
        yield f"<tr><td><code>{parameter['name']}</code><td>{parameter['in']}<td>{meaning}</tr>"
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        shape = _link(next(iter(content.values()))["schema"]) or _codes(content)
        yield f"<tr><td>body<td><td>{shape}</tr>"
    for shape, statuses in _answers(operation["responses"], everywhere).items():
        yield f"<tr><td>{' '.join(sorted(statuses))}<td><td>{shape}</tr>"
    yield "</table>"


def _answers(responses: Mapping[str, Any], everywhere: AbstractSet[str]) -> dict[str, list[str]]:
    """Return the statuses by what they come with: the errors are one line."""
    found: dict[str, list[str]] = {}
    for status, answer in responses.items():
        if "$ref" in answer:
            shape = '<a href="#problems">Problem</a>'
        else:
            schema = next(iter(answer.get("content", {"": {"schema": {}}}).values()))["schema"]
            shape = _link(schema) if schema else html.escape(answer["description"])
            if headers := set(answer["headers"]) - everywhere:
                shape += f", with {_codes(headers)}"
        found.setdefault(shape, []).append(status)
    return found


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"<code>{html.escape(name)}</code>" for name in sorted(names))


def _link(schema: Mapping[str, Any]) -> str:
    name = html.escape(str(schema.get("$ref", "")).rpartition("/")[2])
    return f'<a href="#{name}">{name}</a>' if name else ""
