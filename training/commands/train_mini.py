"""From nothing to the weights that ship: render people, train every stage, export.

Each step is skipped when its result is there, and a stage that was interrupted goes on from its
last checkpoint, so that the same command finishes what an earlier one began.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from pcdm_core.checkpoints import CheckpointError, load_component
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.config import Preset, Stage
from pcdm_core.encoders import LinearImageEncoder, PatchImageEncoder, build_global_encoder
from pcdm_core.files import write_bytes
from pcdm_core.images import from_planes
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT
from pcdm_core.vae import ConvAutoencoder, PatchAutoencoder, build_autoencoder

from ..coarse.render import CoarseRenderer, render_coarse
from ..config import TRAINED, TrainConfig, load_config
from ..data.in_memory import CoarsePictures, People, load_people
from ..data.pairs import ordered_pairs
from ..loop.precision import mixed_precision
from ..loop.run_log import locked_run, record_run
from ..loop.sample_rng import seed_part
from ..loop.trainer import PairSource, Trainer
from ..stages import (
    AutoencoderStage,
    Frozen,
    InpaintingStage,
    PriorStage,
    RefiningStage,
    StageModule,
)
from ..stages.closed_form import fit_code, fit_encoder
from ..stages.initialise import build_denoiser, sized_preset, warm_start, widen_latents
from ..stages.perception import PerceptualLoss, load_perception, save_perception, train_perception
from ..synthetic.dataset import Job, folder, missing_identities
from .components import load_components, preset_note, save_components

logger = logging.getLogger(__name__)

GROWTH = 1.6  # with --follow, people are read again once there are this many times as many


class MiniRun:
    """One run folder: `weights/` (finished parts), a folder a stage (state, log), `coarse/`."""

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
        self.config, self.data, self.out = config, data, out
        self.start_from = start_from
        self.preset: Preset = sized_preset(find_preset(config.preset), config)
        size = self.preset.height, self.preset.width
        self.job = Job(data, "train", config.views, size, config.seed)
        self.accelerator = Accelerator(mixed_precision=mixed_precision(config.mixed_precision))
        self.weights = out / "weights"
        self.follow = follow
        self.read = 0  # identity folders read so far
        self.people: People | None = None
        if follow and self.accelerator.num_processes > 1:
            raise ValueError("--follow works in one process: others would see other people.")
        self.weights.mkdir(parents=True, exist_ok=True)

    # --- people ----------------------------------------------------------------------------------

    def render(self) -> subprocess.Popen[bytes] | None:
        """Start rendering the people that the folder lacks; None where it has all of them.

        Raises:
            ValueError: those that are there have another size, other views or another seed.
        """
        config, job = self.config, self.job
        if not missing_identities(job, range(config.identities)):
            return None
        command = [sys.executable, "-m", "training.synthetic", "--out", str(job.out)]
        command += ["--split", job.split, "--identities", str(config.identities)]
        command += ["--views", str(job.views), "--size", f"{job.size[0]}x{job.size[1]}"]
        command += ["--workers", str(config.render_workers), "--seed", str(job.seed)]
        return subprocess.Popen(command)

    def rendered(self) -> int:
        """How many of the run's people are there, from number 0 on and without a gap.

        Several workers finish them out of order; what is read must not depend on that.
        """
        numbers = range(self.config.identities)
        gaps = (number for number in numbers if not folder(self.job, number).exists())
        return next(gaps, len(numbers))

    def wait_for_people(self, renderer: subprocess.Popen[bytes] | None, enough: int) -> None:
        """Return when rendering ended, or when there are `enough` people.

        Only the first process renders; the others wait for it.
        """
        if renderer is not None:
            while renderer.poll() is None and self.rendered() < enough:
                time.sleep(1.0)
            if renderer.returncode:
                raise ChildProcessError(
                    f"Rendering people ended with exit code {renderer.returncode}; its message is "
                    f"above. The same command goes on."
                )
        self.accelerator.wait_for_everyone()

    def read_people(self) -> People:
        """Read people that were not read yet and add them to those in memory."""
        found = self.rendered()
        if self.people is not None and found <= self.read:
            return self.people
        workers = self.config.render_workers
        part = load_people(
            self.data, "train", self.preset, workers=workers, skip=self.read, limit=found
        ).to(self.accelerator.device)
        self.read = found
        if (self.weights / "global_encoder.safetensors").is_file():
            part = part.with_embeds(self.part("global_encoder"))
        self.people = part if self.people is None else People.joined([self.people, part])
        return self.people

    # --- parts -----------------------------------------------------------------------------------

    def part(self, name: Component) -> nn.Module:
        """A finished part on the device, frozen."""
        module = load_component(self.weights, name)
        module = module.to(device=self.accelerator.device, dtype=torch.float32)
        return module.requires_grad_(False).eval()

    def has(self, name: Component) -> bool:
        """Whether a part is finished (whole or in shards)."""
        return any(self.weights.glob(f"{name}.safetensors*"))

    def save(self, stage: StageModule) -> None:
        """Write a stage's parts."""
        if self.accelerator.is_main_process:
            save_components(stage.components, self.weights, self.preset, self.note())
        self.accelerator.wait_for_everyone()

    def note(self) -> dict[str, str]:
        """What the metadata of every file says of its making."""
        return {
            "seed": str(self.config.seed),
            "identities": str(self.read),
            "data": "synthetic people of training/synthetic, rendered; no pretrained network",
        }

    def earlier(self, name: Component) -> dict[str, torch.Tensor] | None:
        """Weights of an earlier run to start from (`--warm-start`)."""
        if self.start_from is None:
            return None
        state = load_component(self.start_from, name).float().state_dict()
        if name not in ("inpainting", "refining"):
            return state
        return widen_latents(state, self.preset.autoencoder.latent_channels)

    def earlier_code(self) -> PatchAutoencoder | None:
        """The code under the weights of `--warm-start`: they know no other channels."""
        if self.start_from is None:
            return None
        code = load_component(self.start_from, "autoencoder").float()
        if isinstance(code, ConvAutoencoder) and code.config != self.preset.autoencoder:
            raise ValueError(
                f"{self.start_from}: its learned autoencoder has another size than the "
                f"configuration's ({code.config}), and can only be trained on as it is. Set "
                f"`autoencoder` as it was, or start without --warm-start."
            )
        return code if isinstance(code, PatchAutoencoder) else None

    # --- stages ----------------------------------------------------------------------------------

    def fit_encoders(self) -> None:
        """The closed-form parts: global encoder and autoencoder (which may be trained further)."""
        people, run = self.read_people(), self.config.stage("autoencoder")
        rows = slice(0, run.fit_pictures)
        if not self.has("global_encoder") and self.preset.global_encoder is not None:
            seed_part(self.config.seed, "global_encoder")
            encoder = build_global_encoder(self.preset.global_encoder)
            if not isinstance(encoder, LinearImageEncoder):
                raise ValueError(f"The preset {self.preset.name!r} has no closed-form encoder.")
            # Half whitened: the prior's error then counts what is seen most, most.
            fit_encoder(encoder, people.global_pixels(rows).cpu(), whiten=0.5)
            if self.accelerator.is_main_process:
                part: dict[Component, nn.Module] = {"global_encoder": encoder}
                save_components(part, self.weights, self.preset, self.note())
            self.accelerator.wait_for_everyone()
        if not self.has("autoencoder"):
            seed_part(self.config.seed, "autoencoder")
            model, code = build_autoencoder(self.preset.autoencoder), self.earlier_code()
            pictures = from_planes(people.pictures[rows]).cpu()
            if isinstance(code, ConvAutoencoder):
                model = code
            elif isinstance(model, PatchAutoencoder):
                fit_code(model, pictures, earlier=code)
            perception = self.perception("autoencoder")
            stage = AutoencoderStage(model, people, run, self.config.seed, perception)
            self.train("autoencoder", stage, self.pairs)
        self.people = people.with_embeds(self.part("global_encoder"))

    def pairs(self) -> PairSource:
        """All ordered pairs of the people in memory (not of those rendered since)."""
        people = self.read_people() if self.people is None else self.people
        return PairSource(ordered_pairs(people.identities.cpu()), self.config.seed)

    def train(self, name: Component, stage: StageModule, source: Callable[[], PairSource]) -> None:
        """Train one stage to its end and write its parts."""
        config = self.config
        trainer = Trainer(
            stage,
            config.stage(name),
            self.accelerator,
            self.out / name,
            config.compile,
            config.tensorboard,
            {**preset_note(self.preset), **self.note()},
        )
        if trainer.resume():
            logger.info("%s goes on at step %d of %d", name, trainer.step, trainer.total)
        trainer.run_all(source(), self.refresh(stage) if self.follow else None)
        stage.finish()
        self.save(stage)
        self.accelerator.free_memory()  # it would keep every stage's optimiser

    def refresh(self, stage: StageModule) -> Callable[[], PairSource | None]:
        """For runs that start before all people are rendered."""

        def larger() -> PairSource | None:
            found = self.rendered()
            whole = found >= self.config.identities
            if found == self.read or not (whole or found > GROWTH * self.read):
                return None
            stage.use_people(self.read_people())
            return self.pairs()

        return larger

    def frozen(self, patch_encoder: bool = False) -> Frozen:
        """The parts that stages use and do not train."""
        return Frozen(
            self.part("autoencoder"),  # type: ignore[arg-type]
            self.part("global_encoder"),
            self.part("patch_encoder") if patch_encoder else None,  # type: ignore[arg-type]
        )

    def perception(self, stage: str) -> PerceptualLoss | None:
        """The network whose view is a part of this stage's loss, trained on the first call."""
        if not self.config.stage(stage).perception:
            return None
        path = self.out / "perception.safetensors"
        run, device = self.config.perception, self.accelerator.device
        if not path.is_file():
            if self.accelerator.is_main_process:
                network = train_perception(self.read_people(), run, self.config.seed)
                save_perception(network, path)
            self.accelerator.wait_for_everyone()
        return PerceptualLoss(load_perception(path).to(device), run)

    def fresh(self, stage: Stage) -> nn.Module:
        """A stage's network with the weights that this seed gives it, whatever ran before."""
        seed_part(self.config.seed, stage)
        return build_denoiser(self.preset, stage)

    def train_inpainting(self) -> None:
        """Stage 2 and the patch encoder."""
        model = self.fresh("inpainting")
        seed_part(self.config.seed, "patch_encoder")
        patch_encoder = PatchImageEncoder(self.preset.patch_encoder)
        named: dict[Component, nn.Module] = {"inpainting": model, "patch_encoder": patch_encoder}
        for name, module in named.items():
            if (state := self.earlier(name)) is not None:
                warm_start(module, state)
        run, seed = self.config.stage("inpainting"), self.config.seed
        people = self.read_people()
        frozen = replace(self.frozen(), perception=self.perception("inpainting"))
        stage = InpaintingStage(model, patch_encoder, frozen, people, run, seed)  # type: ignore[arg-type]
        self.train("inpainting", stage, self.pairs)

    def train_prior(self) -> None:
        """Stage 1."""
        model = self.fresh("prior")
        if (state := self.earlier("prior")) is not None:
            warm_start(model, state)
        run, seed = self.config.stage("prior"), self.config.seed
        stage = PriorStage(model, self.read_people(), run, seed)  # type: ignore[arg-type]
        self.train("prior", stage, self.pairs)

    def coarse(self) -> CoarsePictures:
        """Stage 2's results for training pairs, keyed by what made them."""
        seed_part(self.config.seed, "coarse")
        parts = load_components(self.weights, self.accelerator.device)
        trained, asked = (
            c.skeleton_reduction for c in (parts.inpainting.config, self.preset.inpainting)
        )
        if trained != asked:
            raise ValueError(
                f"{self.weights}: its stage 2 knows skeletons of skeleton_reduction {trained}, the "
                f"configuration says {asked}. Set it as it was, or give this run another folder."
            )
        renderer = CoarseRenderer(self.preset, parts, self.config.coarse, self.config.seed)
        return render_coarse(renderer, self.read_people(), self.out / "coarse", self.accelerator)

    def train_refining(self) -> None:
        """Stage 3, starting from stage 2's weights where shapes match."""
        model = self.fresh("refining")
        state = self.earlier("refining") if self.start_from is not None else None
        if state is None:
            state = self.part("inpainting").state_dict()
        warm_start(model, state, shared_channels=self.preset.autoencoder.latent_channels)
        coarse = self.coarse().to(self.accelerator.device)
        numbers = torch.arange(len(coarse.pairs))[:, None]
        rows = torch.cat([coarse.pairs.cpu(), numbers], dim=1)
        run, seed = self.config.stage("refining"), self.config.seed
        stage = RefiningStage(
            model,  # type: ignore[arg-type]
            replace(self.frozen(patch_encoder=True), perception=self.perception("refining")),
            self.read_people(),
            coarse,
            run,
            seed,
        )
        self.follow = False
        self.train("refining", stage, lambda: PairSource(rows, seed))

    def run_all(self, enough: int | None = None) -> None:
        """Everything, in order."""
        renderer = self.render() if self.accelerator.is_main_process else None
        try:
            self.wait_for_people(renderer, enough or self.config.identities)
            self.fit_encoders()
            if not (self.has("inpainting") and self.has("patch_encoder")):
                self.train_inpainting()
            self.wait_for_people(renderer, self.config.identities)
            if not self.has("prior"):
                self.train_prior()
            if not self.has("refining"):
                self.train_refining()
        finally:
            if renderer is not None:
                renderer.terminate()


