"""paper/report.py: one page that needs nothing else."""

import json
import re
import shutil
import subprocess
from base64 import b64decode
from dataclasses import asdict
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cupylut import cli
from cupylut.measuring.timing import Time
from cupylut.paper import pictures, report, reproduce, summary

RESULTS = Path(__file__).parents[1] / "docs" / "results"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
VOID = {"meta", "img"}
KEPT_TO_PAGE = {"where", "errors"}


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    return reproduce.read((RESULTS / "errors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def record(committed: dict[str, Any]) -> dict[str, Any]:
    """The committed errors with times that are made up."""

    def times(*who: str) -> dict[str, Any]:
        return {w: asdict(Time(10.0 + i, 11.0, 9.0, 12.0 + i, 5)) for i, w in enumerate(who)}

    three = "as written", "fused", "cupylut"
    row = {"dtype": "float32", "fastest": ["fused", "cupylut"], "layers": 1}
    speed = [
        {**row, "function": function, "tokens": tokens, "width": 3072,
         "times": times("copy", *three, "linear table")}
        for function in ("gelu_tanh", "gelu", "silu") for tokens in (128, 512)
    ]  # fmt: skip
    figure1 = [
        {**row, "tokens": tokens, "model": times(*three), "activation": times(*three),
         "share": dict.fromkeys(three, 0.1)}
        for tokens in (64, 128)
    ]  # fmt: skip
    figure2 = [
        {**row, "model": model, "batch": batch, "times": times("copy", *three),
         "gain": [0.9, 0.8, 1.1]}
        for model in ("BERT", "GPT-2") for batch in (1, 2)
    ]  # fmt: skip
    table1 = {**committed["table1"], "speed": speed}
    made = {**committed, "table1": table1, "figure1": figure1, "figure2": figure2}
    return reproduce.read(json.dumps(made))


@pytest.fixture(scope="module")
def page(record: dict[str, Any]) -> str:
    return report.page(record)


class Page(HTMLParser):
    """Tags that are open at the end, attributes that load something, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        self.loaded += [
            value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open[-1:] in (["td"], ["th"]):
            self.tables[-1][-1].append(data)


def images(page: str) -> list[bytes]:
    return [
        b64decode(found) for found in re.findall(r'src="data:image/svg\+xml;base64,(.*?)"', page)
    ]


def test_the_page_opens_without_a_network(page: str) -> None:
    found = Page(page)
    assert found.open == []
    assert len(found.loaded) == 5
    assert all(value.startswith("data:") for value in found.loaded)
    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"url\(|@import|<script|<link|<iframe", page)
    assert len(page) < 2**20


def test_the_pictures_need_nothing_either(page: str) -> None:
    for image in images(page):
        tree = ElementTree.fromstring(image)
        assert tree.tag == "{http://www.w3.org/2000/svg}svg"
        for element in tree.iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:"))


def test_everything_that_was_measured_is_there(record: dict[str, Any], page: str) -> None:
    found = Page(page)
    expected = [
        [[cell for cell in row if cell] for row in (section.header, *section.rows)]
        for section in summary.sections(record)
        if section.rows
    ]
    assert found.tables == expected
    assert len(expected) == 6
    text = "".join(found.text)
    for section in summary.sections(record):
        assert section.title in text
        for paragraph in section.text:
            assert paragraph in text


def test_a_phone_can_show_it(page: str) -> None:
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "max-width: 60rem" in page
    assert page.count('<div class="wide"><table>') == page.count("<table>")


def test_what_is_written_elsewhere_is_escaped(record: dict[str, Any]) -> None:
    where = {**record["environment"], "name": "<script>alert(1)</script> & $title"}
    text = report.page({**record, "environment": where})
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $title" in text
    assert Page(text).open == []


@pytest.mark.parametrize("part", reproduce.PARTS)
def test_a_page_of_one_part(record: dict[str, Any], part: str) -> None:
    head = {key: record[key] for key in ("format", "environment", "settings", "left_out")}
    some = {**head, part: record[part]}
    text = report.page(some)
    assert len(images(text)) == len(pictures.keys(some)) == (3 if part == "table1" else 1)


def test_rows_that_were_left_out_leave_an_empty_table(record: dict[str, Any]) -> None:
    """The time may be over before anything of a part was measured."""
    empty = {
        **record,
        "table1": {**record["table1"], "speed": []},
        "figure1": [],
        "figure2": [],
        "left_out": ["figure 1, float32, tokens 64: out of time"],
    }
    text = unescape(report.page(empty))
    assert "Left out: figure 1, float32, tokens 64: out of time." in text
    assert pictures.keys(empty) == ["table1", "errors"]


def test_the_committed_page_is_of_the_committed_results(committed: dict[str, Any]) -> None:
    """But for the pictures, which depend on the version of matplotlib."""
    page = (RESULTS / "errors.html").read_text(encoding="utf-8")
    image = re.compile(r"base64,.*?\"")
    again = report.page(committed)
    assert image.sub("", page) == image.sub("", again), "run python -m cupylut report ..."


def test_the_documentation_quotes_the_committed_results(committed: dict[str, Any]) -> None:
    text = (RESULTS.parent / "reproduce.md").read_text(encoding="utf-8")
    quoted = [s for s in summary.sections(committed) if s.key not in KEPT_TO_PAGE]
    assert len(quoted) == 2
    for section in quoted:
        assert "\n".join(summary.lines(section)) in text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "page.html"
    assert cli.main(["report", str(RESULTS / "errors.json"), "--output", str(output)]) == 0
    assert len(images(output.read_text(encoding="utf-8"))) == 2
    assert str(output) in capsys.readouterr().out


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to render the page with")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it(tmp_path: Path, page: str, width: int) -> None:
    """Every picture is drawn, and nothing but the tables is wider than the window."""
    measured = (
        "<script>onload = () => document.body.dataset.seen = JSON.stringify({"
        "page: document.documentElement.scrollWidth, window: innerWidth, images: "
        "[...document.images].map(image => image.complete && image.naturalWidth)})</script>"
    )
    (tmp_path / "page.html").write_text(page.replace("</body>", measured + "</body>"))
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000",
        f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900",
        "--dump-dom", (tmp_path / "page.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'data-seen="(.*?)"', done.stdout)
    assert match is not None
    seen = json.loads(unescape(match[1]))
    assert seen["page"] <= seen["window"]
    assert len(seen["images"]) == 5
    assert all(size > 0 for size in seen["images"])
