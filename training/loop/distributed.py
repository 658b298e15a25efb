"""Several processes: whole weights in each (DDP), or weights in shards (FSDP).

`accelerate config` says which: a run asks `Accelerator`, and nothing else decides. Checkpoints hold
whole tensors in every case, so that a run may go on with another number of processes or another way
of sharing, as far as its global batch allows.

What only one process knows (a clock, a file, room on a disk) never decides by itself whether a
collective is reached: `agreed` and `gathered` make it the same in all of them.
"""

from __future__ import annotations

import logging
import os
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from accelerate import Accelerator, InitProcessGroupKwargs, PartialState
from accelerate.commands.config.config_args import default_config_file
from accelerate.utils import DistributedType, broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from .precision import mixed_precision

logger = logging.getLogger(__name__)

# Features and coarse pictures are made without a collective for hours, and shares of such work end
# minutes apart; NCCL's own limit is 10 minutes.
PATIENCE = timedelta(hours=6)
LAUNCHERS = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
T = TypeVar("T")


def make_accelerator(precision: str, folder: Path) -> Accelerator:
    """The processes of the run in a folder; see `mixed_precision` for `precision`.

    Raises:
        ValueError: see `check_parallel` and `check_shared`.
    """
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    precision = mixed_precision(precision)
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[patience])
    check_parallel(accelerator)
    check_shared(folder)
    return accelerator


def agreed(value: T) -> T:
    """The first process's value, in every process."""
    values = [value]
    if PartialState().num_processes > 1:
        broadcast_object_list(values)
    return values[0]


def gathered(value: T) -> list[T]:
    """Every process's value, by number of process, in every process."""
    return gather_object([value]) if PartialState().num_processes > 1 else [value]


def check_shared(folder: Path) -> None:
    """Refuse a run's folder that is not one and the same in every process.

    Raises:
        ValueError: in all processes; those that do not see the folder of the first are named.
    """
    state = PartialState()
    if state.num_processes == 1:
        return
    token = folder / f".shared.{agreed(uuid.uuid4().hex)}"
    if state.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        token.touch()
    state.wait_for_everyone()
    blind = [process for process, sees in enumerate(gathered(token.exists())) if not sees]
    token.unlink(missing_ok=True)
    if blind:
        raise ValueError(
            f"{folder}: the processes {', '.join(map(str, blind))} do not see what process 0 "
            f"writes there. All machines need one file system for data, cache and --out."
        )


def requested_processes() -> int:
    """How many processes somebody asked for: a launcher, or `accelerate config`."""
    counts = [os.environ.get(name, "") for name in LAUNCHERS]
    settings = Path(default_config_file)
    if settings.is_file():
        document = yaml.safe_load(settings.read_text(encoding="utf-8"))
        counts.append(str(document.get("num_processes") if isinstance(document, dict) else ""))
    return max((int(count) for count in counts if count.isdecimal()), default=1)


def report_batch(name: str, batch: int, accumulate: int, recipe: int | None) -> None:
    """Say of how many samples a step is made, and warn where that is not what was asked for."""
    state = PartialState()
    if not state.is_main_process:
        return
    processes, wish = state.num_processes, requested_processes()
    total = processes * batch * accumulate
    logger.info(
        "%s: %d processes x %d samples x %d accumulated = %d samples a step; the recipe's: %s",
        *(name, processes, batch, accumulate, total, recipe or "not stated"),
    )
    if recipe not in (None, total):
        logger.warning(
            "%s: a step has %d samples and the recipe's %d. Set batch_size x accumulate x "
            "processes to it (--set stages.%s.accumulate=N), or expect another result.",
            *(name, total, recipe, name),
        )
    if processes == 1 and wish > 1:
        logger.warning(
            "One process runs, and %d were asked for (accelerate config, or a launcher's "
            "variables). Start it by `accelerate launch -m`; docs/training.md has the lines.",
            wish,
        )


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether parameters are divided among the processes."""
    return accelerator.distributed_type == DistributedType.FSDP


def check_parallel(accelerator: Accelerator) -> None:
    """Refuse what this trainer cannot do.

    Raises:
        ValueError: DeepSpeed, or the first version of FSDP.
    """
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise ValueError(
            "DeepSpeed's engine steps and saves by itself, which exact resuming does not allow. "
            "Choose FSDP (fsdp_version: 2) in `accelerate config`: it divides weights, gradients "
            "and optimiser state likewise."
        )
    if is_sharded(accelerator) and not accelerator.is_fsdp2:
        raise ValueError(
            "FSDP of version 1 flattens parameters and cannot say which is which. Set "
            "fsdp_version: 2 in the accelerate configuration."
        )


def prepared(
    accelerator: Accelerator, stage: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Any, Any]:
    """The module whose call is a training pass, and the optimiser of its parameters."""
    check_parallel(accelerator)
    if is_sharded(accelerator):
        return accelerator.prepare(stage, optimizer)
    module = accelerator.prepare_model(stage) if accelerator.num_processes > 1 else stage
    return module, accelerator.prepare_optimizer(optimizer)


def whole(value: Any, keep: bool = True) -> Any:
    """The value with every sharded tensor in it put together on the CPU; in all processes at once.

    With `keep` False a process takes part and keeps nothing. Without shards all stays as it is.
    """
    if isinstance(value, DTensor):
        tensor = value.full_tensor()
        return tensor.cpu() if keep else None
    if isinstance(value, dict):
        return {name: whole(part, keep) for name, part in value.items()}
    if isinstance(value, list):
        return [whole(part, keep) for part in value]
    return value


def like(value: Tensor, reference: Any) -> Tensor:
    """A whole tensor divided as `reference` is."""
    if not isinstance(reference, DTensor):
        return value
    mesh = reference.device_mesh
    return distribute_tensor(value.to(reference.device), mesh, reference.placements)
