"""A real browser on a real ComfyUI. Both must be there; otherwise the tests are skipped.

`COMFYUI_FRONTENDS` names folders with a front end each, parted as in PATH: every test then runs on
every one of them. Without it they run on the front end that the host brings. Such a folder is what
`pip install --no-deps --target FOLDER comfyui-frontend-package==VERSION` fills.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chromium import Page
from tests.browser.editor import Editor
from tests.nodes.conftest import comfyui_path
from tests.workflows.conftest import Server, serving

__all__ = ["comfyui_path"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FRONTENDS = "COMFYUI_FRONTENDS"
OWN = "own"  # the front end that the host brings
PLACES = ("comfyui_frontend_package/static", "static", ".")


def frontend_folders() -> list[str]:
    """The folders that are named, or the one word that stands for the host's front end."""
    return [part for part in os.environ.get(FRONTENDS, "").split(os.pathsep) if part] or [OWN]


def frontend_name(folder: str) -> str:
    """A short name for the tests' ids: the version where the folder tells it."""
    infos = sorted(Path(folder).glob("comfyui_frontend_package-*.dist-info"))
    version = re.search(r"-([\d.]+)\.dist-info$", infos[0].name) if infos else None
    return version.group(1) if version else Path(folder).name


def root_of(folder: str) -> Path:
    """Where the pages of a front end lie in the folder of its package."""
    for place in PLACES:
        root = Path(folder, place).resolve()
        if (root / "index.html").is_file():
            return root
    raise AssertionError(f"{FRONTENDS}: {folder} holds no front end (no index.html in {PLACES})")


@pytest.fixture(scope="session", params=frontend_folders(), ids=frontend_name)
def server(
    request: pytest.FixtureRequest, comfyui_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The host with one of the front ends."""
    options = () if request.param == OWN else ("--front-end-root", str(root_of(request.param)))
    with serving(comfyui_path, tmp_path_factory.mktemp("server"), options) as started:
        yield started


@pytest.fixture(scope="session")
def chromium(comfyui_path: object) -> str:
    """The browser that CHROMIUM names, or one that is installed."""
    setting = os.environ.get("CHROMIUM")
    executable = setting or next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no Chromium: install one, or set CHROMIUM to its program")
    return executable


@pytest.fixture(scope="module")
def page(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    opened = Page(chromium, tmp_path_factory.mktemp("chromium"), 1400, 1000)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module", params=["classic", "vue"])
def style(request: pytest.FixtureRequest) -> str:
    """The two ways in which front ends draw nodes."""
    return request.param


@pytest.fixture(scope="module")
def opened(page: Page, server: Server, style: str) -> Editor:
    editor = Editor(page, server)
    editor.open(style)
    editor.need(style)
    return editor


@pytest.fixture
def editor(opened: Editor) -> Iterator[Editor]:
    """The node alone in a new graph; no test may leave an error on the page."""
    opened.page.errors.clear()
    opened.new()
    yield opened
    opened.page.run("new Promise((done) => setTimeout(done, 0))")
    assert opened.page.errors == []
