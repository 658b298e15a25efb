"""Runs that live in processes of their own: some are killed, some train together.

The processes are forked from one that has imported everything, so that a test can afford many.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.tensor import DTensor

from pcdm_core.encoders import PatchImageEncoder
from pcdm_core.images import load_picture
from pcdm_core.presets import PRESETS
from pcdm_core.vae import PatchAutoencoder
from training.commands.mini_run import MiniRun
from training.commands.train_stage import RecipeRun
from training.config import StageRun, TrainConfig
from training.data import open_pictures
from training.data.in_memory import People
from training.features import fill as fill_module
from training.loop import trainer as trainer_module
from training.loop.distributed import make_accelerator, whole
from training.loop.run_log import locked_run
from training.loop.trainer import PairSource, Trainer
from training.stages import Frozen, InpaintingStage, PriorStage, StageModule
from training.stages.initialise import build_denoiser

SEED = 3
ALL = "all"
SAVE = "checkpoints.save"
RECIPE_PARTS = (
    "mini_run.fit_global_encoder", "perception.train_perception", "mini_run.fit_encoders",
    "mini_run.train_inpainting", "components.save_components", "mini_run.train_prior",
    "rendered_run.coarse", "mini_run.train_refining",
)  # fmt: skip
posix = pytest.mark.skipif(sys.platform == "win32", reason="kills and limits of POSIX")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])


def start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A started process, with one thread as in every run whose bits are compared."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


# --- what is trained ------------------------------------------------------------------------------


def noise_people(count: int = 12) -> People:
    """People of noise: rows of the right shapes for the preset `test`."""
    preset = PRESETS["test"]
    assert preset.prior is not None
    assert preset.global_encoder is not None
    draw = torch.Generator().manual_seed(7)

    def pixels(*shape: int) -> torch.Tensor:
        return torch.randint(0, 256, (count, *shape), generator=draw, dtype=torch.uint8)

    patch, whole = preset.patch_encoder.picture_size, preset.global_encoder.picture_size
    xy = torch.rand(count, 18, 2, generator=draw)
    return People(
        pictures=pixels(3, preset.height, preset.width),
        masks=pixels(preset.height, preset.width),
        skeletons=pixels(3, preset.height, preset.width),
        patch_pictures=pixels(3, patch, patch),
        global_pictures=pixels(3, whole, whole),
        xy=xy,
        visible=torch.ones(count, 18, dtype=torch.bool),
        pose_vectors=xy.reshape(count, 1, 36),
        identities=torch.arange(count) // 4,
        embeds=torch.randn(count, preset.prior.embedding_dim, generator=draw),
    )


def noise_stage(name: str, run: StageRun) -> StageModule:
    """A stage of the preset `test` over people of noise."""
    preset, people = PRESETS["test"], noise_people()
    torch.manual_seed(1)
    model = build_denoiser(preset, name)
    if name == "prior":
        return PriorStage(model, people, run, SEED)  # type: ignore[arg-type]
    autoencoder = PatchAutoencoder(preset.autoencoder).requires_grad_(False)
    frozen = Frozen(autoencoder, torch.nn.Identity())
    encoder = PatchImageEncoder(preset.patch_encoder)
    return InpaintingStage(model, encoder, frozen, people, run, SEED)  # type: ignore[arg-type]


def noise_trainer(
    name: str, run: StageRun, folder: Path, sharded: bool = False, precision: str = "no"
) -> tuple[Trainer, PairSource]:
    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    if sharded:
        accelerator = sharding(accelerator)
    rows = torch.cartesian_prod(torch.arange(6), torch.arange(6, 12))
    trainer = Trainer(noise_stage(name, run), run, accelerator, folder)
    return trainer, PairSource(rows, SEED)


# --- killed ---------------------------------------------------------------------------------------


class Events:
    """A profiler that counts the calls and returns it sees, and kills this process at one of them.

    `within` are functions as `module.name`; of each it counts what happens until it returns.
    """

    def __init__(self, within: Iterable[str] = (), kill: tuple[str, int] | None = None) -> None:
        """`kill` is a function (or `all`) and the number of the event in it; its end at last."""
        self.names = {name.partition(".")[2]: name for name in within}
        self.counts = dict.fromkeys((ALL, *within), 0)
        self.depth = dict.fromkeys((ALL, *within), 0)
        self.active = [ALL]
        self.where, self.event = kill or (ALL, 0)

    def __call__(self, frame: FrameType, what: str, argument: Any) -> None:
        code = frame.f_code
        name = self.names.get(code.co_name)
        if name and code.co_filename.endswith(f"/{name.partition('.')[0]}.py"):
            self.depth[name] += {"call": 1, "return": -1}.get(what, 0)
            self.active = [ALL, *(name for name, depth in self.depth.items() if depth)]
            if name == self.where and self.event and not self.depth[name]:
                os.kill(os.getpid(), signal.SIGKILL)
        for name in self.active:
            self.counts[name] += 1
        if self.counts[self.where] == self.event:
            os.kill(os.getpid(), signal.SIGKILL)


def count_events(folder: Path, run: StageRun, out: Path) -> None:
    """Train to the end; writes how many events a step has, and a save."""
    trainer, source = noise_trainer("prior", run, folder)
    events = Events([SAVE])
    sys.setprofile(events)
    trainer.run_all(source)
    sys.setprofile(None)
    saves = run.steps // (run.checkpoint_steps or 1)
    counts = {"step": events.counts[ALL] // run.steps, "save": events.counts[SAVE] // saves}
    torch.save({"weights": trainer.parameters, "counts": counts}, out)


def go_on(folder: Path, run: StageRun, out: Path, kill: tuple[str, int] | None) -> None:
    """Resume and train; killed at `kill` (see `Events`), else to the end."""
    trainer, source = noise_trainer("prior", run, folder)
    trainer.resume()
    sys.setprofile(Events([SAVE], kill))
    trainer.run_all(source)
    sys.setprofile(None)
    torch.save({"weights": trainer.parameters}, out)


def recipe(
    data: Path, out: Path, config: TrainConfig, kill: tuple[str, int] | None, counts: Path
) -> None:
    """The whole recipe of rendered people, killed at `kill`; writes the events of its parts."""
    torch.set_num_threads(1)
    run = MiniRun(config, data, out)
    events = Events(RECIPE_PARTS, kill)
    sys.setprofile(events)
    run.run_all()
    sys.setprofile(None)
    counts.write_text(json.dumps(events.counts), encoding="utf-8")


def hold(folder: Path, ready: Path) -> None:
    """Keep a run's folder until somebody ends this process."""
    with locked_run(folder):
        ready.touch()
        signal.pause()


