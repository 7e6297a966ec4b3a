"""A page as a checker sees it: elements, texts, links, and whether the markup is well formed and labelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "img", "input", "br"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""
    children: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """Every element of a page in order; raises AssertionError where tags do not nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open, (path, [e.tag for e in self._open])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), (self.path, tag, attrs)
        found = Element(tag, {name: value or "" for name, value in attrs}, tuple(e.tag for e in self._open))
        if self._open:
            self._open[-1].children.append(tag)
        self.elements.append(found)
        if tag not in VOID:
            self._open.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"{self.path}: <{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        assert self._open and self._open.pop().tag == tag, (self.path, tag)

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [e for e in self.elements if e.tag == tag]

    @property
    def ids(self) -> list[str]:
        return [e.attributes["id"] for e in self.elements if "id" in e.attributes]

    @property
    def links(self) -> list[str]:
        return [e.attributes[name] for e in self.elements for name in ("href", "src") if name in e.attributes]


def problems(page: Page) -> list[str]:
    """What keeps a page from being read by everyone."""
    found = [f"{page.path.name}: id {i} twice" for i in set(page.ids) if page.ids.count(i) > 1]
    if len(page.all("h1")) != 1 or not page.all("title")[0].text or not page.all("main"):
        found.append(f"{page.path.name}: needs one h1, a title and main")
    for element in page.elements:
        spoken = element.attributes.get("aria-label") or element.attributes.get("aria-labelledby")
        named = spoken or element.attributes.get("aria-hidden")
        if element.tag in ("svg", "nav") and not named:
            found.append(f"{page.path.name}: {element.tag} without a name")
        if element.tag in ("input", "select") and "label" not in element.parents:
            found.append(f"{page.path.name}: {element.tag} without a label")
        if element.tag == "img" and not element.attributes.get("alt"):
            found.append(f"{page.path.name}: img without alt")
        if element.tag == "table" and element.children[:1] != ["caption"]:
            found.append(f"{page.path.name}: table without caption")
        if element.tag == "th" and element.attributes.get("scope") not in ("row", "col"):
            found.append(f"{page.path.name}: th without scope")
        if element.tag in ("a", "button", "h1", "h2", "h3") and not (element.text.strip() or spoken):
            found.append(f"{page.path.name}: empty {element.tag}")
        if element.attributes.get("role") == "region" and not (spoken and "tabindex" in element.attributes):
            found.append(f"{page.path.name}: region that no key reaches")
        if any(name.startswith("on") or name == "style" for name in element.attributes):
            found.append(f"{page.path.name}: {element.tag} with {sorted(element.attributes)}")
    return found
