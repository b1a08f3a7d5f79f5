"""Facts -> one HTML file: no network, readable in light and dark, usable by keyboard."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from html import escape
from importlib.resources import files
from typing import Any

from executorch_coreml.report.facts import Facts
from executorch_coreml.report.sections import sections
from executorch_coreml.report.units import ALL_RULES

_TOKEN = re.compile(r"\{\{(\w+)\}\}")
_KEYS = (
    "<p>Keys: <kbd>/</kbd> search, <kbd>↑</kbd> <kbd>↓</kbd> between ops, <kbd>Enter</kbd> open, "
    "<kbd>Esc</kbd> close, <kbd>t</kbd> light or dark.</p>"
)


def page(facts: Facts) -> str:
    """The report. Equal facts make equal pages."""
    parts = sections(facts)
    links = "".join(f'<a href="#{part.id}">{escape(part.name)}</a>' for part in parts if part.name)
    made = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    filled = {
        "title": escape(facts.title),
        "css": _file("page.css"),
        "js": _file("page.js"),
        "nav": links,
        "sections": "\n".join(part.html for part in parts),
        "footer": f"{_KEYS}<p>Made by etcoreml report. {escape(made)}.</p>",
        "facts": _json(_data(facts)),
    }
    return _TOKEN.sub(lambda token: filled[token[1]], _file("page.html"))


def _file(name: str) -> str:
    return files("executorch_coreml.report").joinpath(name).read_text(encoding="utf-8").rstrip()


def _data(facts: Facts) -> dict[str, Any]:
    """What the script needs: rows, the rules that they name, the blocks of all methods."""
    used = {key for row in facts.rows for key in row.rules}
    return {
        "program": facts.program,
        "rows": [asdict(row) for row in facts.rows],
        "rules": {
            key: {"says": rule.says, "sources": [asdict(source) for source in rule.sources]}
            for key, rule in ALL_RULES.items()
            if key in used
        },
        "blocks": [
            {"title": block.title, "rows": block.rows}
            for method in facts.methods
            for block in method.blocks
        ],
    }


def _json(value: Any) -> str:
    """JSON that cannot end the script element that it is in."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
