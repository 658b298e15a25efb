"""How the pose editor looks and loads: sharp screens, themes, narrow nodes, its modules."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pcdm_core.pose.editor import library
from tests.browser.editor import Editor

LEFT_ELBOW, RIGHT_WRIST = 6, 4
STANDING = library()[0].keypoints.to_pixels(768, 512)[0]
LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text of this size
PALETTE = "Comfy.ColorPalette"

#: Colours of a part and of what lies behind it, as the browser resolved them.
COLOURS = """
(() => {
  const context = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1)
    context.fillStyle = colour
    context.fillRect(0, 0, 1, 1)
    return [...context.getImageData(0, 0, 1, 1).data]
  }
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor)
      if (colour[3] > 250) return colour
    }
    return [255, 255, 255, 255]
  }
  const editor = pcdm.editor()
  const parts = { hint: editor.hint, area: editor.textArea, heading: editor.picker.firstChild,
                  key: editor.keys.querySelector('dt'), what: editor.keys.querySelector('dd') }
  for (const [name, button] of Object.entries(editor.buttons))
    if (!button.disabled) parts[`button ${name}`] = button
  return Object.fromEntries(Object.entries(parts).map(
    ([name, part]) => [name, [rgba(getComputedStyle(part).color), behind(part)]]))
})()
"""


@pytest.fixture
def sharp(editor: Editor) -> Iterator[Editor]:
    """The editor on a screen with two pixels for each CSS pixel."""
    editor.page.resize(1400, 1000, density=2)
    try:
        editor.settle()
        yield editor
    finally:
        editor.page.resize(1400, 1000)


def pixels_per_screen_pixel(editor: Editor) -> float:
    """Of the canvas, along its width: 1 is as sharp as the screen."""
    return editor.page.run(
        "(({ canvas }) => canvas.width / (canvas.getBoundingClientRect().width * devicePixelRatio))"
        "(pcdm.editor())"
    )


@pytest.mark.parametrize("zoom", [1, 1.6])
def test_a_sharp_screen_gets_a_sharp_drawing_and_the_pointer_hits(
    sharp: Editor, zoom: float
) -> None:
    assert sharp.page.run("devicePixelRatio") == 2
    sharp.page.run(f"pcdm.look({zoom}, -60, {'-260' if zoom > 1 else '0'})")
    sharp.settle()
    assert pixels_per_screen_pixel(sharp) == pytest.approx(1, abs=0.01)
    sharp.drag(LEFT_ELBOW, 400, 250)
    x, y, confidence = sharp.point(LEFT_ELBOW)
    assert confidence == 1
    assert abs(x - 400) <= 3
    assert abs(y - 250) <= 3


def test_the_drawing_follows_from_a_coarse_screen_to_a_sharp_one_and_back(editor: Editor) -> None:
    before = pixels_per_screen_pixel(editor)
    assert before == pytest.approx(1, abs=0.01)
    width = editor.page.run("pcdm.editor().canvas.width")
    editor.page.resize(1400, 1000, density=2)
    try:
        editor.page.wait(f"pcdm.editor().canvas.width > 1.9 * {width}", 10)
    finally:
        editor.page.resize(1400, 1000)
    editor.page.wait(f"pcdm.editor().canvas.width < 1.1 * {width}", 10)


def luminance(colour: list[int]) -> float:
    """WCAG's relative luminance of an RGBA colour."""
    channels = np.array(colour[:3]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(colours: list[list[int]]) -> float:
    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("palette", ["dark", "light", "solarized", "nord", "github"])
def test_everything_can_be_read_in_every_theme(editor: Editor, palette: str) -> None:
    page = editor.page
    setting = "app.extensionManager.setting"
    page.run(f"{setting}.set('{PALETTE}', {json.dumps(palette)}).then(() => null)")
    try:
        page.wait(f"{setting}.get('{PALETTE}') === {json.dumps(palette)}", 10)
        editor.settle()
        editor.drag(RIGHT_WRIST, 60, 120)
        editor.press("keys")  # a pressed button is one of the things to read
        colours_by_part: dict[str, Any] = page.run(COLOURS)
        assert {"hint", "button undo", "button keys", "what"} <= colours_by_part.keys()
        faint = {
            name: f"{contrast(colours):.1f} {colours}"
            for name, colours in colours_by_part.items()
            if contrast(colours) < LEAST_CONTRAST
        }
        assert not faint
        ground = page.run("getComputedStyle(pcdm.editor().element).backgroundColor")
    finally:
        page.run(f"{setting}.set('{PALETTE}', 'dark').then(() => null)")
    if palette == "light":
        assert min(map(int, ground.removeprefix("rgb(").rstrip(")").split(",")[:3])) > 180


def test_modules_are_those_that_the_host_loads_and_do_nothing_alone(editor: Editor) -> None:
    """The host loads each file of the folder as if it were an extension."""
    page = editor.page
    served = page.run("fetch('/extensions').then((reply) => reply.json())")
    modules = [path for path in served if "/pose_editor/" in path]
    assert len(modules) >= 2 * 7  # the pack lies there twice
    before = page.run("app.extensions.map((extension) => extension.name)")
    assert before.count("PCDM.PoseEditor") == 1
    for path in modules:
        names = page.run(f"import({json.dumps(path)}).then((module) => Object.keys(module))")
        assert names, f"{path} gives nothing to whoever imports it"
        assert "default" not in names
    assert page.run("app.extensions.map((extension) => extension.name)") == before
    # The editor on the screen is made by the very module that the host loaded, of one copy.
    one = page.run(
        "Promise.all([import('/extensions/a-pack-of-any-name/pose_editor/editor.js'),"
        " import('/extensions/second-copy/pose_editor/editor.js')]).then((modules) =>"
        " modules.filter(({ PoseEditor }) => pcdm.editor() instanceof PoseEditor).length)"
    )
    assert one == 1
    assert page.errors == []
