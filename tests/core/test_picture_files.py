"""What a picture file can do to the one who opens it: nothing but be refused, at little cost."""

import io
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from pcdm_core.cli import main
from pcdm_core.images import as_picture, fit, load_image, load_picture
from pcdm_core.picture_files import FORMATS, MAX_PIXELS, open_picture, picture_size
from tests.bounds import bounded
from tests.core.hostile_pictures import DAMAGED, MEGABYTE, TOO_LARGE, png, small, with_hole
from training.data import open_pictures
from training.evaluation.folders import read_pixels

ROOT = Path(__file__).resolve().parents[2]
COST_MAX = 200 * MEGABYTE

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
GHOSTSCRIPT = "#!/bin/sh\necho ran >> {log}\nexit 0\n"

LOAD_EACH = """
import json, os, resource, sys
from PIL import ExifTags, Image
from pcdm_core.images import load_picture


from PIL import Image
from pcdm_core.images import as_picture, load_picture

Image.init()
unit = 1 if sys.platform == "darwin" else 1024
for path in json.load(sys.stdin):
    if os.fork():
        os.wait()
        continue
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_picture(path)
        kind, said = "accepted", ""
    except Exception as error:
        kind, said = type(error).__name__, str(error)
    cost = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    print(json.dumps([os.path.basename(path), kind, said, cost]), flush=True)
    os._exit(0)
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str, int]]:
    """By file: the kind of error, its text, and what it cost in bytes at its peak."""
    if not hasattr(os, "fork"):
        pytest.skip("memory is measured in forked processes")
    folder = tmp_path_factory.mktemp("hostile")
    paths = []
    for name, write in {**TOO_LARGE, **DAMAGED}.items():
        write(folder / name)
        paths.append(str(folder / name))
    result = subprocess.run(
        [sys.executable, "-c", LOAD_EACH],
        input=json.dumps(paths),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for path in paths:
        Path(path).unlink()
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return {name: (kind, said, cost) for name, kind, said, cost in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(
    refusals: dict[str, tuple[str, str, int]], name: str
) -> None:
    kind, said, cost = refusals[name]
    assert kind == "ValueError", said
    assert f"{name}: a picture of " in said
    assert f"more than the {MAX_PIXELS:,}" in said
    assert "--max-pixels" in said
    assert cost < 30 * MEGABYTE


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_picture_is_refused_at_little_cost(
    refusals: dict[str, tuple[str, str, int]], name: str
) -> None:
    kind, said, cost = refusals[name]
    assert kind == "ValueError", f"{kind}: {said}"
    assert f"{name}: " in said
    assert "\n" not in said
    assert cost < COST_MAX


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Ghostscript is a script")
def test_a_postscript_file_runs_no_other_program_whatever_it_is_called(tmp_path: Path) -> None:
    log, programs = tmp_path / "log", tmp_path / "programs"
    programs.mkdir()
    (programs / "gs").write_text(GHOSTSCRIPT.format(log=log), encoding="utf-8")
    (programs / "gs").chmod(0o755)
    (tmp_path / "person.png").write_bytes(POSTSCRIPT)
    load = "import sys\nfrom pcdm_core.images import load_picture\nload_picture(sys.argv[1])"
    result = subprocess.run(
        [sys.executable, "-c", load, str(tmp_path / "person.png")],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert not log.exists()
    assert "person.png: not a picture that can be read" in result.stderr


@pytest.mark.parametrize("kind", ["EPS", "PPM", "TGA", "PDF", "ICNS", "PCX", "SGI"])
def test_other_formats_are_no_pictures_here(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "person.png"
    Image.new("RGB", (16, 16)).save(path, format=kind)
    for reader in (load_picture, read_pixels, picture_size):
        with pytest.raises(ValueError, match=r"person\.png: not a picture that can be read"):
            reader(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_formats_that_are_read_are_read_under_any_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "person.dat"
    path.write_bytes(small(kind))
    assert picture_size(path) == (8, 8)
    assert load_picture(path)[0, 0].mean() > 0.97


@pytest.mark.parametrize("kind", ["GIF", "MPO", "TIFF", "WEBP"])
def test_of_several_pictures_in_a_file_the_first_is_read(tmp_path: Path, kind: str) -> None:
    first, second = Image.new("RGB", (16, 8), "white"), Image.new("RGB", (16, 8), "black")
    path = tmp_path / "several.jpg"
    first.save(path, format=kind, save_all=True, append_images=[second])
    picture = load_picture(path)
    assert picture.shape == (1, 3, 8, 16)
    assert picture.min() > 0.97


def test_a_file_that_is_open_is_read_as_well() -> None:
    with open_picture(io.BytesIO(small("PNG"))) as image:
        assert np.asarray(image.convert("RGB")).shape == (8, 8, 3)
    with (
        pytest.raises(ValueError, match="the picture: a picture of 64 pixels"),
        open_picture(io.BytesIO(small("PNG")), max_pixels=63),
    ):
        pass


def test_the_limit_can_be_raised_beyond_pillows_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    path = tmp_path / "large.png"
    path.write_bytes(png(60_000, 60_000))
    with pytest.raises(ValueError, match="3,600,000,000 pixels, more than the 3,599,999,999"):
        picture_size(path, max_pixels=3_599_999_999)
    assert picture_size(path, max_pixels=3_600_000_000) == (60_000, 60_000)


def test_a_picture_of_the_most_pixels_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "person.png"
    path.write_bytes(small("PNG"))
    assert load_picture(path, max_pixels=64).shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match="64 pixels, more than the 63"):
        load_picture(path, max_pixels=63)


@pytest.mark.parametrize("command", ["pose", "generate"])
def test_the_commands_take_the_limit(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, pose = tmp_path / "person.png", tmp_path / "pose.json"
    path.write_bytes(small("PNG"))
    inputs = {
        "pose": [str(path)],
        "generate": ["--image", str(path), "--source-pose", str(pose), "--pose", str(pose)],
    }
    limits: dict[str, Any] = {"--max-pixels=63": "64 pixels", "--max-pixels=64": ""}
    for option, expected in limits.items():
        assert main([command, *inputs[command], option]) == 2
        said = capsys.readouterr().err
        assert ("person.png: a picture of" in said) == bool(expected)
        assert expected in said


def test_a_data_set_leaves_such_pictures_out(tmp_path: Path) -> None:
    people = tmp_path / "people" / "one"
    people.mkdir(parents=True)
    pose = "\n".join(f"0.5 {0.05 * joint:.2f}" for joint in range(18))
    contents = {"a": small("PNG"), "b": small("PNG"), "c": POSTSCRIPT, "d": png(60_000, 60_000)}
    for name, content in contents.items():
        (people / f"{name}.png").write_bytes(content)
        (people / f"{name}.txt").write_text(pose, encoding="utf-8")
    pictures = open_pictures(tmp_path / "people", "folder")
    assert pictures.names == ("one/a.png", "one/b.png")
    assert [Path(problem.path).name for problem in pictures.problems] == ["c.png", "d.png"]
    assert "not a picture" in pictures.problems[0].what
    assert "3,600,000,000 pixels" in pictures.problems[1].what


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_with_wrong_bytes_is_a_picture_or_is_named(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file, options = io.BytesIO(), {} if kind in ("BMP", "GIF") else {"exif": exif.tobytes()}
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format=kind, **options)
    draws, path = np.random.default_rng(1), tmp_path / "person.png"
    refused = 0
    for _ in range(150):
        content = bytearray(file.getvalue())
        # Most of what can be wrong stands at the beginning.
        for at in draws.integers(0, [20, 200, len(content)]).clip(max=len(content) - 1):
            content[at] = draws.choice([0, 1, 0x7F, 0x80, 0xFF, draws.integers(256)])
        path.write_bytes(content)
        try:
            assert load_picture(path).shape[1] == 3
        except ValueError as error:
            refused += 1
            assert "person.png: " in str(error)  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
    assert refused > 10


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", FORMATS)
def test_the_header_and_the_pixels_say_one_size(
    kind: str, orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "picture"
    Image.new("RGB", (30, 20)).save(path, kind, exif=exif)
    assert picture_size(path) == tuple(load_picture(path).shape[-2:])
    if kind == "PNG":  # and where the orientation stands behind the pixels
        Image.new("RGB", (30, 20)).save(path, kind)
        content, chunk = path.read_bytes(), b"eXIf" + exif.tobytes()[6:]
        chunk = (len(chunk) - 4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        path.write_bytes(content[:-12] + chunk + content[-12:])
        size = (30, 20) if orientation in (5, 6, 7, 8) else (20, 30)
        assert picture_size(path) == tuple(load_picture(path).shape[-2:]) == size


# --- work and memory ------------------------------------------------------------------------------


def flat(form: str, height: int, width: int, **options: Any) -> bytes:
    """A picture of one colour, whose file is as small as it can be."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 20, 200)).save(buffer, form, **options)
    return buffer.getvalue()


