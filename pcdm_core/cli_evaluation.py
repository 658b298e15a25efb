"""`pcdm evaluate` and `pcdm run-benchmark`, which the package for ComfyUI is made without."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import PCDMsPipeline

Options = argparse.Namespace


def add_evaluation_commands(
    commands: Any,
    *,
    size: Callable[[str], tuple[int, int]],
    add_sampling_options: Callable[[argparse.ArgumentParser], None],
    pick_device: Callable[[str | None], str],
    load_pipeline: Callable[[Options], PCDMsPipeline],
) -> None:
    """Add both to the sub-commands; where `evaluation` is left out they say where it is.

    Args:
        size: reads HEIGHTxWIDTH.
        pick_device: turns `--device` into a device that exists.
        load_pipeline: makes the pipeline that the options name.
    """
    if find_spec(f"{__package__}.evaluation") is None:
        for name in ("evaluate", "run-benchmark"):
            _add_absent(commands, name)
        return
    from .evaluation import commands as evaluation

    evaluate = evaluation.add_evaluate(commands, size)
    evaluate.set_defaults(
        command=lambda options: evaluation.evaluate(options, pick_device(options.device), print)
    )
    benchmark = evaluation.add_run_benchmark(commands)
    add_sampling_options(benchmark)
    benchmark.set_defaults(
        command=lambda options: evaluation.run_benchmark(options, load_pipeline, print)
    )


def _add_absent(commands: Any, name: str) -> None:
    # Nothing starts an option here, so that any arguments get the sentence and no usage error.
    parser = commands.add_parser(
        name, help="not part of the package for ComfyUI", prefix_chars="\0", add_help=False
    )
    parser.add_argument("arguments", nargs="*")
    parser.set_defaults(command=_refuse)


def _refuse(options: Options) -> None:
    raise ValueError(
        "evaluation is not part of the package for ComfyUI; clone the repository that README.md "
        "names, and call the command there."
    )
