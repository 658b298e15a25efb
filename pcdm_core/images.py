"""Pixels: files, sizes, what the encoders see, and the source|target canvas.

A *picture* is a float32 tensor `[B, 3, H, W]`, RGB in [-1, 1]. Resizing goes through 8-bit pixels
and Pillow's bicubic filter, because the published weights were trained on exactly that. Sizes are
height x width.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .files import atomic_file
from .finite import check_finite
from .picture_files import MAX_PIXELS, open_picture
from .ranges import COUNT, SIDE, check_settings

# As published: DINOv2 gets CLIP's statistics too, not ImageNet's.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_ORIENTATION = 0x0112  # EXIF's tag; 1 is upright

_BAND = 256  # rows that are converted at once

FitMode = Literal["squash", "pad"]


# --- files and other representations -------------------------------------------------------------


def load_picture(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Read a picture file as float32 `[1, 3, H, W]` in [-1, 1].

    Turned as its EXIF orientation says; transparency lies on white; greyscale, palettes, 16 bits
    and CMYK become RGB. Of an animation this is the first frame.

    Args:
        path: PNG, JPEG, WebP, BMP, GIF or TIFF, whatever the name ends in.
        max_pixels: height times width that is still read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, is too large, or is damaged.
    """
    return as_picture(load_image(path, max_pixels=max_pixels))


def load_image(
    path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS, shown: int | None = None
) -> Image.Image:
    """What `load_picture` reads, as RGB in 8 bits without metadata: a third of the memory.

    Args:
        path: see `load_picture`.
        max_pixels: see `load_picture`.
        shown: a picture of more pixels is averaged down by a whole factor.

    Raises:
        FileNotFoundError, ValueError: as `load_picture`.
    """
    with open_picture(path, max_pixels=max_pixels) as image:
        ImageOps.exif_transpose(image, in_place=True)
        upright = _rgb(image)
        factor = math.ceil(math.sqrt(image.width * image.height / (shown or max_pixels)))
        if factor > 1 or upright is image:  # a copy of the file's own image, which is closed
            upright = upright.reduce(factor)
        upright.info.clear()  # what the file says has been obeyed, and some of it is damaged
        return upright


def as_picture(image: Image.Image | np.ndarray | Tensor) -> Tensor:
    """A picture from Pillow, numpy or torch, as float32 in [-1, 1] with the batch axis.

    Args:
        image: a Pillow image of any mode; or an array `[H, W]`, `[H, W, C]`, C of 1, 3 or 4, as
            uint8, uint16 or float in [0, 1]; or a float tensor `[3, H, W]` or `[B, 3, H, W]` that
            is in [-1, 1] already.
    """
    if isinstance(image, Tensor):
        picture = image[None] if image.ndim == 3 else image
        if picture.ndim != 4 or picture.shape[1] != 3 or not picture.is_floating_point():
            raise ValueError(
                f"a picture tensor is float [B, 3, H, W], got {image.dtype} {list(image.shape)}"
            )
        low, high = picture.aminmax() if picture.numel() else (picture.new_zeros(()),) * 2
        if not (low.item() >= -1.01 and high.item() <= 1.01):
            raise ValueError(f"a picture tensor is in [-1, 1], got [{low:g}, {high:g}]")
        return picture.to(torch.float32)
    if isinstance(image, np.ndarray):
        image = Image.fromarray(_uint8_array(image))
    return from_uint8(np.asarray(_rgb(image)))


