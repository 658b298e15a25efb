"""Several processes: whole weights in each (DDP), or weights in shards (FSDP).

`accelerate config` says which: a run asks `Accelerator`, and nothing else decides. Checkpoints hold
whole tensors in every case, so that a run may go on with another number of processes or another way
of sharing, as far as its global batch allows.
"""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


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
