"""Pixels: every kind of file, sizes there and back, encoder preprocessing, the canvas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from pcdm_core.images import (
    Fit,
    as_picture,
    background_colour,
    encoder_pixels,
    fit,
    from_uint8,
    known_mask,
    load_image,
    load_picture,
    resize,
    right_half,
    save_picture,
    source_canvas,
    to_uint8,
)
from pcdm_core.pose.body_mask import body_mask
from pcdm_core.pose.keypoints import FACE, Keypoints
from pcdm_core.pose.render import pose_canvas

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "images"
RED, GREEN = (255, 0, 0), (0, 128, 0)


def random_pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixel(picture: torch.Tensor, y: int, x: int) -> list[int]:
    return to_uint8(picture)[0, y, x].tolist()


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_a_picture_survives_saving_and_loading(tmp_path: Path) -> None:
    picture = from_uint8(random_pixels(13, 7))
    assert picture.shape == (1, 3, 13, 7)
    path = save_picture(picture, tmp_path / "new folder" / "picture.png")
    assert torch.equal(load_picture(path), picture)
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_every_8_bit_value_survives_the_way_to_minus_one_to_one() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=-1)
    picture = from_uint8(values)
    assert picture.min() == -1
    assert picture.max() == 1
    np.testing.assert_array_equal(to_uint8(picture)[0], values)
    np.testing.assert_array_equal(to_uint8(picture * 3)[0, 0, 0], [0, 0, 0])


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 2), (*RED, 0))
    image.putpixel((1, 0), (*RED, 255))
    picture = load_picture(save(tmp_path / "rgba.png", image))
    assert pixel(picture, 0, 0) == [255, 255, 255]
    assert pixel(picture, 0, 1) == list(RED)


def test_a_transparent_palette_colour_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([*GREEN, *RED])
    image.putpixel((1, 0), 1)
    picture = load_picture(save(tmp_path / "palette.png", image, transparency=0))
    assert pixel(picture, 0, 0) == [255, 255, 255]
    assert pixel(picture, 0, 1) == list(RED)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGB", "RGBA", "CMYK"])
def test_every_colour_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode)
    picture = load_picture(save(tmp_path / "picture.tiff", image))
    assert picture.shape == (1, 3, 4, 5)
    assert picture.eq(1).all()


def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path: Path) -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    picture = load_picture(save(tmp_path / "grey.png", Image.fromarray(values)))
    assert [pixel(picture, 0, x)[0] for x in range(3)] == [0, 100, 255]


def test_a_picture_is_turned_as_its_exif_orientation_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), RED)
    image.putpixel((0, 0), GREEN)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise
    picture = load_picture(save(tmp_path / "turned.png", image, exif=exif))
    assert picture.shape == (1, 3, 4, 2)
    assert pixel(picture, 0, 1) == list(GREEN)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"person\.png: does not exist"):
        load_picture(tmp_path / "person.png")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        load_picture(tmp_path)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("no picture", encoding="utf-8")
    with pytest.raises(ValueError, match=r"notes\.png: not a picture"):
        load_picture(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "half.png", Image.fromarray(random_pixels(40, 40)))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"half\.png: the picture is damaged"):
        load_picture(path)


def test_only_one_picture_as_png_is_written(tmp_path: Path) -> None:
    picture = from_uint8(random_pixels(4, 4))
    with pytest.raises(ValueError, match=r"name it out\.png"):
        save_picture(picture, tmp_path / "out.jpg")
    with pytest.raises(ValueError, match="a batch of 2"):
        save_picture(picture.expand(2, -1, -1, -1), tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_arrays_and_tensors_become_the_same_picture() -> None:
    pixels = random_pixels(6, 5)
    expected = from_uint8(pixels)
    assert torch.equal(as_picture(pixels), expected)
    assert torch.equal(as_picture(Image.fromarray(pixels)), expected)
    assert torch.equal(as_picture(pixels.astype(np.float32) / 255), expected)
    assert torch.equal(as_picture(pixels.astype(np.uint16) * 257), expected)
    assert torch.equal(as_picture(expected[0]), expected)
    grey = pixels[..., :1]
    assert torch.equal(as_picture(grey), from_uint8(grey.repeat(3, axis=-1)))


def test_values_in_the_wrong_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in \[-1, 1\], got \[0, 255\]"):
        as_picture(torch.tensor([0.0, 255.0]).expand(1, 3, 4, 2))
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        as_picture(np.full((4, 4, 3), 200.0))
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        as_picture(torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match=r"expected \[H, W\]"):
        as_picture(np.zeros((4, 4, 2), dtype=np.uint8))


@pytest.mark.parametrize("size", [(20, 9), (64, 64), (111, 37)])
def test_resizing_equals_pillow(size: tuple[int, int]) -> None:
    pixels = random_pixels(47, 31)
    height, width = size
    expected = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(to_uint8(resize(from_uint8(pixels), height, width))[0], expected)


def test_encoder_pixels_equal_the_reference() -> None:
    golden = torch.from_numpy(np.load(GOLDEN / "clip_processor.npz")["pixel_values"]).float()
    pixels = encoder_pixels(load_picture(GOLDEN / "img_352x512.png"))
    assert (pixels - golden).abs().max() < 2e-3  # the reference is stored in fp16


@pytest.mark.parametrize("shape", [(64, 64), (90, 61), (50, 133), (224, 300)])
def test_encoder_pixels_equal_the_processor_at_any_aspect(shape: tuple[int, int]) -> None:
    pixels = random_pixels(*shape)
    # Newer transformers keep Pillow's arithmetic, with which the weights were trained, under a name
    # of its own.
    name = "CLIPImageProcessorPil" if hasattr(transformers, "CLIPImageProcessorPil") else None
    processor = getattr(transformers, name or "CLIPImageProcessor")()
    expected = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(encoder_pixels(from_uint8(pixels)), expected, atol=1e-5, rtol=0)


def test_squashing_fills_the_whole_picture_and_leaves_the_key_points() -> None:
    picture, how = fit(from_uint8(random_pixels(40, 20)), 32, 32, "squash")
    assert picture.shape == (1, 3, 32, 32)
    keypoints = Keypoints(torch.rand(1, 18, 2), torch.ones(1, 18, dtype=torch.bool))
    torch.testing.assert_close(keypoints.moved(how.points).xy, keypoints.xy)
    assert how.undo(picture).shape == (1, 3, 40, 20)


@pytest.mark.parametrize("shape", [(100, 30), (30, 100), (64, 44), (1, 50), (513, 351)])
def test_padding_keeps_the_aspect_and_can_be_undone(shape: tuple[int, int]) -> None:
    smooth = np.full((*shape, 3), 200, dtype=np.uint8)
    smooth[shape[0] // 3 : 2 * shape[0] // 3 + 1, shape[1] // 3 : 2 * shape[1] // 3 + 1] = (
        90,
        0,
        0,
    )
    picture, how = fit(from_uint8(smooth), 64, 44, "pad")
    assert picture.shape == (1, 3, 64, 44)
    assert pixel(picture, 0, 0) == [200, 200, 200] or how.top == how.left == 0
    drift = abs(how.box_height / how.box_width * shape[1] / shape[0] - 1)
    assert drift < 0.5 / min(how.box_height, how.box_width) + 1e-6 or min(shape) == 1
    assert how.undo(picture).shape == (1, 3, *shape)


def test_padding_moves_the_key_points_with_their_pixels() -> None:
    pixels = np.full((80, 20, 3), 255, dtype=np.uint8)
    pixels[40:44, 8:12] = RED
    xy = torch.tensor([10.0, 42.0]).expand(1, 18, 2)
    keypoints = Keypoints.from_pixels(xy, torch.ones(1, 18), 80, 20)
    picture, how = fit(from_uint8(pixels), 160, 120, "pad")
    x, y = keypoints.moved(how.points).to_pixels(160, 120)[0, 0].tolist()
    assert pixel(picture, int(y), int(x)) == list(RED)


def test_padding_moves_hands_too() -> None:
    keypoints = Keypoints(
        torch.rand(1, 18, 2),
        torch.ones(1, 18, dtype=torch.bool),
        torch.full((1, 2, 21, 2), 0.5),
        torch.ones(1, 2, 21, dtype=torch.bool),
    )
    moved = keypoints.moved(Fit.of(10, 20, 40, 40, "pad").points)
    assert moved.hands_xy is not None
    torch.testing.assert_close(moved.hands_xy, keypoints.hands_xy)  # the middle stays the middle
    torch.testing.assert_close(moved.xy[..., 1], keypoints.xy[..., 1] / 2 + 0.25)


def test_the_padding_has_the_colour_of_each_background() -> None:
    white, blue = np.full((30, 10, 3), 255, dtype=np.uint8), np.zeros((30, 10, 3), dtype=np.uint8)
    blue[...] = (10, 20, 200)
    for pixels in (white, blue):
        pixels[5:, 2:8] = GREEN  # a person who stands on the lower border
    pictures = from_uint8(np.stack([white, blue]))
    assert to_uint8(background_colour(pictures))[:, 0, 0].tolist() == [
        [255, 255, 255],
        [10, 20, 200],
    ]
    fitted, _ = fit(pictures, 30, 30, "pad")
    assert to_uint8(fitted)[:, 15, 0].tolist() == [[255, 255, 255], [10, 20, 200]]


@pytest.mark.parametrize("mode", ["squash", "pad"])
@pytest.mark.parametrize("size", [(70, 131), (128, 96), (24, 32), (1, 9), (9, 1)])
def test_an_image_fits_as_its_picture_does(
    tmp_path: Path, mode: Any, size: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(random_pixels(*size)))
    expected, how = fit(load_picture(path), 24, 32, mode)
    result, same = fit(load_image(path), 24, 32, mode)
    assert torch.equal(result, expected)
    assert same == how


def test_bands_of_a_high_picture_are_whole(tmp_path: Path) -> None:
    colour = Image.fromarray(np.random.default_rng(1).integers(0, 256, (600, 3, 4), np.uint8))
    white = Image.alpha_composite(Image.new("RGBA", colour.size, "white"), colour).convert("RGB")
    assert load_image(save(tmp_path / "a.png", colour)).tobytes() == white.tobytes()


def test_a_fit_says_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="choose one of squash, pad"):
        Fit.of(10, 10, 10, 10, "crop")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="0x10 into 10x10"):
        Fit.of(0, 10, 10, 10, "pad")
    with pytest.raises(ValueError, match="made 10x10 pictures, got 8x8"):
        Fit.of(20, 20, 10, 10, "pad").undo(torch.zeros(1, 3, 8, 8))


def test_the_canvas_is_the_source_beside_black() -> None:
    source = from_uint8(random_pixels(6, 4))
    canvas = source_canvas(source)
    assert canvas.shape == (1, 3, 6, 8)
    assert torch.equal(canvas[..., :4], source)
    assert right_half(canvas).eq(-1).all()


def test_one_source_pose_goes_with_every_target_pose() -> None:
    source, targets = torch.rand(1, 3, 6, 4), torch.rand(3, 3, 6, 4)
    canvas = pose_canvas(source, targets)
    assert torch.equal(right_half(canvas), targets)
    assert torch.equal(canvas[2, :, :, :4], source[0])
    with pytest.raises(ValueError, match="differ"):
        pose_canvas(torch.rand(2, 3, 6, 4), targets)


def test_the_mask_is_one_on_the_known_left_half() -> None:
    mask = known_mask(2, 3, 8)
    assert mask.shape == (2, 1, 3, 8)
    assert mask[..., :4].eq(1).all()
    assert right_half(mask).eq(0).all()
    with pytest.raises(ValueError, match="even width"):
        known_mask(1, 3, 7)


def standing(height: int = 200, width: int = 100) -> Keypoints:
    """A person who stands upright, the right arm spread; pixels of a 200 x 100 picture."""
    places = [
        (50, 30), (50, 45), (38, 46), (26, 62), (14, 78), (62, 46), (65, 70), (67, 92),
        (43, 92), (42, 128), (42, 165), (57, 92), (58, 128), (58, 165),
        (47, 27), (53, 27), (44, 29), (56, 29),
    ]  # fmt: skip
    xy = torch.tensor(places, dtype=torch.float32)
    return Keypoints.from_pixels(xy, torch.ones(18), height, width)


def test_the_body_mask_covers_the_body_and_not_the_background() -> None:
    keypoints = standing()
    mask = body_mask(keypoints, 200, 100)
    assert mask.shape == (1, 1, 200, 100)
    assert mask.min() == 0
    assert mask.max() == 1
    for x, y in keypoints.to_pixels(200, 100)[0].tolist():
        assert mask[0, 0, int(y), int(x)] == 1
    assert mask[0, 0, 68, 50] == 1  # the chest, far from any joint
    assert mask[0, 0, 110:, :25].eq(0).all()
    assert ((mask > 0) & (mask < 1)).any()


def test_the_body_mask_leaves_out_missing_limbs() -> None:
    whole = standing()
    visible = whole.visible.clone()
    visible[:, [3, 4]] = False
    part = Keypoints(whole.xy, visible)
    masks = body_mask(Keypoints.cat([whole, part]), 200, 100)
    x, y = whole.to_pixels(200, 100)[0, 4].tolist()
    assert masks[0, 0, int(y), int(x)] == 1
    assert masks[1, 0, int(y), int(x)] == 0
    assert torch.equal(masks[1], body_mask(part, 200, 100)[0])


def test_a_single_joint_still_has_a_mask_and_nobody_has_none() -> None:
    xy, visible = torch.full((1, 18, 2), 0.5), torch.zeros(1, 18, dtype=torch.bool)
    assert body_mask(Keypoints(xy, visible), 40, 30).eq(0).all()
    visible[0, 1] = True
    assert body_mask(Keypoints(xy, visible), 40, 30)[0, 0, 20, 15] == 1


@pytest.mark.parametrize("turn", [0.0, 0.5, 3.0])
def test_the_body_mask_has_a_head_where_a_back_view_shows_no_face(turn: float) -> None:
    """It lies where the face would, also when the body leans or stands on its hands."""
    whole = standing()
    middle = whole.xy.new_tensor([50.0, 100.0])
    angle = whole.xy.new_tensor(turn)
    turned = torch.stack(
        [torch.stack([angle.cos(), angle.sin()]), torch.stack([-angle.sin(), angle.cos()])]
    )
    xy = (whole.to_pixels(200, 100)[0] - middle) @ turned * 0.5 + middle
    front = Keypoints.from_pixels(xy, torch.ones(18), 200, 100)
    visible = front.visible.clone()
    visible[:, list(FACE)] = False
    mask = body_mask(Keypoints(front.xy, visible), 200, 100)
    x, y = xy[list(FACE)].mean(dim=0).tolist()
    assert mask[0, 0, int(y), int(x)] == 1
    assert (mask - body_mask(front, 200, 100)).abs().mean() < 0.01


class Elements(TorchDispatchMode):
    """Counts the elements that operations give."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += result.numel() if isinstance(result, torch.Tensor) else 0
        return result


