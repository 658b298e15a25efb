"""What runs on rendered people share: people that are still being rendered, parts, and training."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from pcdm_core.checkpoints import load_component
from pcdm_core.checkpoints.load import SHARD_BYTES
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.config import Preset
from pcdm_core.presets import find_preset

from ..coarse.render import CoarseRenderer, render_coarse
from ..config import TrainConfig
from ..data.in_memory import CoarsePictures, People, load_people
from ..data.pairs import ordered_pairs
from ..features.in_memory import MomentsInMemory
from ..loop.distributed import agreed, make_accelerator
from ..loop.sample_rng import seed_part
from ..loop.trainer import PairSource, Trainer
from ..stages import Frozen, StageModule
from ..stages.initialise import sized_preset
from ..stages.perception import PerceptualLoss, load_perception, save_perception, train_perception
from ..synthetic.dataset import Job, folder, missing_identities
from .components import load_components, preset_note, save_components

GROWTH = 1.6  # with `follow`, people are read again once there are this many times as many


class RenderedRun:
    """One run folder: `weights/` (finished parts), a folder a stage (state, log), `coarse/`."""

    shard_bytes = SHARD_BYTES  # a larger part comes in several files

    def __init__(self, config: TrainConfig, data: Path, out: Path, *, follow: bool = False) -> None:
        """`follow` trains while people are being rendered."""
        self.config, self.data, self.out = config, data, out
        self.preset: Preset = sized_preset(find_preset(config.preset), config)
        size = self.preset.height, self.preset.width
        self.job = Job(data, "train", config.views, size, config.seed)
        self.accelerator = make_accelerator(config.mixed_precision, out)
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

    @contextmanager
    def rendering(self, enough: int | None) -> Generator[Callable[[int], None]]:
        """Renders while the block runs; it begins with `enough` people (None: all of them).

        Only the first process renders; the others wait for it. The block gets a function that
        waits for a number of people.
        """
        renderer = self.render() if self.accelerator.is_main_process else None

        def wait(count: int) -> None:
            if renderer is not None:
                while renderer.poll() is None and self.rendered() < count:
                    time.sleep(1.0)
                if renderer.returncode:
                    raise ChildProcessError(
                        f"Rendering people ended with exit code {renderer.returncode}; its message "
                        f"is above. The same command goes on."
                    )
            self.accelerator.wait_for_everyone()

        try:
            wait(enough or self.config.identities)
            yield wait
        finally:
            if renderer is not None:
                renderer.terminate()

    def read_people(self) -> People:
        """Read people that were not read yet and add them to those in memory."""
        count = agreed(self.rendered())
        if self.people is not None and count <= self.read:
            return self.people
        workers = self.config.render_workers
        part = load_people(
            self.data, "train", self.preset, workers=workers, skip=self.read, limit=count
        ).to(self.accelerator.device)
        self.read = count
        if (self.weights / "global_encoder.safetensors").is_file():
            part = part.with_embeds(self.part("global_encoder"))
        self.people = part if self.people is None else People.joined([self.people, part])
        return self.people

    def pairs(self) -> PairSource:
        """All ordered pairs of the people in memory (not of those rendered since)."""
        people = self.read_people() if self.people is None else self.people
        return PairSource(ordered_pairs(people.identities.cpu()), self.config.seed)

    def coarse(self) -> CoarsePictures:
        """Stage 2's results for training pairs, keyed by what made them."""
        seed_part(self.config.seed, "coarse")
        parts = load_components(self.weights, self.accelerator.device)
        theirs, ours = (
            c.skeleton_reduction for c in (parts.inpainting.config, self.preset.inpainting)
        )
        if theirs != ours:
            raise ValueError(
                f"{self.weights}: its stage 2 knows skeletons of skeleton_reduction {theirs}, the "
                f"configuration says {ours}. Set it as it was, or give this run another folder."
            )
        renderer = CoarseRenderer(self.preset, parts, self.config.coarse, self.config.seed)
        people, folder, seconds = self.read_people(), self.out / "coarse", self.coarse_seconds()
        return render_coarse(renderer, people, folder, self.accelerator, seconds)

    def coarse_seconds(self) -> float | None:
        """How long `coarse` may draw; None for all of its pairs."""
        return None

    # --- parts -----------------------------------------------------------------------------------

    def part(self, name: Component) -> nn.Module:
        """A finished part on the device, frozen."""
        module = load_component(self.weights, name)
        module = module.to(device=self.accelerator.device, dtype=torch.float32)
        return module.requires_grad_(False).eval()

    def has(self, *names: Component) -> bool:
        """Whether parts are finished (whole or in shards)."""
        return agreed(all(any(self.weights.glob(f"{name}.safetensors*")) for name in names))

    def frozen(self, patch_encoder: bool = False) -> Frozen:
        """The parts that stages use and do not train."""
        # Channels last: a learned code's convolutions take two thirds of the time on a CPU.
        code = self.part("autoencoder").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return Frozen(
            code,
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
        # Channels last: a fifth less time on a CPU.
        network = load_perception(path).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return PerceptualLoss(network, run)

    def features(
        self, frozen: Frozen, coarse: CoarsePictures | None = None
    ) -> People | MomentsInMemory:
        """What a stage learns on: people, or with `moments_in_memory` their moments too."""
        people = self.read_people()
        if not self.config.moments_in_memory:
            return people
        code, patches = frozen.autoencoder, frozen.patch_encoder
        return MomentsInMemory(people, code, patches, coarse=coarse)

    def save(self, stage: StageModule) -> None:
        """Write a stage's parts."""
        if self.accelerator.is_main_process:
            parts = stage.components
            save_components(parts, self.weights, self.preset, self.note(), self.shard_bytes)
        self.accelerator.wait_for_everyone()

    def note(self) -> dict[str, str]:
        """What the metadata of every file says of its making."""
        return {
            "seed": str(self.config.seed),
            "identities": str(self.read),
            "data": "synthetic people of training/synthetic, rendered; no pretrained network",
        }

    # --- training --------------------------------------------------------------------------------

    def train(
        self, name: Component, stage: StageModule, coarse: CoarsePictures | None = None
    ) -> None:
        """Train one stage to its end and write its parts; stage 3 on the pairs of `coarse`."""
        config = self.config
        trainer = Trainer(
            stage,
            config.stage(name),
            self.accelerator,
            self.out / name,
            config.compile,
            config.trackers,
            {**preset_note(self.preset), **self.note()},
        )
        trainer.resume()
        if coarse is None:
            trainer.run_all(self.pairs(), self.refresh(stage) if self.follow else None)
        else:
            trainer.run_all(PairSource(coarse.rows, config.seed))
        stage.finish()
        self.save(stage)
        self.accelerator.free_memory()  # it would keep every stage's optimiser

    def refresh(self, stage: StageModule) -> Callable[[], PairSource | None]:
        """For runs that start before all people are rendered."""

        def larger() -> PairSource | None:
            count = self.rendered()
            whole = count >= self.config.identities
            if count == self.read or not (whole or count > GROWTH * self.read):
                return None
            stage.use_people(self.read_people())
            return self.pairs()

        return larger
