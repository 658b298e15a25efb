"""What people read and see of the nodes beside the canvas: help, their language, colours."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.editor import Editor

NODE = "PCDMInpaintingSampler"
KIND, COLOUR = "PCDM_POSE", "#26c6da"
AS_RGB = "rgb(38, 198, 218)"
PALETTE = "Comfy.ColorPalette"
TITLE = {"en": "PCDM Inpainting Sampler", "zh": "PCDM 重绘采样器"}
INPUT = {"en": "steps", "zh": "步数"}

SELECT = f"""
(() => {{
  app.graph.clear()
  const node = LiteGraph.createNode('{NODE}')
  node.pos = [300, 200]
  app.graph.add(node)
  app.canvas.selectNode(node)
  pcdm.look(1)
}})()
"""
#: The picture of the page that is shown, as wide as it is on the screen, and the page's words.
HELP = """
(() => {
  const picture = document.querySelector('img[src$="/docs/pictures/canvas.jpg"]')
  if (!picture?.complete || !picture.naturalWidth) return null
  return [picture.getBoundingClientRect().width, picture.parentElement.parentElement.innerText]
})()
"""
COLOURS = f"""
[app.canvas.default_connection_color_byType.{KIND},
 app.canvas.constructor.link_type_colors.{KIND},
 getComputedStyle(document.documentElement).getPropertyValue('--color-datatype-{KIND}').trim()]
"""


@pytest.fixture
def speaking(opened: Editor) -> Iterator[Editor]:
    """The page, in English again afterwards."""
    try:
        yield opened
    finally:
        speak(opened, "en")


def speak(editor: Editor, language: str) -> None:
    editor.page.run(f"app.extensionManager.setting.set('Comfy.Locale', '{language}')")
    editor.load()
    editor.close_dialogs()


def set_palette(editor: Editor, name: str) -> None:
    editor.page.run(f"app.extensionManager.setting.set('{PALETTE}', {json.dumps(name)})")
    editor.page.run("new Promise((done) => setTimeout(done, 500))")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_node_shows_its_help_page_with_its_picture_in_the_persons_language(
    speaking: Editor, language: str
) -> None:
    speak(speaking, language)
    speaking.page.run(SELECT)
    info = "document.querySelector('[data-testid=info-button]')"
    speaking.page.wait(info + " !== null", 30)
    speaking.page.run(info + ".click()")
    speaking.page.wait(HELP + " !== null", 30)
    width, text = speaking.page.run(HELP)
    assert width > 100
    assert TITLE[language] in text
    names = f"app.graph.nodes.findLast((node) => node.type === '{NODE}')"
    labels = speaking.page.run(f"{names}.widgets.map((widget) => widget.label ?? widget.name)")
    assert INPUT[language] in labels
    assert speaking.page.run(f"{names}.title") == TITLE[language]


def test_sockets_and_links_keep_their_colours_with_every_palette(opened: Editor) -> None:
    try:
        for name in ("light", "dark", "nord"):
            set_palette(opened, name)
            assert opened.page.run(COLOURS) == [COLOUR, COLOUR, AS_RGB], name
    finally:
        set_palette(opened, "dark")


def test_a_palette_that_names_a_kind_is_obeyed(opened: Editor) -> None:
    def entry(value: str) -> Any:
        opened.page.run(f"app.canvas.default_connection_color_byType.{KIND} = '{value}'")
        return opened.page.run(COLOURS)[0]

    assert entry("#123456") == "#123456"
    assert entry("") == COLOUR
