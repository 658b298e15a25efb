"""The command `pcdm`: generate pictures, read poses, convert and inspect weights."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .annotate import add_annotate_options, annotate
from .files import check_name, distinct_names, print_any_name
from .offload import add_memory_options, pick_device
from .picture_files import add_picture_options
from .pose_command import add_person_option, add_pose_options, add_reading_options, convert_pose
from .published.commands import add_dtype_option, add_models_command, dtype_of
from .quoting import one_line
from .ranges import COUNT, GUIDANCE_SCALE, PICTURES, SEED, STEPS, parse_size
from .speed import STUDENT, add_fast_options, find_fast

if TYPE_CHECKING:  # the libraries take seconds to import, and --help needs none of them
    from .pipeline import PCDMsPipeline
    from .run_stages import Progress

MOVED = {"evaluate": "measure", "run-benchmark": "run-benchmark"}  # out of this package
COARSE = "_coarse.png"  # ends the name of stage 2's picture


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one plain sentence on standard error."""
    options = build_parser().parse_args(argv)
    return run(lambda: options.command(options), "pcdm")


def run(command: Callable[[], None], program: str) -> int:
    """Call a command and turn what a user can mend into a sentence and status 2."""
    from .checkpoints import CheckpointError

    print_any_name()
    status = 2
    try:
        command()
        return 0
    except (CheckpointError, ValueError, FloatingPointError, OSError, ImportError) as error:
        sentence = str(error)
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        sentence = (
            "the device ran out of memory. Three switches help: --keep one, --dtype bfloat16 (or "
            "float16), --tiled. So do fewer poses at once (--chunk 1), and --device cpu."
        )
    except KeyboardInterrupt:
        status, sentence = 130, "stopped."
    print(f"{program}: {sentence}", file=sys.stderr)
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands."""
    parser = argparse.ArgumentParser(prog="pcdm", description="Pose-guided person image synthesis.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    generate = commands.add_parser("generate", help="draw a person in other poses")
    generate.add_argument("--image", type=Path, required=True, help="the source picture")
    generate.add_argument(
        "--source-pose", type=Path, required=True, help="its key points; read as --pose"
    )
    generate.add_argument(
        "--pose",
        type=Path,
        required=True,
        nargs="+",
        help="one or more targets: key points (JSON, csv, txt), skeleton pictures, photographs, or "
        "folders of a clip's frames",
    )
    generate.add_argument(
        "--pose-size",
        type=parse_size,
        help="HEIGHTxWIDTH of the pictures that key points belong to, where a file does not say it",
    )
    generate.add_argument(
        "--output",
        type=Path,
        default=Path(),
        help="folder for the pictures, or for one pose a .png file (default: this folder)",
    )
    generate.add_argument("--no-refining", action="store_true", help="stop after stage 2")
    generate.add_argument("--save-coarse", action="store_true", help="keep stage 2's pictures too")
    generate.add_argument(
        "--size",
        choices=("source", "model"),
        default="source",
        help="size of the results: the source picture's (default) or the one the models work at",
    )
    generate.add_argument(
        "--pictures",
        type=PICTURES.parse,
        default=1,
        help="of each pose, with other noise (default 1)",
    )
    generate.add_argument(
        "--no-savings",
        action="store_true",
        help=argparse.SUPPRESS,  # did something in versions before 0.1.0; accepted, does nothing
    )
    generate.add_argument("--chunk", type=COUNT.parse, default=16, help="made at once (default 16)")
    add_sampling_options(generate)
    generate.set_defaults(command=generate_pictures)

    convert = commands.add_parser("convert", help="published weights (.pt) to safetensors")
    convert.add_argument("file", type=Path, metavar="input")
    convert.add_argument("output", type=Path)
    add_dtype_option(convert)
    convert.set_defaults(command=describe_weights)

    pose = commands.add_parser("pose", help="read a pose from anything; say and convert it")
    add_pose_options(pose)
    pose.set_defaults(command=describe_pose)

    poses = commands.add_parser("annotate", help="the poses of all pictures in a folder")
    add_annotate_options(poses)
    poses.set_defaults(command=annotate_folder)

    add_reading_options(generate, of_what="of --pose: ")
    add_person_option(poses)
    add_picture_options(generate, pose, poses)

    for name, successor in MOVED.items():
        # Nothing starts an option here, so that any arguments get the sentence and no usage error.
        moved = commands.add_parser(
            name, help=f"is now python run.py {successor}", prefix_chars="\0", add_help=False
        )
        moved.add_argument("arguments", nargs="*")
        moved.set_defaults(command=_refuse, name=name, successor=successor)

    add_models_command(
        commands.add_parser("models", help="the published weights: get, place, verify")
    )

    inspect = commands.add_parser("inspect", help="say what a weights file is")
    inspect.add_argument("file", type=Path)
    inspect.set_defaults(command=describe_weights, output=None)
    return parser


def _refuse(options: argparse.Namespace) -> None:
    raise ValueError(
        f"`{options.name}` is not a command of pcdm: it is `python run.py {options.successor}` in "
        f"the project's repository, which README.md names."
    )


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    """Options that `generate` and the demo share."""
    parser.add_argument("--seed", type=SEED.parse, default=0, help="of the noise (default 0)")
    parser.add_argument(
        "--steps", type=STEPS.parse, help="of every stage (default: the preset's, 20 or 50)"
    )
    parser.add_argument(
        "--guidance-scale",
        type=GUIDANCE_SCALE.parse,
        help="of stages 2 and 3 (default: the preset's; 1 is off)",
    )
    add_fast_options(parser)
    parser.add_argument(
        "--weights", type=Path, help="folder of weights (default: the ones that ship)"
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "float16", "bfloat16"),
        default="auto",
        help="of the weights (default: float32 on a CPU and for small weights, else a half)",
    )
    add_memory_options(parser)
    parser.add_argument("--compile", action="store_true", help="the loops; slow at first")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (default: a GPU if there is one)")


def generate_pictures(options: argparse.Namespace) -> None:
    """`pcdm generate`: everything is read and checked before anything is written."""
    from .images import load_picture, save_picture
    from .inputs import repeat_rows
    from .pose.source_and_targets import read_source_and_targets

    if options.save_coarse and not options.no_refining:
        find_fast(options.fast).check_coarse()
    source = load_picture(options.image, max_pixels=options.max_pixels)
    poses = read_source_and_targets(
        options.source_pose,
        options.pose,
        *source.shape[-2:],
        pose_size=options.pose_size,
        max_pixels=options.max_pixels,
        person=options.person,
        order=options.order,
        frame=options.frame,
        gaps=options.gaps,
        smooth=options.smooth,
    )
    print_notes(poses.notes)
    rows, noises = repeat_rows(len(poses.names), options.pictures)
    names = [
        poses.names[row] + (f"_picture{noise + 1}" if options.pictures > 1 else "")
        for row, noise in zip(rows, noises, strict=True)
    ]
    outputs = output_files(options.output, options.image, names)
    with progress_bar() as bar:
        pipeline = load_pipeline(options, bar)
        preset = pipeline.preset
        steps = options.steps or preset.steps
        if options.weights is not None and options.fast is None:
            sampler = preset.inpainting.schedule.sampler
            placement = f"weights in {pipeline.placement}"
            bar.print(f"Preset {preset.name}: {steps} steps a stage, {sampler}; {placement}.")
        result = pipeline(
            source,
            poses.source,
            poses.targets.select(rows),
            seed=options.seed,
            steps=options.steps,
            guidance_scale=options.guidance_scale,
            batch_index=noises,
            with_refining=not options.no_refining,
            restore=options.size == "source",
            callback=bar,
            chunk=options.chunk,
            fast=options.fast,
        )
    print_notes(result.notes)
    for row, path in enumerate(outputs):
        print(save_picture(result.image[row], path))
        if result.coarse is not None and options.save_coarse:
            coarse = path.with_name(path.stem + COARSE)
            print(save_picture(result.coarse[row], coarse))


def print_notes(notes: Iterable[str]) -> None:
    """Sentences that a user should read, on standard error."""
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)


def describe_pose(options: argparse.Namespace) -> None:
    """`pcdm pose`."""
    for line in convert_pose(options):
        print(line)


def annotate_folder(options: argparse.Namespace) -> None:
    """`pcdm annotate`."""
    with progress_bar() as bar:
        lines = annotate(options, bar)
    print("\n".join(lines))


def describe_weights(options: argparse.Namespace) -> None:
    """`pcdm convert` and `pcdm inspect`: what a weights file is, a line a fact."""
    from .checkpoints import convert, inspect
    from .config import config_to_dict
    from .published.verify import check_part

    values = check_part(options.file)
    if options.output:
        summary = convert(options.file, options.output, dtype=dtype_of(options))
    else:
        summary = inspect(options.file)
    config = "unknown" if summary.config is None else json.dumps(config_to_dict(summary.config))
    facts = {
        "file": f"{summary.path} ({summary.container})",
        "component": summary.component,
        "layout": summary.layout,
        "preset": summary.preset or "none of this pack's",
        "parameters": f"{summary.parameters:,} ({', '.join(summary.dtypes)})",
        **{one_line(k): one_line(v, 400) for k, v in summary.metadata.items() if k != "config"},
        "configuration": config,
        **({"values": values.words} if values else {}),
        **({"note": summary.note} if summary.note else {}),
    }
    for name, fact in facts.items():
        print(f"{name}: {fact}")


def load_pipeline(options: argparse.Namespace, progress: Progress | None = None) -> PCDMsPipeline:
    """The pipeline of `--weights` on `--device` in `--dtype`; `progress` as in `from_folder`."""
    import torch

    from .pipeline import PCDMsPipeline

    return PCDMsPipeline.from_folder(
        options.weights,
        device=pick_device(options.device),
        dtype=None if options.dtype == "auto" else getattr(torch, options.dtype),
        with_refining=not getattr(options, "no_refining", False),
        student=options.student or options.fast == STUDENT,
        keep=options.keep,
        tiled=options.tiled,
        compile=options.compile,
        progress=progress,
    )


def output_files(output: Path, image: Path, poses: Sequence[str]) -> list[Path]:
    """One PNG path a picture: `<image>_to_<pose>.png` in a folder, or the file that was named.

    Raises:
        ValueError: the output cannot be what it would have to be.
    """
    if output.suffix.lower() == ".png":
        if len(poses) > 1:
            raise ValueError(
                f"--output {output} is one file for {len(poses)} pictures: give a folder."
            )
        if output.is_dir():
            raise ValueError(f"--output {output} is a folder; name a file or another folder.")
        check_name(output)
        return [output]
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file. Give a folder or a name ending in .png.")
    # Files of one name from two folders must not overwrite each other.
    names = distinct_names((f"{image.stem}_to_{pose}" for pose in poses), (".png", COARSE))
    return [output / f"{name}.png" for name in names]


class ProgressBar:
    """One bar for a whole run: what is done just now, and of the work that is known how much.

    The pipeline takes it as `progress` and as `callback`.
    """

    def __init__(self) -> None:
        self.bar: Any = None
        self.work, self.done = "", 0

    def __call__(self, work: str, done: int, steps: int) -> None:
        """See `Progress`."""
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=0, unit="step", file=sys.stderr)
        if work != self.work or done <= self.done:
            self.bar.total += steps
            self.work, self.done = work, 0
        self.bar.set_description(work if steps == 1 else f"{work} {done}/{steps}", refresh=False)
        self.bar.update(done - self.done)
        self.done = done
        if done in (0, steps):
            self.bar.refresh()

    def print(self, line: str) -> None:
        """A line above the bar."""
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)


@contextmanager
def progress_bar() -> Generator[ProgressBar]:
    """A bar on standard error, closed with the block."""
    bar = ProgressBar()
    try:
        yield bar
    finally:
        if bar.bar is not None:
            bar.bar.close()


if __name__ == "__main__":
    sys.exit(main())