def train_in(
    precision: str, folder: Path, run: StageRun, out: Path, rests: tuple[int, ...]
) -> None:
    """Train to the end, leaving and resuming after each step of `rests`; writes losses too."""
    losses: list[float] = []
    for rest in (*rests, run.steps):
        trainer, source = noise_trainer("prior", run, folder, precision=precision)
        trainer.resume()
        while trainer.step < rest:
            losses.append(float(trainer.train_step(source)))
        trainer.save()
    averages = [] if trainer.ema is None else trainer.ema.shadow_params
    torch.save({"weights": trainer.parameters, "averages": averages, "losses": losses}, out)


def fill_the_disk(folder: Path, run: StageRun, limit: int, out: Path) -> None:
    """A run whose files cannot grow beyond `limit` bytes after its first checkpoint."""
    import resource

    trainer, source = noise_trainer("prior", run, folder)
    trainer.train_step(source)
    trainer.save()
    trainer.train_step(source)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    message = "no error"
    try:
        trainer.save()
    except OSError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    out.write_text(message, encoding="utf-8")


# --- together -------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def sharding(accelerator: Accelerator) -> Accelerator:
    """With FSDP's plugin, as `accelerate launch` gives it on GPUs; on CPUs it has no switch."""
    state: Any = accelerator.state
    state.distributed_type = DistributedType.FSDP
    state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="no_wrap")
    return accelerator


