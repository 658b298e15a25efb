"""The parts of the mini preset that are computed from pictures and not trained.

`fit_code` and `fit_encoder` set the linear maps of an autoencoder and of a global encoder to
principal components; `normalise_code` gives a code that was trained further the same order of
channels again.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pcdm_core.encoder_inputs import check_pixels
from pcdm_core.encoders import LinearImageEncoder
from pcdm_core.vae import ConvAutoencoder, PatchAutoencoder


def principal_axes(matrix: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """A symmetric matrix's largest eigenvalues [count], falling, and their vectors [D, count]."""
    values, vectors = torch.linalg.eigh(matrix)
    return values.flip(0)[:count].clamp(min=1e-12), vectors.flip(1)[:, :count]


@torch.no_grad()
def fit_encoder(encoder: LinearImageEncoder, pixels: Tensor, whiten: float = 1.0) -> None:
    """Set the projection from normalised pixels [N, 3, S, S] (see `pixels`), N > E.

    Embeddings then have zero mean, and unit variance averaged over channels, on these pictures.

    Args:
        whiten: each component is divided by its deviation to this power (1 makes every
            channel's variance one, 0 keeps the natural spectrum), then all by one common
            scale that makes the channels' mean variance one.

    Raises:
        ValueError: another size, or fewer pictures than components.
    """
    check_pixels(pixels, encoder.config.picture_size)
    count, components = len(pixels), encoder.config.embedding_dim
    if count <= components:
        raise ValueError(
            f"{components} components need more than {components} pictures, got {count}."
        )
    flat = pixels.flatten(1).cpu().double()
    mean = flat.mean(0)
    centred = flat - mean
    if count < flat.shape[1]:
        # The smaller of the two equivalent eigenproblems: over pictures, not over pixels.
        variance, vectors = principal_axes(centred @ centred.T, components)
        basis = functional.normalize((vectors.T @ centred).T, dim=0)
    else:
        variance, basis = principal_axes(centred.T @ centred, components)
    variance = variance / count
    # A component's sign is arbitrary; this choice makes the fit the same everywhere.
    sign = basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    encoder.mean.copy_(mean)
    gain = variance.pow(-whiten / 2)
    gain = gain / (variance * gain.square()).mean().sqrt()
    encoder.projection.copy_((basis * sign * gain).T)


@torch.no_grad()
def fit_code(code: PatchAutoencoder, pixels: Tensor, whiten: float = 0.5) -> None:
    """Set both maps of a code from pictures [N, 3, H, W] in [-1, 1].

    Args:
        whiten: each component is divided by its deviation to this power (0 keeps the natural
            spectrum, 1 makes every channel's variance equal), then all by one common scale, so
            that the latents have unit variance over channels taken together.
    """
    size, channels = code.config.downscale, code.config.latent_channels
    patches = functional.unfold(pixels, size, stride=size)  # [N, 3 f f, h w]
    patches = patches.transpose(1, 2).flatten(0, 1).cpu().double()  # which not every device has
    mean = patches.mean(0)
    centred = patches - mean
    covariance = centred.T @ centred / len(centred)
    values, basis = principal_axes(covariance, channels)  # [3 f f, C], most variance first
    gain = values.sqrt().pow(-whiten)
    gain = gain / (values * gain.square()).mean().sqrt()
    encode = (basis * gain).T  # [C, 3 f f]
    shape = code.encoder.weight.shape[1:]
    code.encoder.weight.copy_(encode.reshape(-1, *shape).float())
    code.encoder.bias.copy_(-(encode @ mean).float())  # type: ignore[union-attr]
    code.decoder.weight.copy_((basis / gain).T.reshape(-1, *shape).float())
    # The decoder's bias is one number a colour; the patch mean is flat within a colour for
    # pictures without a preferred phase, so its average is the best such bias.
    code.decoder.bias.copy_(mean.reshape(3, -1).mean(1))  # type: ignore[union-attr]


@torch.no_grad()
def normalise_code(
    code: ConvAutoencoder, pixels: Tensor, whiten: float = 0.5, step: float = 0.1
) -> None:
    """Give the channels the order and scale that `fit_code` gives those of a linear code.

    Training leaves channels correlated and at any scale, and a diffusion model's loss counts
    all alike. Afterwards they are uncorrelated, in themselves and in what they change in a
    picture, those that are worth most pixels come first, and each is divided by that worth (a
    deviation in pixels) to the power `whiten`, then all by one scale, so that the latents have
    unit variance over channels taken together. What the autoencoder makes of pictures stays as
    it is: the change is taken up by the layers at the code.

    Args:
        pixels: pictures [N, 3, H, W] in [-1, 1] to measure on.
        step: of the decoder's slopes, as a share of a channel's deviation.
    """
    latents = code.moments(pixels)
    rows = latents.movedim(1, -1).flatten(0, 2).double()
    rows = rows - rows.mean(0)
    covariance = rows.T @ rows / len(rows)
    steps = step * covariance.diagonal().sqrt().clamp(min=1e-6)
    generator = torch.Generator().manual_seed(0)
    signs = (torch.rand(latents[:, :1].shape, generator=generator) < 0.5).to(latents) * 2 - 1
    # With random signs the changes that neighbours make in one pixel cancel in the products.
    changes: list[Tensor] = []
    for channel, size in enumerate(steps.tolist()):
        moved = latents.clone()
        moved[:, channel : channel + 1] += size * signs
        back = 2 * latents - moved
        slope = (code.decode(moved) - code.decode(back)) / (2 * size)
        changes.append(slope.flatten())
    slopes = torch.stack(changes)
    worth = (slopes @ slopes.T).double() / (len(rows))  # pixels' squares to a latent
    # Uncorrelated and of unit variance, then turned until the worths are on the diagonal.
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=1e-12).sqrt()
    variances, turn = principal_axes(root.T @ worth @ root)
    gain = variances.pow((1 - whiten) / 2)
    gain = gain / gain.square().mean().sqrt()
    encode = (gain[:, None] * turn.T @ torch.linalg.inv(root)).float()
    decode = torch.linalg.inv(encode.double()).float()
    for layer in (code.encoder, code.encoder_path.conv_out):
        layer.weight.copy_(torch.einsum("ij,jkhw->ikhw", encode, layer.weight))
        layer.bias.copy_(encode @ layer.bias)  # type: ignore[union-attr, arg-type]
    code.decoder.weight.copy_(torch.einsum("ij,ikhw->jkhw", decode, code.decoder.weight))
    conv_in = code.decoder_path.conv_in
    conv_in.weight.copy_(torch.einsum("ij,kihw->kjhw", decode, conv_in.weight))
