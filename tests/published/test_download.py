"""`pcdm models get` against a server that behaves as the hub and Google Drive do."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pcdm_core.published.download import DownloadError, get, get_all
from pcdm_core.published.table import Source, model_files
from tests.hosts import ROOT
from tests.published.public_server import QUOTA, VIRUS_SCAN, Public, serve

MODELS = "huggingface_hub, gdown and requests come with an extra (models)"
constants = pytest.importorskip("huggingface_hub.constants", reason=MODELS)
pytest.importorskip("gdown", reason=MODELS)
requests = pytest.importorskip("requests", reason=MODELS)

CONTENT = bytes(range(256)) * 4096  # 1 MB
LARGE = CONTENT * 24  # huggingface_hub writes blocks of 10 MB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PATH = "folder/model.safetensors"
IDENTITY = "1" + "a" * 32
ON_HUB = Source(
    "model.safetensors", "MIT", hub="someone/model", path=PATH, bytes=len(CONTENT), sha256=DIGEST
)
ON_DRIVE = Source("s2_512.pt", "none", drive_folder="f" * 33, drive_file=IDENTITY)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> Iterator[Public]:
    """The server, to which the addresses of the hub and of Drive lead."""
    with serve() as server:
        server.files = {PATH: CONTENT, IDENTITY: CONTENT}
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        file_download = pytest.importorskip("huggingface_hub.file_download", reason=MODELS)
        for module in (constants, file_download):  # the second in versions before 1
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        send = requests.adapters.HTTPAdapter.send

        def to_server(adapter: Any, request: Any, **options: Any) -> Any:
            host, _, path = request.url.removeprefix("https://").partition("/")
            if request.url.startswith("https:"):  # older versions of the hub come by too
                assert host in ("drive.google.com", "drive.usercontent.google.com"), request.url
                request.url = f"{server.address}/{path}"
            return send(adapter, request, **options)

        monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", to_server)
        yield server


def rows(*sources: Source) -> list[Any]:
    return [replace(model_files()[0], sources=(source,)) for source in sources]


@pytest.mark.parametrize("source", [ON_HUB, ON_DRIVE], ids=["hub", "Drive"])
def test_a_file_is_downloaded_once_under_its_name(
    source: Source, public: Public, tmp_path: Path
) -> None:
    lines: list[str] = []
    get_all(rows(source), tmp_path / "new", say=lines.append)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [source.name]
    assert (tmp_path / "new" / source.name).read_bytes() == CONTENT
    count = len(public.requests)
    get_all(rows(source), tmp_path / "new", say=lines.append)
    assert len(public.requests) == count
    assert lines[-1] == f"{source.name}: already in {tmp_path / 'new'}"


@pytest.mark.parametrize("source", [ON_HUB, ON_DRIVE], ids=["hub", "Drive"])
def test_a_body_that_breaks_off_is_continued_where_it_ended(
    source: Source, public: Public, tmp_path: Path
) -> None:
    public.files = dict.fromkeys((PATH, IDENTITY), LARGE)
    public.cut = (22_000_000, 1)
    source = replace(source, bytes=len(LARGE), sha256=hashlib.sha256(LARGE).hexdigest())
    assert get(source, tmp_path).read_bytes() == LARGE
    assert len(public.ranges) == 1
    assert 10_000_000 < int(public.ranges[0][6:-1]) <= 22_000_000


def test_drives_page_about_viruses_is_answered(public: Public, tmp_path: Path) -> None:
    public.page[IDENTITY] = VIRUS_SCAN
    assert get(ON_DRIVE, tmp_path).read_bytes() == CONTENT
    assert f"GET /download?id={IDENTITY}&confirm=t" in public.requests


def test_drives_page_about_its_quota_is_named_with_what_to_do(
    public: Public, tmp_path: Path
) -> None:
    public.page[IDENTITY] = QUOTA
    lines: list[str] = []
    with pytest.raises(ValueError, match="1 of 2 files are missing") as caught:
        get_all(rows(ON_DRIVE, ON_HUB), tmp_path, say=lines.append)
    assert "its quota for this file is used up" in str(caught.value)
    assert "Try again in some hours" in str(caught.value)
    assert f"s2_512.pt: https://drive.google.com/file/d/{IDENTITY}/view" in str(caught.value)
    assert (tmp_path / ON_HUB.name).read_bytes() == CONTENT  # the other one has come


def test_a_page_without_a_file_behind_it_is_named(public: Public, tmp_path: Path) -> None:
    public.page[IDENTITY] = "<html><body>Sign in</body></html>"
    with pytest.raises(DownloadError, match="shows a page instead of the file"):
        get(ON_DRIVE, tmp_path)
    public.page.clear()
    public.files[IDENTITY] = b"\n <!DOCTYPE html><html>Sorry</html>"
    with pytest.raises(DownloadError, match="a web page came"):
        get(ON_DRIVE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_drive_is_looked_up_in_its_folder_where_only_that_is_known(
    public: Public, tmp_path: Path
) -> None:
    source = replace(ON_DRIVE, name="s1_256.pt", drive_file="")
    public.folder[ON_DRIVE.drive_folder] = {"s2_256.pt": "2" * 33, "s1_256.pt": IDENTITY}
    assert get(source, tmp_path).read_bytes() == CONTENT
    public.folder[ON_DRIVE.drive_folder] = {"s2_256.pt": "2" * 33}
    with pytest.raises(DownloadError, match=r"not in the folder .*, which has: s2_256\.pt"):
        get(source, tmp_path / "other")


def test_a_file_of_another_size_or_hash_is_thrown_away(public: Public, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"has {len(CONTENT)} bytes now, expected 5"):
        get(replace(ON_HUB, bytes=5), tmp_path)
    with pytest.raises(DownloadError, match=f"its SHA-256 is {DIGEST}, expected 00"):
        get(replace(ON_HUB, sha256="00"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    public.files.clear()
    with pytest.raises(DownloadError, match="the hub refused"):
        get(ON_HUB, tmp_path)


def test_another_file_of_that_name_is_not_touched(public: Public, tmp_path: Path) -> None:
    (tmp_path / ON_HUB.name).write_bytes(b"mine")
    with pytest.raises(ValueError, match="is another file"):
        get_all(rows(ON_HUB), tmp_path)
    assert (tmp_path / ON_HUB.name).read_bytes() == b"mine"
    assert public.requests == []


def test_offline_nothing_is_asked_and_the_addresses_are_given(
    public: Public, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="Offline: ") as caught:
        get_all(rows(ON_HUB, ON_DRIVE), tmp_path, offline=True)
    for source in (ON_HUB, ON_DRIVE):
        assert source.address in str(caught.value)
    assert public.requests == []


def test_a_disk_without_room_is_named_before_anything_is_asked(
    public: Public, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"1000000\.00 GB are to come"):
        get_all(rows(replace(ON_DRIVE, bytes=10**15)), tmp_path)
    assert public.requests == []


STOPPED = """
import signal
from pathlib import Path
from pcdm_core.published.download import get_all
from pcdm_core.published.table import Source, model_files
from dataclasses import replace
source = {source!r}
signal.signal(signal.SIGINT, signal.default_int_handler)  # off in shells' background jobs
get_all([replace(model_files()[0], sources=(source,))], Path({folder!r}))
"""


@pytest.mark.skipif(
    sys.platform == "win32", reason="a test cannot press Ctrl-C for one child there"
)
@pytest.mark.slow
def test_after_ctrl_c_the_next_call_goes_on_with_what_has_come(
    public: Public, tmp_path: Path
) -> None:
    source = replace(ON_HUB, bytes=len(LARGE), sha256=hashlib.sha256(LARGE).hexdigest())
    public.files[PATH] = LARGE
    public.cut, public.stall = (22_000_000, 1), True
    script = STOPPED.format(source=source, folder=str(tmp_path))
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": public.address, "HF_HUB_OFFLINE": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    part = tmp_path / f"{source.name}.part"
    for _ in range(600):
        if part.is_file() and part.stat().st_size >= 10_000_000:
            break
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=60)
    assert b"the same command goes on with what has come" in output
    size = part.stat().st_size
    assert size >= 10_000_000
    public.stall = False
    get_all(rows(source), tmp_path)
    assert public.ranges == [f"bytes={size}-"]
    assert (tmp_path / source.name).read_bytes() == LARGE
