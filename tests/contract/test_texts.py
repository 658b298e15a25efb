"""What is said of the nodes: the same everywhere, complete, and in both languages."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract import texts
from tests.hosts import ROOT

# Front ends compile translations: these would be placeholders, links and plurals.
SPECIAL = set("{}@|")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PICTURE = re.compile(r"!\[([^\]]+)\]\((pictures/[a-z_]+\.jpg)\)")
GLOSSARY = ROOT / "docs" / "chinese.md"


@pytest.fixture(scope="module")
def nodes() -> list[texts.Node]:
    return texts.nodes_of_the_pack()


def strings(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a locale, by the keys that lead to it."""
    if isinstance(value, str):
        yield place, value
    else:
        for key, inner in value.items():
            yield from strings(inner, f"{place}.{key}".strip("."))


def pages(nodes: list[texts.Node], language: str) -> dict[str, str]:
    """Every help page of a language, by its node."""
    return {
        node["id"]: texts.page_of(node["id"], language).read_text(encoding="utf-8")
        for node in nodes
    }


def test_help_pages_locale_and_document_say_what_the_tooltips_say(nodes: list[texts.Node]) -> None:
    stale = [
        path.relative_to(ROOT).as_posix()
        for path, text in texts.files(nodes).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "python -m tests.contract.texts writes them anew"


def test_the_chinese_locale_has_every_text_of_the_english_one(nodes: list[texts.Node]) -> None:
    english = dict(strings(texts.english_locale(nodes)))
    chinese = dict(strings(texts.locale_of("zh")))
    assert list(chinese) == list(english)
    for place, text in chinese.items():
        if place.endswith(("tooltip", "description")):
            assert CHINESE.search(text), place
        assert text.strip(), place


def test_numbers_and_options_are_the_same_in_both_languages(nodes: list[texts.Node]) -> None:
    chinese = dict(strings(texts.locale_of("zh")))
    for place, text in strings(texts.english_locale(nodes)):
        if place.endswith(("tooltip", "description")):
            assert facts_of(chinese[place]) == facts_of(text), place


def facts_of(text: str) -> set[str]:
    """Numbers, and options between quotes."""
    return set(re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?|(?<!\w)'[a-z ]+'", text))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_text_has_what_front_ends_take_for_a_placeholder(language: str) -> None:
    for place, text in strings(texts.locale_of(language)):
        assert not SPECIAL & set(text), place


def test_every_node_that_a_text_names_is_there(nodes: list[texts.Node]) -> None:
    titles = {node["display_name"] for node in nodes}
    for text in (*pages(nodes, "en").values(), *(t for _, t in strings(texts.locale_of("en")))):
        for name in re.findall(
            r"PCDM(?: (?:from|to))?(?: [A-Z]\w+(?: (?:from|to)(?= [A-Z]))?)+", text
        ):
            assert name in titles, name
    titles = {entry["display_name"] for entry in texts.locale_of("zh").values()}
    for text in (*pages(nodes, "zh").values(), *(t for _, t in strings(texts.locale_of("zh")))):
        for name in re.findall(r"“(PCDM [^”]+)”", text):
            assert name in titles, name


@pytest.mark.parametrize(("language", "heading"), [("en", "A common mistake"), ("zh", "常见错误")])
def test_every_node_has_a_help_page_with_a_picture_and_a_mistake(
    nodes: list[texts.Node], language: str, heading: str
) -> None:
    for node, page in pages(nodes, language).items():
        pictures = PICTURE.findall(page)
        assert pictures, node
        assert all((texts.HELP / path).is_file() for _, path in pictures), node
        mistake = page.split(f"## {heading}\n\n")[1].split("\n\n## ")[0]
        assert mistake, node


def test_every_help_page_belongs_to_a_node_and_every_picture_to_a_page(
    nodes: list[texts.Node],
) -> None:
    documents = [page for language in ("en", "zh") for page in pages(nodes, language).values()]
    expected = {texts.page_of(node["id"], language) for node in nodes for language in ("en", "zh")}
    assert set(texts.HELP.rglob("*.md")) == expected
    pictures = {path for page in documents for _, path in PICTURE.findall(page)}
    files = {path for path in texts.HELP.rglob("*") if path.is_file()} - expected
    assert {path.relative_to(texts.HELP).as_posix() for path in files} == pictures
    assert sum(path.stat().st_size for path in files) < 2_000_000


def test_chinese_texts_keep_to_the_glossary(nodes: list[texts.Node]) -> None:
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]*) \|$", GLOSSARY.read_text("utf-8"), re.M)
    table = [row for row in rows[1:] if not row[0].startswith("---")]
    assert len(table) > 15
    avoided = {word for _, _, words in table for word in words.strip().split(", ") if word}
    everything = "\n".join(
        [*pages(nodes, "zh").values(), *dict(strings(texts.locale_of("zh"))).values()]
    )
    for _, word, _ in table:
        assert word.strip() in everything, word
    assert not [word for word in avoided if word in everything]


def test_the_menus_names_are_translated(nodes: list[texts.Node]) -> None:
    # "loaders" and "sampling" are the host's own.
    menus = {part for node in nodes for part in node["category"].split("/")} - {"PCDM"}
    main = texts.json.loads((texts.LOCALES / "zh" / "main.json").read_text(encoding="utf-8"))
    assert menus - {"loaders", "sampling"} == set(main["nodeCategories"])


def test_locales_are_folders_that_the_host_reads() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in Path(texts.LOCALES).rglob("*.json")}
    assert names == {"locales/en/nodeDefs.json", "locales/zh/main.json", "locales/zh/nodeDefs.json"}
