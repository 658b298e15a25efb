"""Stage 2's own results for training pairs: what stage 3 learns to refine.

Single samples with the prior's predicted embeddings, as at inference. The results lie in chunks, so
that an interrupted run goes on, in a folder named after the hashes of the weights and of all that
went in: other weights, people, pairs or settings never meet old pictures.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from pcdm_core.checkpoints.write import weights_hash
from pcdm_core.conditioning import Conditioning, PriorConditioning
from pcdm_core.config import Preset
from pcdm_core.files import atomic_file
from pcdm_core.images import from_planes, right_half, source_canvas, to_uint8
from pcdm_core.pose.render import pose_canvas
from pcdm_core.stages import run_latents, run_prior

from ..commands.components import Components
from ..config import CoarseRun
from ..data.in_memory import CoarsePictures, People
from ..data.pairs import PairOrder, ordered_pairs
from ..loop import sample_rng
from ..loop.precision import has_fast_bf16

PRIOR_STEPS = 20
PRIOR_NOISE, CANVAS_NOISE, STEP_NOISE = 16, 17, 18  # streams of `sample_rng`


class CoarseRenderer:
    """The first two stages over rows of `People`, on their device."""

    def __init__(
        self,
        preset: Preset,
        parts: Components,
        run: CoarseRun,
        seed: int,
    ) -> None:
        self.prior, self.inpainting = parts.prior.eval(), parts.inpainting.eval()
        self.patch_encoder, self.autoencoder = parts.patch_encoder.eval(), parts.autoencoder
        self.run, self.seed = run, seed
        scale = run.guidance_scale
        self.guidance_scale = preset.guidance_scale if scale is None else scale
        self.weights = {
            f"{name}.{key}": tensor
            for name, part in vars(parts).items()
            for key, tensor in part.state_dict().items()
        }

    def key(self, people: People, pairs: Tensor) -> str:
        """A folder's name that changes with anything that the pictures depend on."""
        settings = (self.seed, self.run.steps, self.run.batch_size, self.guidance_scale)
        settings += (self._half(people.pictures.device), self.prior.config.temperature)
        settings += self.run.denoise
        if self.inpainting.config.schedule.ancestral:
            settings += (1.0,)  # the network says nothing of its sampler
        inputs = {
            "settings": torch.tensor(settings, dtype=torch.float64),
            "pairs": pairs,
            "embeds": people.embeds[pairs],
            "pose_vectors": people.pose_vectors[pairs],
        }
        if self.run.denoise != (1.0,):
            inputs["truths"] = people.pictures[pairs[:, 1]]
        return f"{weights_hash(self.weights)[:16]}-{weights_hash(inputs)[:16]}"

    @torch.no_grad()
    def predict_embeds(self, people: People, pairs: Tensor, samples: Tensor) -> Tensor:
        """[B, E] target embeddings by the prior; noise by sample number."""
        embeds, poses = people.embeds, people.pose_vectors
        source, target = pairs.unbind(1)
        cond = PriorConditioning(embeds[source], poses[source], poses[target])
        width = self.prior.config.embedding_dim
        noise = sample_rng.normal(self.seed, PRIOR_NOISE, samples, (PRIOR_STEPS, width))
        return run_prior(self.prior, cond, noise.transpose(0, 1))

    def _half(self, device: torch.device) -> bool:
        autocast = device.type == "cuda" if self.run.autocast is None else self.run.autocast
        return autocast and has_fast_bf16(device.type)

    def _denoise(self, x_t: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """The network in half precision, the sampler in full."""
        return self.inpainting(x_t, timesteps, cond).float()

    @torch.no_grad()
    def __call__(self, people: People, pairs: Tensor, samples: Tensor) -> np.ndarray:
        """Rows [B, 2] -> uint8 [B, H, W, 3]; `samples` are numbers in a row, a batch of the run."""
        source_rows, target_rows = pairs.unbind(1)
        source = from_planes(people.pictures[source_rows])
        skeletons = [from_planes(people.skeletons[rows]) for rows in (source_rows, target_rows)]
        latents = self.autoencoder.encode(source_canvas(source))
        share = self.run.denoise[int(samples[0]) // self.run.batch_size % len(self.run.denoise)]
        start = None
        if share < 1.0:
            truth = from_planes(people.pictures[target_rows])
            start = self.autoencoder.encode(torch.cat([source, truth], dim=-1))
        kind, half = source.device.type, self._half(source.device)
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            cond = self.inpainting.condition(
                self.patch_encoder(people.patch_pixels(source_rows)),
                self.predict_embeds(people, pairs, samples),
                latents,
                pose_canvas(*skeletons),
            )
            steps, shape = max(round(self.run.steps * share), 1), tuple(latents.shape[1:])
            step_noise = None
            if self.inpainting.config.schedule.ancestral:
                step_noise = sample_rng.step_normal(self.seed, STEP_NOISE, samples, shape, steps)
            x0 = run_latents(
                self.inpainting,
                cond,
                sample_rng.normal(self.seed, CANVAS_NOISE, samples, shape),
                step_noise=step_noise,
                denoiser=self._denoise,
                steps=steps,
                guidance_scale=self.guidance_scale,
                start=start,
                denoise=share,
            )
        return to_uint8(right_half(self.autoencoder.decode(x0)))


def render_coarse(
    renderer: CoarseRenderer,
    people: People,
    root: Path,
    accelerator: Accelerator,
    seconds: float | None = None,
) -> CoarsePictures:
    """Render `run.pairs` training pairs below `root`, or read those that are there.

    The processes of `accelerator` share the work; each returns all of it. One process alone can
    be given `seconds`, after which no further batch begins.
    """
    run = renderer.run
    table = ordered_pairs(people.identities.cpu())
    numbers = torch.arange(len(table) if run.pairs is None else min(run.pairs, len(table)))
    pairs = table[PairOrder(len(table), renderer.seed + 1).pair_numbers(numbers)]
    folder = root / renderer.key(people, pairs)
    folder.mkdir(parents=True, exist_ok=True)
    device = people.pictures.device
    starts = range(0, len(pairs), run.batch_size)
    mine = starts[accelerator.process_index :: accelerator.num_processes]
    end = None if seconds is None else time.monotonic() + seconds
    for start in tqdm(mine, desc="coarse", unit="batch"):
        if start and end is not None and time.monotonic() > end:
            starts, pairs = range(0, start, run.batch_size), pairs[:start]
            break
        chunk = folder / f"{start:06d}.npy"
        rows = slice(start, start + run.batch_size)
        if not chunk.is_file():
            batch = renderer(people, pairs[rows].to(device), numbers[rows].to(device))
            with atomic_file(chunk) as file:
                np.save(file, batch.transpose(0, 3, 1, 2))
    accelerator.wait_for_everyone()
    pictures = [np.load(folder / f"{start:06d}.npy") for start in starts]
    return CoarsePictures(torch.from_numpy(np.concatenate(pictures)), pairs)
