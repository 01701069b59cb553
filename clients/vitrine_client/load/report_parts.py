"""What the page of a result is made of: its style, tables, and lists of named values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vitrine_client.load import charts

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f6f9; --paper: #ffffff; --ink: #1c2330; --muted: #5c6675; --line: #dde2ea; --well: #eceff4;
  --good: #00684d; --bad: #b3330a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e121a; --paper: #171c26; --ink: #e8ecf2; --muted: #a3adbb; --line: #2b3342; --well: #212837;
    --good: #4fd1a1; --bad: #ff8f66;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
}
main, header { max-width: 1000px; margin: 0 auto; padding: 0 16px; }
main { padding-bottom: 40px; }
header { padding-top: 36px; }
h1 { font-size: clamp(1.6rem, 5vw, 2.4rem); line-height: 1.15; margin: 4px 0 10px; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 0 0 6px; }
p { margin: 0 0 10px; max-width: 76ch; }
.eyebrow { color: var(--muted); font-size: .8rem; text-transform: uppercase; letter-spacing: .08em; margin: 0; }
.note { color: var(--muted); font-size: .875rem; }
.verdict { font-size: 1.15rem; font-weight: 650; }
.kept { color: var(--good); } .missed { color: var(--bad); }
.callout { border-left: 4px solid var(--bad); background: var(--paper); padding: 10px 14px; max-width: none; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 14px; padding: 20px; margin: 18px 0; }
dl.figures {
  display: flex; flex-wrap: wrap; gap: 1px; margin: 18px 0 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 14px; overflow: hidden;
}
dl.figures div { flex: 1 1 128px; background: var(--paper); padding: 12px 16px; }
dt { color: var(--muted); font-size: .85rem; }
dl.figures dd { margin: 0; font-size: 1.5rem; font-weight: 650; font-variant-numeric: tabular-nums; }
dl.settings { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; font-size: .9rem; }
dl.settings dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 560px) {
  section { padding: 16px; }
  dl.settings { display: block; }
  dl.settings dd { margin: 0 0 8px; }
}
.scroll { overflow-x: auto; margin-bottom: 10px; }
.scroll:focus-visible { outline: 2px solid var(--s0); }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
.scroll table { width: 100%; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--muted); font-weight: 600; }
tbody th { font-weight: 500; }
@media print { section { break-inside: avoid; } }
"""


def named(values: Mapping[str, Any]) -> str:
    """A list; what was not given is left out."""
    given = {name: value for name, value in values.items() if value is not None and value != ""}
    inside = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(str(value))}</dd>" for name, value in given.items()
    )
    return f'<dl class="settings">{inside}</dl>'


def table(name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Each row begins with its name, and goes on with numbers."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in header)
    body = "".join(
        f'<tr><th scope="row">{escape(str(first))}</th>{"".join(f"<td>{cell(value)}</td>" for value in values)}</tr>'
        for first, *values in rows
    )
    return scrolled(name, f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>")


def scrolled(name: str, table: str) -> str:
    """On a phone, a wide table moves within its frame: by keys, too."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}"><table>{table}</table></div>'


def cell(value: float | None) -> str:
    """A number, or that there is none."""
    return "&ndash;" if value is None else charts.number(value)
