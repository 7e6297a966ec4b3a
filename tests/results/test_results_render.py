"""Names and notes as text: no line break leaves a comment or a row, no markup leaves a cell."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from ltbench.results import load_results
from ltbench.results.render import Table, render
from ltbench.results.tables import leaderboard

EVIL = "a|b\n\\evil{} & 50% <b>x</b>\r\n  two\u2028three\tfour"
FLAT = "a|b \\evil{} & 50% <b>x</b> two three four"
TABLE = Table(f"title {EVIL}", ["method", EVIL], [[EVIL, "1.00"], ["plain", EVIL]], [], [f"* {EVIL}", "second"])
EMPTY = Table(EVIL, ["method", EVIL], [], [], [EVIL])


class Seen(HTMLParser):
    """Tags in order and the text of each element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("table", [TABLE, EMPTY])
def test_latex_comments_and_rows_stay_on_their_line(table: Table) -> None:
    lines = render([table], "latex").split("\n")
    rows = 1 + len(table.rows)
    plain = [line for line in lines if line and not line.startswith("%")]
    kinds = ("\\begin{tabular}", "\\toprule", "\\midrule", "\\bottomrule", "\\end{tabular}")
    body = [line for line in plain if not line.startswith(kinds)]
    assert len(body) == rows and all(line.count("\\\\") == 1 and line.endswith("\\\\") for line in body)
    assert lines[0] == f"% {' '.join(table.title.split())}" and "\\evil{}" not in "\n".join(plain)
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == 1 and not re.search(r"(?<!\\)[%$#_]", line), line
    assert [line for line in lines if line.startswith("%")][1:] == [f"% {' '.join(n.split())}" for n in table.notes]


def test_html_holds_no_tag_but_its_own() -> None:
    seen = Seen(render([TABLE], "html"))
    assert set(seen.tags) == {"h3", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    assert (seen.tags.count("tr"), seen.tags.count("th"), seen.tags.count("td"), seen.tags.count("li")) == (3, 2, 4, 2)
    words = [text.strip() for text in seen.texts]
    assert words.count(FLAT) == 3 and f"title {FLAT}" in words and f"* {FLAT}" in words


def test_markdown_rows_have_as_many_cells_as_the_header() -> None:
    text = render([TABLE], "markdown")
    lines = [line for line in text.split("\n") if line.startswith("|")]
    assert len(lines) == 4 and all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)
    assert "a\\|b" in lines[0] and text.startswith(f"**title {FLAT}**\n\n") and f"\n- * {FLAT}\n- second\n" in text


def test_a_terminal_table_has_one_line_for_each_row() -> None:
    lines = render([TABLE], "table").split("\n")
    assert len(lines) == 2 + 2 + 2 + 2 + 1 and lines[0] == f"title {FLAT}" and lines[4].startswith(f"  {FLAT}")


def test_a_reason_of_a_method_cannot_leave_its_comment(tmp_path, cell) -> None:
    cell("a", cell={"owns": {"optimizer": "why\n\\evil{}"}})
    text = leaderboard(load_results(tmp_path), fmt="latex")
    (line,) = [line for line in text.splitlines() if "evil" in line]
    assert line == "% * a fixes optimizer (why \\evil{})"
