"""The page that says what a server takes, and on which it can be tried; whole, for servers without internet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { margin-top: 2.5rem } code, pre, textarea { font: .9em/1.4 ui-monospace, monospace }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .2rem .8rem .2rem 0 }
textarea { width: 100%; box-sizing: border-box } pre { white-space: pre-wrap; overflow-wrap: anywhere }
tr { border-bottom: 1px solid #ddd; vertical-align: top } button { padding: .2rem 1rem }
</style>
<h1>{title}</h1>
<p>Bodies are JSON. What is wrong with one is said in a sentence, under <code>error</code>. The schema is
<a href="openapi.json">openapi.json</a>.</p>
<p><label>Key, if the server has one: <input id="key" type="password" autocomplete="off"></label></p>
"""
_TAIL = """<script>
for (const form of document.querySelectorAll("form")) form.onsubmit = async event => {
  event.preventDefault();
  const said = form.querySelector("pre"), key = document.querySelector("#key").value;
  said.textContent = "...";
  try {
    const answer = await fetch(form.dataset.path, {
      method: "POST", body: form.querySelector("textarea").value,
      headers: {"Content-Type": "application/json", ...(key && {Authorization: "Bearer " + key})}});
    said.textContent = answer.status + "\\n" + JSON.stringify(await answer.json(), null, 2);
  } catch (error) { said.textContent = "the server cannot be reached (" + error.message + ")" }
};
</script>
</html>
"""


def page(schema: Mapping[str, Any]) -> str:
    """HTML of an OpenAPI schema. Addresses are relative, so that it works behind a prefix."""
    alike: dict[str, list[str]] = {}
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            alike.setdefault(json.dumps([method, route.get("description", ""), _body(route)]), []).append(path)
    head = _HEAD.replace("{title}", escape(f"{schema['info']['title']} {schema['info']['version']}"))
    sections = [_section(schema["components"]["schemas"], paths, *json.loads(key)) for key, paths in alike.items()]
    return head + "".join(sections) + _TAIL


def _body(route: Mapping[str, Any]) -> str:
    """The name of the schema of what a route takes; empty where that is nothing."""
    if "requestBody" not in route:
        return ""
    return str(route["requestBody"]["content"]["application/json"]["schema"]["$ref"]).rsplit("/", 1)[1]


def _section(schemas: Mapping[str, Any], paths: Sequence[str], method: str, description: str, body: str) -> str:
    said = re.sub("`([^`]+)`", r"<code>\1</code>", escape(description))
    title = f"<h2><code>{method.upper()} {escape(', '.join(paths))}</code></h2>\n<p>{said}</p>\n"
    if not body:
        return title
    schema = schemas[body]
    fields = "".join(
        f"<tr><td><code>{escape(key)}</code></td><td>{escape(_kind(of))}</td>"
        f"<td>{_default(key in schema['required'], of.get('default'))}</td></tr>\n"
        for key, of in sorted(schema["properties"].items(), key=lambda field: field[0] not in schema["required"])
    )
    example = escape(json.dumps(schema["examples"][0], indent=2, ensure_ascii=False), quote=False)
    return (
        f"{title}<table><tr><th>key</th><th>is</th><th>if left out</th></tr>\n{fields}</table>\n"
        f'<form data-path="{escape(paths[0][1:])}"><p><textarea rows="{example.count(chr(10)) + 1}" '
        f'aria-label="body">{example}</textarea></p>\n<button>Send</button><pre></pre></form>\n'
    )


def _default(needed: bool, value: object) -> str:
    return "(needed)" if needed else "" if value in (None, "") else escape(json.dumps(value), quote=False)


def _kind(of: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in of:
        return " or ".join(_kind(one) for one in of["anyOf"] if one["type"] != "null")
    if "enum" in of:
        return ", ".join(of["enum"])
    if of["type"] == "array":
        return f"a list, each {_kind(of['items'])}"
    if of["type"] == "object":
        return "an object of numbers" if "additionalProperties" in of else "an object with a text"
    return {"string": "a text", "boolean": "true or false", "integer": "a whole number", "number": "a number"}[
        of["type"]
    ]
