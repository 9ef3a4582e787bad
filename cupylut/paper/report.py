"""One page of HTML from a record of `reproduce`: tables and pictures, all in the file."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from string import Template

from . import pictures
from .summary import Record, Section, sections

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 0 1rem 3rem;
  color: #111; background: #fff; overflow-wrap: anywhere; }
h1 { line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tbody tr:nth-child(even) { background: #f6f6f6; }
img { display: block; width: 100%; min-width: 36rem; height: auto; margin: 1rem 0; }
</style>
</head>
<body>
<h1>$title</h1>
<p>The experiments of Kim, Kim and Seo, “Lookup Table Optimization for Efficient GPU Inference of
High-Cost Activation Functions” (2024), redone with cupylut. Written by
<code>python -m cupylut report</code>.</p>
$body
</body>
</html>
""")


def page(record: Record) -> str:
    """The page. Raises ImportError without matplotlib."""
    drawn = set(pictures.keys(record))
    where = record["environment"]
    title = f"cupylut: the paper’s experiments on {where['name']}"
    body = "\n".join(
        line for section in sections(record) for line in _lines(record, section, drawn)
    )
    return _PAGE.substitute(title=escape(title), body=body)


def _lines(record: Record, section: Section, drawn: set[str]) -> Iterator[str]:
    yield f'<section id="{section.key}">'
    yield f"<h2>{escape(section.title)}</h2>"
    yield from (f"<p>{escape(paragraph)}</p>" for paragraph in section.text)
    if section.key in drawn:
        source = b64encode(pictures.svg(record, section.key)).decode()
        picture = f'<img alt="{escape(section.title)}" src="data:image/svg+xml;base64,{source}">'
        yield f'<div class="wide">{picture}</div>'
    if section.rows:
        yield '<div class="wide"><table>'
        yield f"<thead><tr>{_cells('th', section.header)}</tr></thead>"
        yield "<tbody>"
        yield from (f"<tr>{_cells('td', row)}</tr>" for row in section.rows)
        yield "</tbody></table></div>"
    yield "</section>"


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