def join_others(rank: int, processes: int, port: int) -> None:
    """What a launcher tells a process; its first `Accelerator` joins the others.

    The group is left to the process's end: `destroy_process_group` holds Python's lock while it
    waits for gloo's thread, which now and then needs that lock to drop a tensor.
    """
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"ACCELERATE_USE_CPU": "true"}


def take_part(
    name: str,
    run: StageRun,
    rank: int,
    processes: int,
    port: int,
    folder: Path,
    sharded: bool = False,
) -> None:
    """One of `processes` that train together; writes its gradients and weights.

    A run that has a checkpoint in `folder` goes on from it, and each run leaves one.
    """
    if processes > 1:
        join_others(rank, processes, port)
    share = replace(run, batch_size=run.batch_size // processes)
    run_folder = folder / (
        "run" if sharded else str(rank)
    )  # of shards the first process writes the whole
    trainer, source = noise_trainer(name, share, run_folder, sharded)
    assert trainer.accelerator.num_processes == processes
    trainer.total = 3
    trainer.resume()
    trainer.gradients(source)
    gradients = [whole(p.grad).clone() for p in trainer.parameters if p.grad is not None]
    trainer.optimizer.zero_grad()
    for _ in range(3):
        trainer.train_step(source)
    weights = [whole(p.detach()).clone() for p in trainer.parameters]
    shards = sum(isinstance(p, DTensor) for p in trainer.parameters)
    result = {"gradients": gradients, "weights": weights, "shards": shards}
    torch.save(result, folder / f"{processes}_{rank}.pt")
    trainer.save()


def train_with_a_slow_disk(
    run: StageRun, rank: int, processes: int, port: int, folder: Path, sharded: bool
) -> None:
    """One of several that train to the end; the first, which writes, takes a while for it.

    Every one has a clock of its own: those of the others are faster than that of the first.
    """
    minutes = itertools.count(step=1 + rank)
    clock = SimpleNamespace(monotonic=lambda: 60.0 * next(minutes))
    trainer_module.time = clock  # type: ignore[attr-defined]
    join_others(rank, processes, port)
    trainer, source = noise_trainer("prior", run, folder, sharded)
    save, steps = trainer.checkpoints.save, list[int]()

    def slow(state: dict[str, Any], step: int) -> Path:
        steps.append(step)
        time.sleep(0.3)
        return save(state, step)

    trainer.checkpoints.save = slow  # type: ignore[method-assign]
    trainer.run_all(source)
    weights = [whole(p.detach()).clone() for p in trainer.parameters]
    torch.save({"weights": weights, "steps": steps}, folder / f"result_{rank}.pt")


def see_other_folders(rank: int, processes: int, port: int, folder: Path) -> None:
    """One of several with folders of their own; writes what it is told."""
    join_others(rank, processes, port)
    message = "nothing"
    try:
        make_accelerator("no", folder / str(rank))
    except ValueError as error:
        message = str(error)
    (folder / f"message_{rank}").write_text(message, encoding="utf-8")


def fill_a_cache(
    config: TrainConfig, rank: int, processes: int, port: int, data: Path, folder: Path
) -> None:
    """One of several that start stage 2 of the recipe; writes what it decoded and what is there."""
    torch.set_num_threads(1)
    join_others(rank, processes, port)
    paths: list[str] = []

    def watched(path: Path) -> torch.Tensor:
        paths.append(path.name)
        return load_picture(path)

    fill_module.load_picture = watched
    run = RecipeRun(
        config, "inpainting", open_pictures(data), folder / "encoders", folder / "cache", folder
    )
    features = run.features()
    moments = features.pair_moments(*run.rows().unbind(1))
    result = {"decoded": paths, "pairs": moments, "names": list(run.pictures.names)}
    torch.save(result, folder / f"result_{rank}.pt")
