"""One loop for every stage: prepared batch in, scalar out.

A run's result is a function of its configuration, its data and its seed alone. The draws of a
sample come from its number (see `sample_rng`), so a resumed run needs no random state, and any
number of processes makes the same steps from the same global batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..config import StageRun
from ..data.pairs import PairOrder, batch_samples
from .distributed import agreed, report_batch, whole
from .run_log import RunLog
from .state import RunState

logger = logging.getLogger(__name__)


AHEAD = 2  # batches that are read before they are needed
Inputs = tuple[Tensor, Tensor, Any]  # sample numbers, pairs, and what `Features.read` gives


def _attention(device: torch.device) -> AbstractContextManager[Any]:
    """Plain products on a CPU: run backwards, the fused kernel is slower over short sequences.

    A step of the mini preset's stage 2 takes 12 % less (one core, bf16).
    """
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


@dataclass
class PairSource:
    """Sample numbers to rows; `refresh` may hand over a larger table between steps."""

    rows: Tensor  # int64 [P, k], row numbers of a pair (and of its coarse picture)
    seed: int
    _order: PairOrder | None = field(default=None, repr=False)

    def order(self, global_batch: int) -> PairOrder:
        """The epochs of this table in global batches of that size."""
        if self._order is None or self._order.global_batch != global_batch:
            self._order = PairOrder(len(self.rows), self.seed, global_batch)
        return self._order

    def batch(self, samples: Tensor, global_batch: int) -> Tensor:
        """Sample numbers [B] (CPU) -> [B, k] (CPU)."""
        return self.rows[self.order(global_batch).pair_numbers(samples)]


def learning_rate_at(step: int, total: int, run: StageRun) -> float:
    """Linear warm-up, a plateau, and a linear fall to zero over the last `decay_fraction`."""
    warm = min(1.0, (step + 1) / max(run.warmup_steps, 1))
    if not run.decay_fraction:
        return run.learning_rate * warm
    decay_steps = max(int(total * run.decay_fraction), 1)
    fall = min(1.0, max(total - step, 0) / decay_steps)
    return run.learning_rate * warm * fall


class Trainer(RunState):
    """The loop over a run's state."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As `RunState`."""
        super().__init__(*arguments, **options)
        self._reader = ThreadPoolExecutor(1, "reader")
        self._ahead: dict[int, Future[Inputs]] = {}
        self._source: PairSource | None = None

    # --- steps -----------------------------------------------------------------------------------

    def inputs(self, source: PairSource, number: int) -> Inputs:
        """Those of one share, counted over all steps; the next ones are read while it computes."""
        if self._source is not source or number not in self._ahead:
            self._source, self._ahead = source, {}
        for later in range(number, number + AHEAD + 1):
            if later not in self._ahead:
                self._ahead[later] = self._reader.submit(self.read, source, later)
        return self._ahead.pop(number).result()

    def read(self, source: PairSource, number: int) -> Inputs:
        processes = self.accelerator
        samples = batch_samples(
            number, self.run.batch_size, processes.process_index, processes.num_processes
        )
        pairs, pinned = source.batch(samples, self.global_batch), processes.device.type == "cuda"
        inputs = self.stage.features.read(pairs)
        return samples.pin_memory() if pinned else samples, pairs, inputs

    def _micro_batch(self, source: PairSource, number: int) -> Tensor:
        """The loss of one of the `accumulate` shares of a step."""
        accelerator = self.accelerator
        samples, pairs, inputs = self.inputs(source, self.step * self.run.accumulate + number)
        with torch.no_grad():
            pairs = self.stage.features.place(pairs, inputs)
            samples = samples.to(accelerator.device, non_blocking=True)
            batch = self.stage.prepare(samples, pairs)
        with accelerator.autocast(), _attention(accelerator.device):
            return self.module(batch)

    def gradients(self, source: PairSource) -> Tensor:
        """The global batch's mean gradient, in every process.

        Returns:
            The detached loss of this process's share.
        """
        accelerator, shares = self.accelerator, self.run.accumulate
        losses: list[Tensor] = []
        for number in range(shares):
            # Gradients are summed over processes once a step, with the last share.
            last = number + 1 == shares
            with nullcontext() if last else accelerator.no_sync(self.parallel):
                loss = self._micro_batch(source, number)
                accelerator.backward(loss / shares)
            losses.append(loss.detach())
        return torch.stack(losses).mean()

    def train_step(self, source: PairSource) -> Tensor:
        """One optimiser step; returns the detached loss of this process's share."""
        accelerator = self.accelerator
        rate = learning_rate_at(self.step, self.total, self.run)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.gradients(source)
        norm = accelerator.clip_grad_norm_(self.parameters, self.run.clip_grad_norm)
        self.grad_norm = whole(norm) if isinstance(norm, Tensor) else self.grad_norm
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.step(self.parameters)
        self.step += 1
        return loss

    def run_all(
        self,
        source: PairSource,
        refresh: Callable[[], PairSource | None] | None = None,
        sheet: Callable[[], np.ndarray | None] | None = None,
    ) -> None:
        """Train to the end, logging, checkpointing and averaging.

        Args:
            refresh: asked now and then for a larger table of pairs (people still being rendered).
            sheet: draws sample pictures of the averaged weights, every `sheet_steps`.
        """
        log = RunLog(
            self.folder,
            step=self.step,
            total=self.total,
            enabled=self.accelerator.is_main_process,
            trackers=self.trackers,
        )
        run = self.run
        report_batch(self.folder.name, run.batch_size, run.accumulate, run.global_batch)
        last_saved = last_read = time.monotonic()
        last_step = self.step
        losses: list[Tensor] = []
        while self.step < self.total:
            losses.append(self.train_step(source))
            log.advance()
            if self.step % self.run.log_steps == 0 or self.step == self.total:
                mean = self._mean(losses)
                losses = []
                now = time.monotonic()
                self._keep_time(now - last_read, self.step - last_step)
                speed = (self.step - last_step) / max(now - last_read, 1e-9)
                last_read, last_step = now, self.step
                log.row(self.step, self.total, self._numbers(source, mean, speed))
                larger = refresh() if refresh is not None else None
                source = larger if larger is not None else source
            if self._checkpoint_is_due(time.monotonic() - last_saved):
                self.save()
                last_saved = time.monotonic()
            if sheet is not None and self.run.sheet_steps and self.step % self.run.sheet_steps == 0:
                self._draw_sheet(log, sheet)
        self.save()
        self._ahead.clear()
        log.close()
        if self.ema is not None:
            self.ema.copy_to(self.parameters)

    def _draw_sheet(self, log: RunLog, sheet: Callable[[], np.ndarray | None]) -> None:
        if self.is_sharded or not self.accelerator.is_main_process:
            return  # no process of a sharded run has the weights that a sheet is drawn with
        if self.ema is not None:
            self.ema.store(self.parameters)
            self.ema.copy_to(self.parameters)
        try:
            picture = sheet()
            if picture is not None:
                log.picture(self.folder.name, self.step, picture)
        finally:
            if self.ema is not None:
                self.ema.restore(self.parameters)

    def _checkpoint_is_due(self, seconds: float) -> bool:
        if self.step >= self.total:
            return False  # the end writes one
        every = self.run.checkpoint_steps
        if every is not None:
            return self.step % every == 0
        if self.step % self.run.log_steps:
            return False
        # Saving is a collective where weights are in shards, and clocks differ.
        return agreed(seconds > self.run.checkpoint_minutes * 60)

    def _numbers(self, source: PairSource, loss: float, speed: float) -> dict[str, float]:
        order = source.order(self.global_batch)
        samples = self.step * self.global_batch
        return {
            "loss": loss,
            "seconds": self.seconds,
            "learning_rate": learning_rate_at(self.step - 1, self.total, self.run),
            "grad_norm": float(self.grad_norm),
            "steps_per_second": speed,
            "epoch": self.step / order.steps_per_epoch,
            "repeats": order.repeats_until(samples),
        }

    def _mean(self, losses: list[Tensor]) -> float:
        """The mean over steps and processes.

        Raises:
            FloatingPointError: it is not a number.
        """
        reduced: Any = self.accelerator.reduce(torch.stack(losses).mean(), reduction="mean")
        mean = float(reduced)
        if mean != mean:
            raise FloatingPointError(
                f"{self.folder.name}: the loss is not a number at step {self.step}. "
                f"Lower the learning rate, or resume from the last checkpoint."
            )
        return mean

    def _keep_time(self, seconds: float, steps: int) -> None:
        """For a run given in minutes: how many steps the time left is good for."""
        self.seconds += seconds
        if self.run.minutes is None:
            return
        remaining = self.run.minutes * 60 - self.seconds
        total = self.step + max(int(remaining * steps / max(seconds, 1e-9)), 0)
        self.total, self.seconds = agreed((total, self.seconds))  # clocks differ