LARGE_FLAT: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"progressive": True}), ("WEBP", {"lossless": True, "method": 0}), ("PNG", {}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("form", "options"), LARGE_FLAT, ids=str)
def test_a_small_file_takes_500_mb_at_most_whatever_its_size(
    form: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Some are read, those near the limit are refused by name, and the cut ones are damaged."""
    path = tmp_path / f"flat.{form}"
    path.write_bytes(flat(form, 3000, 4000, **options))
    with bounded(476):
        assert load_picture(path).shape == (1, 3, 3000, 4000)
    content = flat(form, 6000, 8000, **options)
    path.write_bytes(content)
    assert len(content) < 480_000
    with bounded(476), pytest.raises(ValueError, match=r"flat\..*bytes for a size of 6000x8000"):
        load_picture(path)
    path.write_bytes(flat(form, 3000, 4000, **options)[: 30 if form == "WEBP" else 20_000])
    with bounded(476), pytest.raises(ValueError, match=r"flat\."):
        load_picture(path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["upright", "lying", "progressive", "transparent"])
def test_an_honest_picture_of_50_megapixels_is_fitted_in_500_mb(kind: str, tmp_path: Path) -> None:
    tile = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    image = Image.fromarray(np.tile(tile, (128, 96, 1)))
    path, exif = tmp_path / "phone", Image.Exif()
    exif[ExifTags.Base.Orientation] = 6 if kind == "lying" else 1
    if kind == "transparent":
        image.save(path, format="PNG", compress_level=1)
    else:
        form: dict[str, Any] = {
            "format": "JPEG",
            "progressive": kind == "progressive",
            "exif": exif,
        }
        image.convert("RGB").save(path, **form)
    del image
    with bounded(476):
        result, how = fit(load_image(path), 96, 64, "pad")
    assert result.shape == (1, 3, 96, 64)
    assert how.source == ((6144, 8192) if kind == "lying" else (8192, 6144))


def test_a_jpeg_that_goes_over_its_pixels_again_and_again_is_refused(tmp_path: Path) -> None:
    content = flat("JPEG", 64, 64, progressive=True)
    last = content.rindex(b"\xff\xda")
    path = tmp_path / "scans.jpg"
    for count, is_fine in ((80, True), (5000, False)):
        path.write_bytes(content[:last] + content[last:-2] * count + content[-2:])
        if is_fine:
            assert load_picture(path).shape == (1, 3, 64, 64)
        else:
            with pytest.raises(ValueError, match=r"scans\.jpg.*50\d\d scans over the picture"):
                load_picture(path)


def test_what_comes_behind_a_jpeg_is_not_read(tmp_path: Path) -> None:
    with_hole(tmp_path / "tail.jpg", small("JPEG"), 2000 * MEGABYTE)
    with bounded(200):
        assert load_picture(tmp_path / "tail.jpg").shape == (1, 3, 8, 8)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a system without /proc")
def test_a_file_without_a_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"^/proc/self/mem: cannot be read as a picture \("):
        load_picture("/proc/self/mem")


def test_reading_a_picture_leaves_the_callers_image_as_it_is() -> None:
    image = Image.new("RGB", (8, 4))
    image.getexif()[0x0112] = 6
    assert as_picture(image).shape == (1, 3, 8, 4)
    assert image.size == (8, 4)
    assert image.getexif()[0x0112] == 6
