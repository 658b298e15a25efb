"""What documents say of the nodes, made of the nodes' own tooltips.

`python -m tests.contract.texts` writes anew, wherever a title, description, input or tooltip of a
node has changed:

- `locales/en/nodeDefs.json`, which ComfyUI shows;
- the sections of `docs/nodes.md` below "Sockets";
- of the help pages `web/docs/<node>.md` and `web/docs/<node>/zh.md` the beginning and the lists of
  inputs and outputs. What stands between (a picture, and common mistakes) is written by hand.

The Chinese texts are those of `locales/zh/nodeDefs.json`, which is written by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pcdm_core.files import write_text
from tests.hosts import ROOT, RUNTIME, ask

Node = dict[str, Any]

LOCALES = ROOT / "locales"
HELP = ROOT / "web" / "docs"
DOCUMENT = ROOT / "docs" / "nodes.md"
SOCKETS = "Inputs are required unless they\nsay optional; a value after the kind is the default.\n"
HEADINGS = {
    "en": ("Inputs", "Outputs", "- **{}**: {}", "- **{}** ({}): {}"),
    "zh": ("输入", "输出", "- **{}**：{}", "- **{}**（{}）：{}"),  # noqa: RUF001
}
SWITCH = {"en": ("off", "on"), "zh": ("关", "开")}


def main() -> None:
    """Write every file of which a node's texts are a part."""
    for path, text in files(nodes_of_the_pack()).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
            print(path.relative_to(ROOT))


def nodes_of_the_pack() -> list[Node]:
    """What `tests.contract.facts` finds out, in the host that is always there."""
    return ask("tests.contract.facts", RUNTIME)["nodes"]


def files(nodes: list[Node]) -> dict[Path, str]:
    """What the files should hold, the parts that are written by hand as they are."""
    english = english_locale(nodes)
    locales = {"en": english, "zh": locale_of("zh")}
    text = DOCUMENT.read_text(encoding="utf-8")
    head = text[: text.index(SOCKETS) + len(SOCKETS)]
    result = {
        LOCALES / "en" / "nodeDefs.json": json.dumps(english, indent=1, ensure_ascii=False) + "\n",
        DOCUMENT: head + "".join(f"\n{section(node)}" for node in nodes),
    }
    for node in nodes:
        for language, texts in locales.items():
            path = page_of(node["id"], language)
            result[path] = page(node, texts[node["id"]], language, path)
    return result


def locale_of(language: str) -> dict[str, Any]:
    """What ComfyUI shows of the nodes in a language."""
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def english_locale(nodes: list[Node]) -> dict[str, Any]:
    """The schemas' texts in the form of `nodeDefs.json`."""

    def entry(item: Node) -> dict[str, str]:
        return {"name": item["id"], "tooltip": item["tooltip"]}

    return {
        node["id"]: {
            "display_name": node["display_name"],
            "description": node["description"],
            "inputs": {item["id"]: entry(item) for item in node["inputs"]},
            "outputs": {str(number): entry(item) for number, item in enumerate(node["outputs"])},
        }
        for node in nodes
    }


def page_of(node: str, language: str) -> Path:
    """Where front ends look for a node's help: first for the language's own page."""
    return HELP / (f"{node}.md" if language == "en" else f"{node}/{language}.md")


def page(node: Node, texts: dict[str, Any], language: str, path: Path) -> str:
    """A help page, with what it has between its first picture and its table of inputs."""
    inputs, outputs, line, line_with_default = HEADINGS[language]
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    start, _, rest = old.partition("![")
    by_hand = f"![{rest.partition(f'## {inputs}')[0].strip()}" if start and rest else "![]()"
    lines = [f"# {texts['display_name']}", "", texts["description"], "", by_hand, ""]
    lines += [f"## {inputs}", ""]  # lists: in the narrow panel of front ends a table is cut off
    for item in node["inputs"]:
        words, value = texts["inputs"][item["id"]], default_of(item, language)
        parts = (label(item, words), value, words["tooltip"])
        lines.append(line_with_default.format(*parts) if value else line.format(*parts[::2]))
    lines += ["", f"## {outputs}", ""]
    for item, words in zip(node["outputs"], texts["outputs"].values(), strict=True):
        lines.append(line.format(label(item, words), words["tooltip"]))
    return "\n".join(lines) + "\n"


def label(item: Node, texts: dict[str, str]) -> str:
    """An input's name in the page's language, and its id where that is another."""
    return texts["name"] if texts["name"] == item["id"] else f"{texts['name']} `{item['id']}`"


def default_of(item: Node, language: str = "en") -> str:
    """The value that a new node's widget has; empty for a socket and an empty text."""
    if isinstance(item["default"], bool):
        return SWITCH[language][item["default"]]
    return "" if item["default"] in (None, "") else f"{item['default']}"


def section(node: Node) -> str:
    """A node's part of `docs/nodes.md`."""
    kinds = [kind for names in node["info"]["inputs"].values() for kind in names]
    inputs = {name: kind for name, kind in kinds}
    lines = [f"### `{node['id']}`", "", f"{node['display_name']}. {node['description']}", ""]
    lines += ["| socket | kind | what |", "| --- | --- | --- |"]
    for item in node["inputs"]:
        kind = inputs[item["id"]]
        parts = ["COMBO" if isinstance(kind, list) else kind, default_of(item)]
        parts += ["optional"] if item["optional"] else []
        lines.append(f"| `{item['id']}` | {', '.join(filter(None, parts))} | {item['tooltip']} |")
    for item, (_, kind) in zip(node["outputs"], node["info"]["outputs"], strict=True):
        lines.append(f"| `{item['id']}` (output) | {kind} | {item['tooltip']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
