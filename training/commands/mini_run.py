"""The recipe of the weights that ship, one method a part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from pcdm_core.checkpoints import load_component
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.config import Stage
from pcdm_core.encoders import (
    ConvImageEncoder,
    LinearImageEncoder,
    PatchImageEncoder,
    build_global_encoder,
)
from pcdm_core.images import from_planes
from pcdm_core.vae import Autoencoder, PatchAutoencoder, build_autoencoder

from ..config import TrainConfig
from ..loop.sample_rng import seed_part
from ..stages import AutoencoderStage, InpaintingStage, PriorStage, RefiningStage
from ..stages.closed_form import fit_code, fit_encoder
from ..stages.global_encoder import GlobalEncoderStage
from ..stages.initialise import build_denoiser, warm_start
from ..stages.other_code import CodeChange, fit_change, onto_code, teach_poses
from .components import save_components
from .rendered_run import RenderedRun

CODE_PICTURES = 512
"""Of them the change from one code's latents to another's is measured."""


class MiniRun(RenderedRun):
    """The recipe of the weights that ship: every part, in turn."""

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        out: Path,
        *,
        follow: bool = False,
        start_from: Path | None = None,
    ) -> None:
        """`follow` trains while people are being rendered; `start_from` holds earlier weights."""
        super().__init__(config, data, out, follow=follow)
        self.start_from = start_from

    # --- where parts start -----------------------------------------------------------------------

    def earlier(self, name: Component) -> nn.Module | None:
        """A part of the earlier run to start from (`--warm-start`)."""
        return None if self.start_from is None else load_component(self.start_from, name).float()

    def earlier_code(self) -> Autoencoder | None:
        """The code under the weights of `--warm-start`, where this run's has the same sizes."""
        code: Any = self.earlier("autoencoder")
        return None if code is None or code.config != self.preset.autoencoder else code

    def code_change(self) -> CodeChange | None:
        """From the latents that weights of `--warm-start` know to this run's, if they differ."""
        if self.start_from is None or self.earlier_code() is not None:
            return None
        old: Any = load_component(self.start_from, "autoencoder").float()
        pixels = from_planes(self.read_people().pictures[:CODE_PICTURES])
        return fit_change(old.to(pixels.device), self.frozen().autoencoder, pixels)

    def fresh(self, stage: Stage) -> Any:
        """A stage's network with the weights that this seed gives it, whatever ran before.

        An earlier run's weights are put over them, for stage 3 without any this run's stage 2's.
        """
        seed_part(self.config.seed, stage)
        model: Any = build_denoiser(self.preset, stage)
        start: Any = self.earlier(stage)
        shared = self.preset.autoencoder.latent_channels if stage == "refining" else 0
        if start is None:
            if stage == "refining":
                state = self.part("inpainting").state_dict()
                warm_start(model, state, shared_channels=shared)
            return model
        change = None if stage == "prior" else self.code_change()
        state = start.state_dict() if change is None else onto_code(start.state_dict(), change)
        warm_start(model, state, shared_channels=shared)
        if change is not None and stage == "inpainting":
            teach_poses(model, start, self.read_people(), self.config.seed)
        return model

    # --- stages ----------------------------------------------------------------------------------

    def fit_global_encoder(self) -> None:
        """The global encoder: in closed form, or trained on what is known of rendered people."""
        if self.has("global_encoder") or self.preset.global_encoder is None:
            return
        people, seed = self.read_people(), self.config.seed
        seed_part(seed, "global_encoder")
        encoder = build_global_encoder(self.preset.global_encoder)
        if isinstance(encoder, ConvImageEncoder):
            if (start := self.earlier("global_encoder")) is not None:
                warm_start(encoder, start.state_dict())
            run = self.config.stage("global_encoder")
            stage = GlobalEncoderStage(encoder, people, self.data / "train", run, seed)
            self.train("global_encoder", stage)
        elif isinstance(encoder, LinearImageEncoder):
            start = self.earlier("global_encoder")
            if start is not None and start.config == encoder.config:
                # Fitted to other pictures it would give other numbers than earlier stages know.
                encoder.load_state_dict(start.state_dict())
            else:
                # Half whitened: the prior's error then counts what is seen most, most.
                rows = slice(0, self.config.stage("autoencoder").fit_pictures)
                fit_encoder(encoder, people.global_pixels(rows).cpu(), whiten=0.5)
            if self.accelerator.is_main_process:
                part: dict[Component, nn.Module] = {"global_encoder": encoder}
                save_components(part, self.weights, self.preset, self.note())
            self.accelerator.wait_for_everyone()
        else:
            raise ValueError(f"The preset {self.preset.name!r} has no encoder that can be fitted.")

    def fit_encoders(self) -> None:
        """The parts that make what stages learn on: global encoder and autoencoder."""
        self.fit_global_encoder()
        people, run = self.read_people(), self.config.stage("autoencoder")
        rows = slice(0, run.fit_pictures)
        if not self.has("autoencoder"):
            seed_part(self.config.seed, "autoencoder")
            code = self.earlier_code()
            model = build_autoencoder(self.preset.autoencoder) if code is None else code
            if code is None and isinstance(model, PatchAutoencoder):
                fit_code(model, from_planes(people.pictures[rows]).cpu())
            perception = self.perception("autoencoder")
            stage = AutoencoderStage(model, people, run, self.config.seed, perception)
            self.train("autoencoder", stage)
        self.people = people.with_embeds(self.part("global_encoder"))

    def train_inpainting(self) -> None:
        """Stage 2 and the patch encoder."""
        model, run, seed = (
            self.fresh("inpainting"),
            self.config.stage("inpainting"),
            self.config.seed,
        )
        seed_part(seed, "patch_encoder")
        patch_encoder = PatchImageEncoder(self.preset.patch_encoder)
        if (start := self.earlier("patch_encoder")) is not None:
            warm_start(patch_encoder, start.state_dict())
        frozen = replace(self.frozen(), perception=self.perception("inpainting"))
        features = self.features(frozen)
        stage = InpaintingStage(model, patch_encoder, frozen, features, run, seed)
        self.train("inpainting", stage)

    def train_prior(self) -> None:
        """Stage 1."""
        model, run, seed = self.fresh("prior"), self.config.stage("prior"), self.config.seed
        self.train("prior", PriorStage(model, self.read_people(), run, seed))

    def train_refining(self) -> None:
        """Stage 3, starting from stage 2's weights where shapes match."""
        model, run, seed = self.fresh("refining"), self.config.stage("refining"), self.config.seed
        coarse = self.coarse().to(self.accelerator.device)
        frozen = replace(self.frozen(True), perception=self.perception("refining"))
        features = self.features(frozen, coarse)
        self.train("refining", RefiningStage(model, frozen, features, coarse, run, seed), coarse)

    def run_all(self, enough: int | None = None) -> None:
        """Everything, in order; it begins with `enough` people."""
        with self.rendering(enough) as wait:
            self.fit_encoders()
            if not self.has("inpainting", "patch_encoder"):
                self.train_inpainting()
            wait(self.config.identities)
            if not self.has("prior"):
                self.train_prior()
            if not self.has("refining"):
                self.train_refining()
