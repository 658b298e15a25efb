"""Pixels to latents and back; nothing else multiplies by the scaling factor."""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from .config import AutoencoderConfig
from .vae_paths import DecoderPath, EncoderPath

TILE = 512
"""Height and width of the tiles of a large picture, in pixels."""
FLAT_FIELD = 9
"""Height and width of the fields of latents that tell a channel's colour; its middle is read."""


class KLAutoencoder(nn.Module):
    """diffusers' `AutoencoderKL` (the SD autoencoder) behind the interface of this module."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.block_out_channels)
        self.vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_num_groups,
            scaling_factor=config.scaling_factor,
        )
        # One picture at a time: the last layers of a decoder need more than a UNet.
        self.vae.enable_slicing()
        self.vae.tile_sample_min_size = TILE  # the library's value is that of its training pictures
        self.vae.tile_latent_min_size = TILE // config.downscale

    def set_tiling(self, tiled: bool) -> None:
        """Work on overlapping tiles of large pictures, or on whole ones; results differ a little.

        The library's method; a picture of at most a tile's size stays whole.
        """
        if tiled:
            self.vae.enable_tiling()
        else:
            self.vae.disable_tiling()

    def encode(
        self,
        pixels: Tensor,
        posterior: Literal["mean", "sample"] = "mean",
        noise: Tensor | None = None,
    ) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> scaled latents [B, C, H/8, W/8].

        As published: the scripts sample the posterior; `posterior="sample"` with `noise` like the
        latents does so. The mean is the default everywhere else.
        """
        return self.latents(self.moments(pixels), posterior, noise)

    def moments(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> means and log variances [B, 2 C, H/8, W/8], not scaled.

        All of the encoder's work: what can be kept of a picture that is used again.
        """
        return self.vae.encode(pixels).latent_dist.parameters

    def latents(
        self,
        moments: Tensor,
        posterior: Literal["mean", "sample"] = "mean",
        noise: Tensor | None = None,
    ) -> Tensor:
        """What `encode` makes of the `moments` of its pictures."""
        distribution = DiagonalGaussianDistribution(moments)
        latents = distribution.mean
        if posterior == "sample":
            if noise is None:
                raise ValueError("posterior='sample' needs noise of the latents' shape.")
            latents = latents + distribution.std * noise
        return latents * self.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents -> [B, 3, H, W], about [-1, 1], not clamped."""
        return self.vae.decode(latents / self.config.scaling_factor, return_dict=False)[0]


class PatchAutoencoder(nn.Module):
    """A linear code of square patches: the closed-form autoencoder of the mini preset.

    Two convolutions with stride = kernel = `downscale`. `fit` sets both from the principal
    components of patches; training may move them on.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        size, channels = config.downscale, config.latent_channels
        self.encoder = nn.Conv2d(3, channels, size, stride=size)
        self.decoder = nn.ConvTranspose2d(channels, 3, size, stride=size)

    def set_tiling(self, tiled: bool) -> None:
        """Nothing: the code is one of separate patches."""

    def encode(
        self,
        pixels: Tensor,
        posterior: Literal["mean", "sample"] = "mean",
        noise: Tensor | None = None,
    ) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> latents [B, C, H/f, W/f]. The code has no posterior spread."""
        return self.latents(self.moments(pixels), posterior, noise)

    def moments(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, C, H/f, W/f], not scaled: the code alone."""
        return self.encoder(pixels)

    def latents(
        self,
        moments: Tensor,
        posterior: Literal["mean", "sample"] = "mean",
        noise: Tensor | None = None,
    ) -> Tensor:
        """What `encode` makes of the `moments` of its pictures."""
        return moments * self.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> [B, 3, H, W], about [-1, 1], not clamped."""
        return self.decoder(latents / self.config.scaling_factor)

    @torch.no_grad()
    def patch_colours(self) -> tuple[Tensor, Tensor]:
        """What latents say of the mean colour of their patches: [C, 3] and [3], in [-1, 1].

        `latents * factors`, summed over channels, plus the second tensor. They are the answers of
        the decoder to flat fields: exact for a linear code, and within a level of 255 or so for a
        learned one.
        """
        channels, side = self.config.latent_channels, FLAT_FIELD * self.config.downscale
        like = self.decoder.weight
        fields = torch.eye(channels).to(like)[:, :, None, None] * self.config.scaling_factor / 2
        fields = fields.expand(-1, -1, FLAT_FIELD, FLAT_FIELD)
        middle = slice(side // 2 - side // 6, side // 2 + side // 6)
        plus, minus, none = (
            self.decode(field)[..., middle, middle].mean((2, 3))
            for field in (fields, -fields, torch.zeros_like(fields[:1]))
        )
        return (plus - minus) / self.config.scaling_factor, none[0]

    @torch.no_grad()
    def fit(
        self, pixels: Tensor, whiten: float = 0.5, keep: PatchAutoencoder | None = None
    ) -> None:
        """Set both maps from pictures [N, 3, H, W] in [-1, 1].

        Args:
            whiten: each component is divided by its deviation to this power (0 keeps the natural
                spectrum, 1 makes every channel's variance equal), then all by one common scale, so
                that the latents have unit variance over channels taken together.
            keep: a fitted code of no more channels whose channels come first, unchanged; further
                ones are fitted to what it leaves over and scaled by its rule, so that models of its
                latents can be trained on.

        Raises:
            ValueError: `keep` has other patches or more channels.
        """
        size, channels = self.config.downscale, self.config.latent_channels
        patches = rearrange(pixels, "n c (h p) (w q) -> (n h w) (c p q)", p=size, q=size)
        patches = patches.cpu().double()  # which not every device has
        kept = 0 if keep is None else keep.config.latent_channels
        mean = patches.mean(0)
        if keep is not None:
            if keep.config.downscale != size or kept > channels:
                raise ValueError(
                    f"A code of {kept} channels of {keep.config.downscale} px patches cannot be "
                    f"kept in one of {channels} channels of {size} px patches."
                )
            mean = keep.decoder.bias.cpu().double().repeat_interleave(size * size)  # type: ignore[union-attr]
        centred = patches - mean
        covariance = centred.T @ centred / len(centred)
        variances = covariance.new_ones(kept)
        if keep is not None:
            first = functional.normalize(keep.encoder.weight.cpu().double().flatten(1), dim=1)
            rest = torch.eye(len(mean), dtype=torch.float64) - first.T @ first
            variances = (first @ covariance * first).sum(1)
            covariance = rest @ covariance @ rest
        values, vectors = torch.linalg.eigh(covariance)
        values = values.flip(0)[: channels - kept].clamp(min=1e-12)
        basis = vectors.flip(1)[:, : channels - kept]  # [3 f f, C], most variance first
        gain = values.sqrt().pow(-whiten)
        if keep is None:
            gain = gain / (values * gain.square()).mean().sqrt()
        else:
            own = keep.encoder.weight.cpu().double().flatten(1).norm(dim=1)
            gain = gain * (own * variances.sqrt().pow(whiten)).median()
        encode = (basis * gain).T  # [C, 3 f f]
        decode = (basis / gain).T
        shape = self.encoder.weight.shape[1:]
        self.encoder.weight[kept:] = encode.reshape(-1, *shape).float()
        self.encoder.bias[kept:] = -(encode @ mean).float()  # type: ignore[index]
        self.decoder.weight[kept:] = decode.reshape(-1, *shape).float()
        # The decoder's bias is one number a colour; the patch mean is flat within a colour for
        # pictures without a preferred phase, so its average is the best such bias.
        self.decoder.bias.copy_(mean.reshape(3, -1).mean(1))  # type: ignore[union-attr]
        if keep is not None:
            for ours, theirs in (
                (self.encoder.weight, keep.encoder.weight),
                (self.encoder.bias, keep.encoder.bias),
                (self.decoder.weight, keep.decoder.weight),
            ):
                ours[:kept] = theirs  # type: ignore[index]


class ConvAutoencoder(PatchAutoencoder):
    """A patch code with residual convolutions beside it, in the encoder and in the decoder.

    Their last layers start at zero: after `fit` it is the linear code, and training goes on from
    there.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        self.encoder_path = EncoderPath(config)
        self.decoder_path = DecoderPath(config)

    def set_tiling(self, tiled: bool) -> None:
        """Nothing: the widest layer has half the picture's height and width."""

    def moments(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, C, H/f, W/f], not scaled: the code alone."""
        return self.encoder(pixels) + self.encoder_path(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> [B, 3, H, W], about [-1, 1], not clamped."""
        code = latents / self.config.scaling_factor
        return self.decoder(code) + self.decoder_path(code)

    @torch.no_grad()
    def normalise(self, pixels: Tensor, whiten: float = 0.5, step: float = 0.1) -> None:
        """Give the channels the order and scale that `fit` gives those of a linear code.

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
        code = self.moments(pixels)
        rows = code.movedim(1, -1).flatten(0, 2).double()
        rows = rows - rows.mean(0)
        covariance = rows.T @ rows / len(rows)
        steps = step * covariance.diagonal().sqrt().clamp(min=1e-6)
        own = torch.Generator().manual_seed(0)
        signs = (torch.rand(code[:, :1].shape, generator=own) < 0.5).to(code) * 2 - 1
        # With random signs the changes that neighbours make in one pixel cancel in the products.
        changes: list[Tensor] = []
        for channel, size in enumerate(steps.tolist()):
            moved = code.clone()
            moved[:, channel : channel + 1] += size * signs
            back = 2 * code - moved
            slope = (self.decode(moved) - self.decode(back)) / (2 * size)
            changes.append(slope.flatten())
        slopes = torch.stack(changes)
        worth = (slopes @ slopes.T).double() / (len(rows))  # pixels' squares to a latent
        # Uncorrelated and of unit variance, then turned until the worths are on the diagonal.
        values, vectors = torch.linalg.eigh(covariance)
        root = vectors * values.clamp(min=1e-12).sqrt()
        variances, turn = torch.linalg.eigh(root.T @ worth @ root)
        variances, turn = variances.flip(0).clamp(min=1e-12), turn.flip(1)
        gain = variances.pow((1 - whiten) / 2)
        gain = gain / gain.square().mean().sqrt()
        encode = (gain[:, None] * turn.T @ torch.linalg.inv(root)).float()
        decode = torch.linalg.inv(encode.double()).float()
        for layer in (self.encoder, self.encoder_path.conv_out):
            layer.weight.copy_(torch.einsum("ij,jkhw->ikhw", encode, layer.weight))
            layer.bias.copy_(encode @ layer.bias)  # type: ignore[union-attr, arg-type]
        self.decoder.weight.copy_(torch.einsum("ij,ikhw->jkhw", decode, self.decoder.weight))
        first = self.decoder_path.conv_in
        first.weight.copy_(torch.einsum("ij,kihw->kjhw", decode, first.weight))


Autoencoder = KLAutoencoder | PatchAutoencoder


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """The autoencoder of a preset, with random weights."""
    kinds = {"kl": KLAutoencoder, "patch": PatchAutoencoder, "conv": ConvAutoencoder}
    return kinds[config.kind](config)