def from_uint8(pixels: np.ndarray) -> Tensor:
    """uint8 `[H, W, 3]` or `[B, H, W, 3]` as a picture `[B, 3, H, W]` in [-1, 1]."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[-1] != 3:
        raise ValueError(f"expected uint8 [B, H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    batch = pixels[None] if pixels.ndim == 3 else pixels
    return from_planes(torch.from_numpy(np.array(batch.transpose(0, 3, 1, 2), order="C")))


def from_planes(planes: Tensor) -> Tensor:
    """uint8 `[B, 3, H, W]` on any device as a picture in [-1, 1]."""
    # In place: a large picture is the most that a command holds, and would be held three times.
    return planes.to(torch.float32, copy=True).div_(255.0).sub_(0.5).div_(0.5)


def to_uint8(picture: Tensor) -> np.ndarray:
    """A picture `[B, 3, H, W]` in [-1, 1] as uint8 `[B, H, W, 3]`; values beyond are cut off."""
    scaled = (picture.detach().to(torch.float32) + 1.0).mul_(127.5)
    pixels = scaled.round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())


def to_pil(picture: Tensor) -> list[Image.Image]:
    """One RGB image per row of the batch."""
    return [Image.fromarray(pixels) for pixels in to_uint8(picture)]


def save_picture(picture: Tensor, path: str | os.PathLike[str]) -> Path:
    """Write one picture, `[1, 3, H, W]` or `[3, H, W]` in [-1, 1], as PNG, whole or not at all."""
    path = Path(path)
    batch = picture[None] if picture.ndim == 3 else picture
    if len(batch) != 1:
        raise ValueError(f"{path}: one file holds one picture, got a batch of {len(batch)}")
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: pictures are written as PNG; name it {path.stem}.png")
    check_finite(batch, f"{path}: the picture")
    with atomic_file(path) as file:
        to_pil(batch)[0].save(file, format="PNG")
    return path


def _rgb(image: Image.Image) -> Image.Image:
    image.load()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    # Band by band: on the way there are up to three pictures more, of up to eight bytes a pixel.
    result = Image.new("RGB", image.size)
    for top in range(0, image.height, _BAND):
        band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        result.paste(_rgb_band(band), (0, top))
    return result


def _rgb_band(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray(_uint8_array(np.asarray(image).clip(0, 65535).astype(np.uint16)))
    if image.mode == "F":
        image = Image.fromarray(_uint8_array(np.asarray(image)))
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), colour)
    return image.convert("RGB")


def _uint8_array(pixels: np.ndarray) -> np.ndarray:
    """`[H, W]`, `[H, W, 3]` or `[H, W, 4]` in 8 bits."""
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim != 2 and (pixels.ndim != 3 or pixels.shape[-1] not in (3, 4)):
        raise ValueError(f"expected [H, W] or [H, W, 1, 3 or 4], got {list(pixels.shape)}")
    if pixels.dtype == np.uint16:
        return np.round(pixels / 257.0).astype(np.uint8)
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min(initial=0.0)), float(pixels.max(initial=0.0))
        if not (low >= -0.01 and high <= 1.01):
            raise ValueError(f"floating-point pixels are in [0, 1], got [{low:g}, {high:g}]")
        return np.round(pixels.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ValueError(f"expected uint8, uint16 or float pixels, got {pixels.dtype}")
    return pixels


# --- sizes ---------------------------------------------------------------------------------------


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """Resize as the published preprocessing does: 8 bits, Pillow's bicubic with antialiasing.

    Args:
        picture: `[B, 3, H, W]` in [-1, 1]; one that has the size already is returned as it is.
        height: in pixels.
        width: in pixels.
    """
    check_settings(height=height, width=width)
    return _resized(picture, height, width)


def _resized(picture: Tensor | Image.Image, height: int, width: int) -> Tensor:
    if isinstance(picture, Image.Image):
        return as_picture(picture.resize((width, height), Image.Resampling.BICUBIC))
    if picture.shape[-2:] == (height, width):
        return picture
    rows = [_resized(image, height, width) for image in to_pil(picture)]
    return torch.cat(rows).to(picture.device)


@dataclass(frozen=True)
class Fit:
    """How a picture of one size came to another size; pixels unless said otherwise.

    The source fills the box at (`left`, `top`) of `box_height` x `box_width` in the fitted
    picture. Squashed, the box is the whole picture.
    """

    source_height: int
    source_width: int
    height: int
    width: int
    left: int
    top: int
    box_height: int
    box_width: int

    @classmethod
    def of(
        cls, source_height: int, source_width: int, height: int, width: int, mode: FitMode
    ) -> Fit:
        """The fit of a size into a size, without any pixels (for poses of another picture)."""
        if mode not in get_args(FitMode):
            raise ValueError(f"fit mode {mode!r}: choose one of {', '.join(get_args(FitMode))}")
        sizes = source_height in COUNT, source_width in COUNT, height in SIDE, width in SIDE
        if not all(sizes):
            raise ValueError(
                f"cannot fit {source_height}x{source_width} into {height}x{width}; "
                f"each side is {SIDE}"
            )
        if mode == "squash":
            return cls(source_height, source_width, height, width, 0, 0, height, width)
        scale = min(height / source_height, width / source_width)
        box_height = min(max(round(source_height * scale), 1), height)
        box_width = min(max(round(source_width * scale), 1), width)
        left, top = (width - box_width) // 2, (height - box_height) // 2
        return cls(source_height, source_width, height, width, left, top, box_height, box_width)

    @property
    def source(self) -> tuple[int, int]:
        """Height and width of the picture before the fit."""
        return self.source_height, self.source_width

    def points(self, xy: Tensor) -> Tensor:
        """Points [..., 2] as fractions of the source picture, as fractions of the fitted one."""
        scale = xy.new_tensor([self.box_width / self.width, self.box_height / self.height])
        return xy * scale + xy.new_tensor([self.left / self.width, self.top / self.height])

    def undo(self, picture: Tensor) -> Tensor:
        """A fitted picture `[B, 3, height, width]` back at the source's size and aspect."""
        return resize(self.inner(picture), self.source_height, self.source_width)

    def inner(self, picture: Tensor) -> Tensor:
        """A fitted picture `[B, 3, height, width]` without its padding."""
        if picture.shape[-2:] != (self.height, self.width):
            raise ValueError(
                f"this fit made {self.height}x{self.width} pictures, "
                f"got {picture.shape[-2]}x{picture.shape[-1]}"
            )
        right, bottom = self.left + self.box_width, self.top + self.box_height
        return picture[..., self.top : bottom, self.left : right]


