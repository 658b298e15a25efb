"""`pcdm models`: list, get, place and verify the published weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from .table import (
    PRESET_TITLES,
    ModelFile,
    PresetName,
    files_of,
    in_words,
    size_in_words,
)

if TYPE_CHECKING:
    import torch

    from .search import Weights

PRESET_NAMES: tuple[PresetName, ...] = get_args(PresetName)


def add_models_command(parser: argparse.ArgumentParser) -> None:
    """The sub-commands of `pcdm models`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    table = actions.add_parser("list", help="what the presets need, what is there and what is not")
    _add_preset(table, "this one alone")
    _add_places(table)
    table.set_defaults(command=list_files)

    get = actions.add_parser("get", help="download what a preset needs")
    _add_preset(get, "which; needed")
    get.add_argument(
        "--to", type=Path, default=Path("downloads"), help="folder (default: %(default)s)"
    )
    get.add_argument(
        "--offline", action="store_true", help="download nothing; say what is there and what is not"
    )
    get.set_defaults(command=get_files)

    place = actions.add_parser("place", help="put downloads where Python or ComfyUI finds them")
    place.add_argument("downloads", type=Path, help="folder of files, under any names")
    _add_preset(place, "default: the one whose models are there")
    _add_places(place)
    place.add_argument("--copy", action="store_true", help="copy where a link would do")
    place.add_argument("--replace", action="store_true", help="write over other files of the names")
    add_dtype_option(place)
    place.set_defaults(command=place_files)

    verify = actions.add_parser("verify", help="check sizes, headers and hashes")
    verify.add_argument("paths", type=Path, nargs="+", help="files, or folders of them")
    verify.set_defaults(command=verify_files)


def _add_preset(parser: argparse.ArgumentParser, words: str) -> None:
    parser.add_argument("--preset", choices=PRESET_NAMES, help=words)


def add_dtype_option(parser: argparse.ArgumentParser) -> None:
    """`--keep-dtype`, of commands that write weights."""
    parser.add_argument(
        "--keep-dtype",
        action="store_true",
        help="write the weights in the type that they have (default: float16)",
    )


def dtype_of(options: argparse.Namespace) -> torch.dtype | None:
    """What `--keep-dtype` means: None is the file's own type."""
    import torch

    return None if options.keep_dtype else torch.float16


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, help="folder of weights, for Python")
    parser.add_argument("--comfyui", type=Path, help="ComfyUI's folder, or its folder models")


def list_files(options: argparse.Namespace) -> None:
    """`pcdm models list`."""
    from .search import comfyui_folders, search

    weights = search([options.weights]) if options.weights else None
    comfyui = search(comfyui_folders(options.comfyui)) if options.comfyui else None
    for preset in PRESET_NAMES if options.preset is None else (options.preset,):
        files = files_of(preset)
        total = in_words(sum(file.source.size for file in files))
        print(f"{preset} ({PRESET_TITLES[preset]}): {len(files)} files, about {total}")
        for file in files:
            size = size_in_words(file.source)
            print(f"  {file.title}: {file.source.name}, {size}, licence: {file.source.licence}")
            print(f"    {file.source.address}")
            if weights is not None:
                path = options.weights / file.python
                print(f"    in {options.weights}: {_state(weights, file, preset, path)}")
            if comfyui is not None:
                print(f"    in {options.comfyui}: {_state(comfyui, file, preset, None)}")
    for entry in (*(weights or ()), *(comfyui or ())):
        if entry.fault:
            print(f"not usable: {entry.fault}")


def _state(weights: list[Weights], file: ModelFile, preset: PresetName, path: Path | None) -> str:
    """Whether a part is there, and for Python under the name that is looked for."""
    from .search import best

    fitting = [entry for entry in weights if entry.fills(file, preset)]
    entry = best((entry for entry in fitting if path is None or entry.path == path), file, preset)
    if entry is not None:
        return f"there ({entry.path})"
    if fitting:
        return f"under another name ({fitting[0].path}): `pcdm models place` puts it in place"
    return "missing"


def place_files(options: argparse.Namespace) -> None:
    """`pcdm models place`."""
    from .place import place, target_of

    target = target_of(options.weights, options.comfyui)
    preset = place(
        options.downloads,
        target,
        preset=options.preset,
        copy=options.copy,
        replace=options.replace,
        say=_say,
        dtype=dtype_of(options),
    )
    destination = "ComfyUI: press R there" if target.comfyui else f"--weights {target.root}"
    print(f"All files of {preset} are in place for {destination}.")


def verify_files(options: argparse.Namespace) -> None:
    """`pcdm models verify`.

    Raises:
        ValueError: a file is damaged or cannot be used, or there is none.
    """
    from .search import weights_paths
    from .verify import verify_file

    paths = [
        file
        for path in options.paths
        for file in (weights_paths(path) if path.is_dir() else (path,))
    ]
    if not paths:
        raise ValueError(f"{', '.join(map(str, options.paths))}: no weights files.")
    faults = 0
    for path in paths:
        check = verify_file(path)
        _say(f"{'ok' if check.good else 'BAD'}  {path}: {check.words}")
        faults += not check.good
    if faults:
        raise ValueError(f"{faults} of {len(paths)} files cannot be used as they are.")


def get_files(options: argparse.Namespace) -> None:
    """`pcdm models get`, or where that part is left out, the addresses.

    Raises:
        ValueError: something is missing.
    """
    if options.preset is None:
        raise ValueError("--preset published (three stages) or --preset simplified (one stage)?")
    try:
        from .download import get_all
    except ImportError:
        _refuse(files_of(options.preset), options.to, "this copy of the pack downloads nothing")
    else:
        get_all(files_of(options.preset), options.to, offline=options.offline, say=_say)
        _say(f"Next: `pcdm models place {options.to} --weights weights` (or --comfyui FOLDER).")


def _refuse(files: list[ModelFile], folder: Path, why: str) -> None:
    lines = [f"{file.source.name}: {file.source.address}" for file in files]
    raise ValueError(
        f"{why}. Open these in a browser, save the files in {folder}, and then run `pcdm models "
        f"place {folder}`:\n  " + "\n  ".join(lines)
    )


def _say(line: str) -> None:
    print(line, flush=True)
