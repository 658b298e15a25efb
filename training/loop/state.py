"""What a run is made of while it lasts, and how it comes back from a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from pcdm_core.checkpoints.signatures import CONFIGS
from pcdm_core.config import config_from_dict, config_to_dict

from ..config import StageRun
from ..stages import StageModule
from .checkpoints import CheckpointFolder, ResumeError
from .distributed import is_sharded, like, prepared, whole

logger = logging.getLogger(__name__)

# Settings that say when to look or to stop, not what the steps are.
FREE_SETTINGS = frozenset(
    {
        "steps", "minutes", "checkpoint_minutes", "checkpoint_steps", "keep_checkpoints",
        "log_steps", "sheet_steps", "batch_size", "accumulate", "global_batch",
    }
)  # fmt: skip


class RunState:
    """Parameters, optimiser, moving average and step of one stage's run."""

    def __init__(
        self,
        stage: StageModule,
        run: StageRun,
        accelerator: Accelerator,
        folder: Path,
        compile_step: bool = False,
        trackers: Sequence[str] = (),
        note: Mapping[str, str] | None = None,
    ) -> None:
        """`note` goes with the weights: it is in every checkpoint, and in what is exported."""
        self.note = dict(note or {})
        self.stage = stage
        self.run = run
        self.accelerator = accelerator
        self.folder = folder
        self.trackers = trackers
        folder.mkdir(parents=True, exist_ok=True)
        stage.to(accelerator.device)
        self.is_sharded = is_sharded(accelerator)
        if not self.is_sharded:  # shards have to be contiguous
            stage.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster convolutions
        self.names = [name for name, p in stage.named_parameters() if p.requires_grad]
        self._take_parameters()
        module, self.optimizer = prepared(accelerator, stage, self._optimizer())
        self._take_parameters()  # a sharded run has other ones now
        self.parallel = module
        self.module = torch.compile(module, dynamic=False) if compile_step else module
        self.ema: EMAModel | None = None
        if run.ema_decay is not None:
            self.ema = EMAModel(self.parameters, decay=run.ema_decay, foreach=not self.is_sharded)
            self.ema.to(accelerator.device)
        self.step = 0
        self.seconds = 0.0
        self.total = run.steps if run.minutes is None else run.log_steps
        self.checkpoints = CheckpointFolder(folder, run.keep_checkpoints)
        self.grad_norm = torch.zeros(())

    def _take_parameters(self) -> None:
        parameters = dict(self.stage.named_parameters())
        self.parameters = [parameters[name] for name in self.names]

    def _optimizer(self) -> torch.optim.Optimizer:
        run = self.run
        if run.optimizer == "sgd":
            rate, decay = run.learning_rate, run.weight_decay
            return torch.optim.SGD(self.parameters, lr=rate, weight_decay=decay)
        return torch.optim.AdamW(
            self.parameters,
            lr=run.learning_rate,
            betas=run.betas,
            weight_decay=run.weight_decay,
            fused=self.accelerator.device.type == "cuda",
        )

    @property
    def global_batch(self) -> int:
        """Samples of one optimiser step, over all processes."""
        return self.run.batch_size * self.run.accumulate * self.accelerator.num_processes

    # --- going on --------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """What a resumed run has to share with the checkpoint's."""
        fixed = {k: v for k, v in asdict(self.run).items() if k not in FREE_SETTINGS}
        return {**fixed, "seed": self.stage.seed, "global_batch": self.global_batch}

    def resume(self) -> bool:
        """Continue from the last checkpoint, if there is one.

        Raises:
            ResumeError: the checkpoint cannot be read, belongs to another model, or to a run with
                another seed or global batch, whose sample numbers mean other pairs.
        """
        state = self.checkpoints.load()
        if state is None:
            return False
        self._check_settings(state["settings"])
        self._check_components(state["components"])
        try:
            current = self.stage.state_dict()
            tensors: Mapping[str, Any] = state["stage"]
            self.stage.load_state_dict({k: like(v, current.get(k)) for k, v in tensors.items()})
            self.optimizer.load_state_dict(self._optimizer_state(state["optimizer"]))
            if self.ema is not None:
                shadows = zip(state["ema"]["shadow_params"], self.parameters, strict=True)
                shared = {"shadow_params": [like(v, p) for v, p in shadows]}
                self.ema.load_state_dict({**state["ema"], **shared})
                self.ema.to(self.accelerator.device)
            if self.accelerator.scaler is not None and state.get("scaler"):
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise ResumeError(
                f"{self.folder}: its checkpoint cannot be resumed, it is of another model "
                f"({error}). Give this run another folder, or delete the checkpoints there."
            ) from error
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        if self.run.minutes is not None:
            self.total = int(state["total"])
        logger.info("%s goes on at step %d of %d", self.folder.name, self.step, self.total)
        return True

    def _check_settings(self, before: dict[str, Any]) -> None:
        changed = {
            name: f"{name} {before.get(name)} -> {now}"
            for name, now in self.settings().items()
            if before.get(name) != now and not (name == "betas" and list(now) == before.get(name))
        }
        if fatal := [changed[name] for name in ("seed", "global_batch") if name in changed]:
            raise ResumeError(
                f"{self.folder}: the run cannot go on with other sample numbers "
                f"({', '.join(fatal)}). Set them as they were (batch_size x accumulate x processes "
                f"is the global batch), or give this run another folder."
            )
        if changed:
            logger.warning("%s goes on with other settings: %s", self.folder, ", ".join(changed))

    def _check_components(self, before: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse what the shapes of tensors do not show: another prediction, other skeletons."""
        for name, module in self.stage.components.items():
            if name not in before:
                continue
            was = config_to_dict(config_from_dict(CONFIGS[name], before[name]["config"]))
            now = config_to_dict(module.config)
            changed = [f"{key} {was[key]} -> {now[key]}" for key in now if now[key] != was[key]]
            if changed:
                raise ResumeError(
                    f"{self.folder}: the run cannot go on with another {name} "
                    f"({', '.join(changed)}). Set it as it was, or give this run another folder."
                )

    def save(self) -> None:
        """Write the whole state.

        Raises:
            OSError: it cannot be written; earlier checkpoints are untouched.
        """
        if not self.is_sharded and not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        # Of a sharded run every process takes part in putting tensors together; one writes them.
        keep = self.accelerator.is_main_process
        state = {
            "stage": whole(self.stage.state_dict(), keep),
            "optimizer": whole(self.optimizer.state_dict(), keep),
            "ema": None if self.ema is None else whole(self.ema.state_dict(), keep),
            "scaler": None if scaler is None else scaler.state_dict(),
            "total": self.total,
            "seconds": self.seconds,
            "settings": self.settings(),
            "trained": self.names,
            "components": self._components(),
            "note": self.note,
        }
        if not keep:
            return
        self.checkpoints.save(state, self.step)

    def _optimizer_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A checkpoint's optimiser state, as this run shards its parameters."""
        shared = {
            number: {
                name: like(value, self.parameters[number]) if value.ndim else value
                for name, value in values.items()
                if isinstance(value, torch.Tensor)
            }
            for number, values in state["state"].items()
        }
        return {**state, "state": shared}

    def _components(self) -> dict[str, dict[str, Any]]:
        """Which tensors are which part, and its configuration: all that an export needs."""
        names = {id(module): name for name, module in self.stage.named_modules()}
        return {
            component: {
                "prefix": f"{names[id(module)]}.",
                "config": config_to_dict(module.config),
            }
            for component, module in self.stage.components.items()
        }
