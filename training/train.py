"""One loop for every stage: prepared batch in, scalar out."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor
from tqdm import tqdm

from .config import StageRun
from .pairs import PairOrder, batch_samples
from .stages import StageModule

logger = logging.getLogger(__name__)

LOG_STEPS = 25


@dataclass
class PairSource:
    """Sample numbers to rows; `refresh` may hand over a larger table between steps."""

    rows: Tensor  # int64 [P, k], row numbers of a pair (and of its coarse picture)
    seed: int

    def __post_init__(self) -> None:
        self.order = PairOrder(len(self.rows), self.seed)

    def batch(self, samples: Tensor) -> Tensor:
        """Sample numbers [B] (CPU) -> [B, k] (CPU)."""
        return self.rows[self.order.pair_numbers(samples)]


def learning_rate_at(step: int, total: int, run: StageRun) -> float:
    """Linear warm-up, a plateau, and a linear fall to zero over the last `decay_fraction`."""
    warm = min(1.0, (step + 1) / max(run.warmup_steps, 1))
    decay_steps = max(int(total * run.decay_fraction), 1)
    left = min(1.0, max(total - step, 0) / decay_steps)
    return run.learning_rate * warm * left


def _write(state: dict[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


class Trainer:
    """State of one stage's run: parameters, optimiser, moving average, step."""

    def __init__(
        self,
        stage: StageModule,
        run: StageRun,
        accelerator: Accelerator,
        folder: Path,
        compile_step: bool = False,
    ) -> None:
        self.stage = stage
        self.run = run
        self.accelerator = accelerator
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.parameters = [p for p in stage.parameters() if p.requires_grad]
        stage.to(accelerator.device)
        stage.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions
        optimizer = torch.optim.AdamW(
            self.parameters,
            lr=run.learning_rate,
            betas=run.betas,
            weight_decay=run.weight_decay,
            fused=accelerator.device.type == "cuda",
        )
        module = accelerator.prepare_model(stage) if accelerator.num_processes > 1 else stage
        self.module = torch.compile(module, dynamic=False) if compile_step else module
        self.optimizer = accelerator.prepare_optimizer(optimizer)
        self.ema = EMAModel(self.parameters, decay=run.ema_decay, foreach=True)
        self.ema.to(accelerator.device)
        self.step = 0
        self.seconds = 0.0
        self.total = run.steps if run.minutes is None else LOG_STEPS
        self.checkpoint = folder / "state.pt"

    def resume(self) -> bool:
        """Continue from the last checkpoint, if there is one.

        Raises:
            ValueError: the checkpoint cannot be read or belongs to another model.
        """
        if not self.checkpoint.is_file():
            return False
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            self.stage.load_state_dict(state["stage"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.ema.load_state_dict(state["ema"])
            self.ema.to(self.accelerator.device)
        except (RuntimeError, KeyError, EOFError, ValueError) as error:
            raise ValueError(
                f"{self.checkpoint}: cannot be resumed ({error}). Delete it to start this stage "
                f"again, or restore the file."
            ) from error
        self.step, self.total = int(state["step"]), int(state["total"])
        self.seconds = float(state["seconds"])
        return True

    def save(self) -> None:
        """Write the whole state, atomically."""
        if self.accelerator.is_main_process:
            state = {
                "stage": self.stage.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "ema": self.ema.state_dict(),
                "step": self.step,
                "total": self.total,
                "seconds": self.seconds,
            }
            _write(state, self.checkpoint)

    def train_step(self, source: PairSource) -> Tensor:
        """One optimiser step; returns the detached loss."""
        accelerator = self.accelerator
        samples = batch_samples(
            self.step, self.run.batch_size, accelerator.process_index, accelerator.num_processes
        )
        pairs = source.batch(samples).to(accelerator.device, non_blocking=True)
        with torch.no_grad():
            batch = self.stage.prepare(samples.to(accelerator.device), pairs)
        rate = learning_rate_at(self.step, self.total, self.run)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with accelerator.autocast():
            loss = self.module(batch)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(self.parameters, self.run.clip_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.step(self.parameters)
        self.step += 1
        return loss.detach()

    def run_all(
        self, source: PairSource, refresh: Callable[[], PairSource | None] | None = None
    ) -> None:
        """Train to the end, logging, checkpointing and averaging.

        Args:
            refresh: asked now and then for a larger table of pairs (people still being rendered).
        """
        name = self.folder.name
        last_saved = last_read = time.monotonic()
        losses: list[Tensor] = []
        progress = tqdm(total=self.total, initial=self.step, desc=name, unit="step", mininterval=5)
        while self.step < self.total:
            losses.append(self.train_step(source))
            progress.update()
            if self.step % LOG_STEPS == 0 or self.step == self.total:
                mean = float(torch.stack(losses).mean())
                if mean != mean:
                    raise FloatingPointError(
                        f"{name}: the loss is not a number at step {self.step}. "
                        f"Lower the learning rate, or resume from the last checkpoint."
                    )
                losses = []
                now = time.monotonic()
                self._keep_time(now - last_read)
                last_read = now
                progress.total = self.total
                progress.set_postfix(loss=f"{mean:.4f}")
                self._log(mean)
                larger = refresh() if refresh is not None else None
                source = larger if larger is not None else source
                if now - last_saved > self.run.checkpoint_minutes * 60:
                    self.save()
                    last_saved = now
        progress.close()
        self.save()
        self.ema.copy_to(self.parameters)

    def _keep_time(self, seconds: float) -> None:
        """For a run given in minutes: how many steps the time left is good for."""
        self.seconds += seconds
        if self.run.minutes is not None:
            left = self.run.minutes * 60 - self.seconds
            self.total = self.step + max(int(left * LOG_STEPS / seconds), 0)

    def _log(self, loss: float) -> None:
        if self.accelerator.is_main_process:
            row = {"step": self.step, "of": self.total, "loss": loss, "seconds": self.seconds}
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