def fit(
    picture: Tensor | Image.Image, height: int, width: int, mode: FitMode = "squash"
) -> tuple[Tensor, Fit]:
    """Bring pictures to a size.

    Args:
        picture: `[B, 3, H, W]` in [-1, 1]; or one of `load_image`, with the same result.
        height: of the result.
        width: of the result.
        mode: "squash" stretches each side by itself (as published); "pad" keeps the aspect and
            fills the rest with each picture's background colour.

    Returns:
        `[B, 3, height, width]` in [-1, 1], and the `Fit` that maps key points along and pictures
        back.
    """
    how = Fit.of(*_size(picture), height, width, mode)
    inner = _resized(picture, how.box_height, how.box_width)
    if (how.box_height, how.box_width) == (height, width):
        return inner, how
    canvas = background_colour(picture).to(inner.dtype).expand(-1, -1, height, width).clone()
    right, bottom = how.left + how.box_width, how.top + how.box_height
    canvas[..., how.top : bottom, how.left : right] = inner
    return canvas, how


def background_colour(picture: Tensor | Image.Image) -> Tensor:
    """`[B, 3, 1, 1]`: the median colour of a narrow frame along the picture's border."""
    height, width = _size(picture)
    depth = max(min(height, width) // 64, 1)
    bottom, right = max(height - depth, depth), max(width - depth, depth)
    boxes = (0, 0, width, depth), (0, bottom, width, height)
    boxes += (0, depth, depth, bottom), (right, depth, width, bottom)
    frame = [_cut(picture, *box).flatten(2) for box in boxes]
    return torch.cat(frame, dim=-1).median(dim=-1).values[..., None, None]


def _size(picture: Tensor | Image.Image) -> tuple[int, int]:
    if isinstance(picture, Image.Image):
        return picture.height, picture.width
    return picture.shape[-2], picture.shape[-1]


def _cut(picture: Tensor | Image.Image, left: int, top: int, right: int, bottom: int) -> Tensor:
    if isinstance(picture, Image.Image):
        return as_picture(picture.crop((left, top, right, bottom)))
    return picture[..., top:bottom, left:right]


# --- what the encoders and the inpainting model see ----------------------------------------------


def encoder_pixels(picture: Tensor, size: int = 224) -> Tensor:
    """What `CLIPImageProcessor` with its class defaults makes of a picture, in Pillow and torch.

    As published: the shorter side becomes `size` (bicubic, 8 bits), the centre is cropped.

    Args:
        picture: `[B, 3, H, W]` in [-1, 1], any aspect.
        size: of the result in pixels.

    Returns:
        float32 `[B, 3, size, size]`, normalised.
    """
    height, width = picture.shape[-2:]
    if height <= width:
        height, width = size, int(size * width / height)
    else:
        height, width = int(size * height / width), size
    top, left = (height - size) // 2, (width - size) // 2
    resized = resize(picture, height, width)[..., top : top + size, left : left + size]
    centre, spread = (
        resized.new_tensor(values).reshape(1, 3, 1, 1) for values in (CLIP_MEAN, CLIP_STD)
    )
    return ((resized * 0.5 + 0.5) - centre) / spread


def source_canvas(source: Tensor) -> Tensor:
    """`[B, 3, H, W]` to `[B, 3, H, 2W]`: the source at the left, black at the right."""
    return torch.cat([source, torch.full_like(source, -1.0)], dim=-1)


def right_half(canvas: Tensor) -> Tensor:
    """`[..., H, 2W]` to `[..., H, W]`: the target of a canvas of pictures or latents."""
    if canvas.shape[-1] % 2:
        raise ValueError(f"a canvas has an even width, got {canvas.shape[-1]}")
    return canvas[..., canvas.shape[-1] // 2 :]


def known_mask(
    batch: int,
    height: int,
    canvas_width: int,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """`[batch, 1, height, canvas_width]`: 1 on the known left half, 0 on the right half.

    As published: the inverse of the usual inpainting mask.
    """
    if canvas_width % 2:
        raise ValueError(f"a canvas has an even width, got {canvas_width}")
    mask = torch.zeros(batch, 1, height, canvas_width, device=device, dtype=dtype)
    mask[..., : canvas_width // 2] = 1.0
    return mask
