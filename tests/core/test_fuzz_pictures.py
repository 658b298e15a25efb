"""Damaged pictures, of fixed seeds: what they hold or an error in words, in bounds."""

import io
import random
from pathlib import Path

import pytest
from PIL import Image

from pcdm_core.images import fit, load_image, load_picture
from tests.core.test_fuzz_weights import Cases, attempt, cut_or_grow, flip_bytes

LARGE = 476  # MiB, which are 500 MB: damage may make a large picture of a small one


def picture_bytes(form: str) -> bytes:
    image = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
    image.paste((200, 30, 90), (5, 5, 20, 25))
    buffer = io.BytesIO()
    image.save(buffer, format=form, **({"exif": Image.Exif()} if form == "JPEG" else {}))
    return buffer.getvalue()


def damaged_picture(content: bytes, rng: random.Random) -> bytes:
    """Mostly the header, where sizes stand."""
    kind = rng.random()
    if kind < 0.5:
        return flip_bytes(content, rng, 64)
    if kind < 0.7:
        place = rng.randrange(min(len(content) - 4, 200))
        number = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\1\0\0"))
        return content[:place] + number + content[place + 4 :]
    return flip_bytes(content, rng, len(content)) if kind < 0.85 else cut_or_grow(content, rng)


def use_picture(path: Path) -> None:
    picture, _ = fit(load_image(path), 96, 64, "pad")
    assert picture.shape == (1, 3, 96, 64)
    assert picture.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_pictures_are_refused_in_words_or_read(
    form: str, tmp_path: Path, cases: Cases
) -> None:
    path = tmp_path / f"picture.{form.lower()}"
    content = picture_bytes(form)
    path.write_bytes(content)
    assert load_picture(path).shape == (1, 3, 30, 40)
    count = cases(120, 2000)
    refused = 0
    for seed in range(count):
        path.write_bytes(damaged_picture(content, random.Random(seed)))
        error = attempt(lambda: use_picture(path), (ValueError,), LARGE)
        refused += error is not None
        assert error is None or path.name in str(error), seed
    assert count / 20 < refused <= count