def test_a_large_body_mask_is_computed_small_and_is_the_same() -> None:
    with Elements() as elements:
        large = body_mask(standing(), 3200, 1600)
    assert elements.count < 10 * large.numel()
    small = body_mask(standing(), 200, 100)
    assert (torch.nn.functional.avg_pool2d(large, 16) - small).abs().max() < 0.1
    assert (torch.nn.functional.avg_pool2d(large, 16) - small).abs().mean() < 1e-3


def test_a_body_that_lies_far_away_has_an_empty_mask_and_one_at_the_border_is_cut() -> None:
    keypoints = standing()
    away = Keypoints(keypoints.xy + 3, keypoints.visible)
    assert body_mask(away, 200, 100).eq(0).all()
    half = Keypoints(keypoints.xy - keypoints.xy.new_tensor([0.5, 0]), keypoints.visible)
    shifted = body_mask(half, 200, 100)[..., :50]
    assert (shifted - body_mask(keypoints, 200, 100)[..., 50:]).abs().max() < 0.05


@pytest.mark.parametrize("mode", ["squash", "pad"])
@pytest.mark.parametrize("size", [(120, 300), (300, 120), (96, 64)])
def test_a_fit_moves_pictures_and_poses_alike_and_is_undone(
    mode: Any, size: tuple[int, int]
) -> None:
    """A white dot at a joint is at the joint in the fitted picture, and again when it is undone."""
    xy = torch.linspace(0.2, 0.8, 36, dtype=torch.float64).reshape(1, 18, 2)
    pose = Keypoints(
        xy,
        torch.ones(1, 18, dtype=torch.bool),
        xy[:, :2, None].repeat(1, 1, 21, 1),
        torch.ones(1, 2, 21, dtype=torch.bool),
    )
    picture = torch.full((1, 3, *size), -1.0)
    x, y = (pose.to_pixels(*size)[0, 9]).tolist()
    picture[..., int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] = 1.0
    fitted, how = fit(picture, 96, 64, mode)
    moved = pose.moved(how.points)

    def dot(image: torch.Tensor) -> torch.Tensor:
        rows, columns = torch.meshgrid(*map(torch.arange, image.shape[-2:]), indexing="ij")
        weight = (image[0, 0] + 1).double()
        places = torch.stack([columns + 0.5, rows + 0.5], -1).double()
        return (places * weight[..., None]).sum((0, 1)) / weight.sum()

    height, width = fitted.shape[-2:]
    assert (dot(fitted) - moved.to_pixels(height, width)[0, 9]).abs().max() < 1.5
    assert moved.hands_xy is not None
    assert moved.hands_xy.eq(moved.xy[:, :2, None]).all()  # they lie on joints, and stay there
    assert (dot(how.undo(fitted)) - pose.to_pixels(*size)[0, 9]).abs().max() < 6