def copy_whole(path: Path, folder: Path) -> None:
    """Copy a file into a folder, whole or not at all."""
    write_bytes(folder / path.name, path.read_bytes())


def ship(weights: Path, target: Path) -> None:
    """Copy finished parts over the shipped ones, each file whole or not at all."""
    target.mkdir(parents=True, exist_ok=True)
    stale = {p for n in (*TRAINED, "patch_encoder") for p in target.glob(f"{n}*.safetensors*")}
    for path in sorted(weights.glob("*.safetensors*")):
        copy_whole(path, target)
        stale.discard(target / path.name)
    for old in stale:
        old.unlink()


def main(arguments: list[str] | None = None) -> int:
    """`python -m training.commands.train_mini`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("training/configs/mini.yaml"))
    parser.add_argument("--data", type=Path, default=Path("data/people"), help="rendered people")
    parser.add_argument("--out", type=Path, default=Path("runs/mini"), help="the run's folder")
    parser.add_argument("--warm-start", type=Path, help="folder of exported weights to start from")
    parser.add_argument("--ship", type=Path, help="copy the finished weights to this folder")
    parser.add_argument(
        "--follow",
        type=COUNT.parse,
        metavar="N",
        help="start training at N rendered people and take in the others as they come",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        config = load_config(options.config)
        with locked_run(options.out):
            record_run(options.out, config, ["train-mini", *(arguments or sys.argv[1:])])
            run = MiniRun(
                config,
                options.data,
                options.out,
                follow=options.follow is not None,
                start_from=options.warm_start,
            )
            run.run_all(options.follow)
            if options.ship is not None and run.accelerator.is_main_process:
                ship(run.weights, options.ship)
    except (CheckpointError, ValueError, OSError, FloatingPointError) as error:
        print(f"train-mini: {error}", file=sys.stderr)
        return 2
    print(f"Finished weights: {run.weights}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
