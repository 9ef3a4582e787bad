"""Tables in Markdown."""

from collections.abc import Iterable, Iterator, Sequence


def table(rows: Iterable[Sequence[str]], left: int = 1) -> Iterator[str]:
    """The lines of a table; the first row is its header, so many columns are flush left."""
    header, *others = rows
    yield row(header)
    yield "|" + "---|" * left + "---:|" * (len(header) - left)
    yield from map(row, others)


def row(cells: Iterable[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"
