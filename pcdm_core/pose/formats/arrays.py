"""Arrays in `.npy` and `.npz` files as documents, and what other binary files are.

A file of Python objects is never loaded: unpickling somebody else's file can run programs.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .frame import Context
from .joint_maps import BODY_COUNTS
from .limits import LARGEST_FILE
from .no_pose import refuse_document
from .points import with_x_first

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_OTHERS = {
    b"\x89HDF": "an HDF5 file", b"MATLAB": "a MATLAB file", b"PAR1": "a Parquet file",
    b"\x1f\x8b": "an archive (gzip: unpack it)", b"7z\xbc\xaf": "an archive", b"Rar!": "an archive",
    b"SQLite": "a database", b"bplist": "a property list", b"%PDF": "a PDF",
}  # fmt: skip
_MOST_NUMBERS = 2**24  # 300,000 frames of 18 joints
_MANY_PEOPLE = 10  # in each of two or three frames: the axes of ST-GCN's arrays

_POINT_KEYS = ("keypoints", "kpts", "keypoints_2d", "poses", "pose", "joints", "landmarks")
_PICKLED = (
    "Python objects (a pickle), which are never loaded: unpickling somebody else's file can run "
    "programs (allow_pickle stays off). Where you trust it, make JSON of it in Python: "
    "json.dumps(DATA, default=lambda array: array.tolist())"
)


def is_binary(content: bytes) -> bool:
    """Whether a file is no text, by how it begins."""
    return content.startswith((_NPY, _ZIP, *_PICKLES, *_OTHERS))


def document_of_bytes(content: bytes, context: Context) -> Any:
    """The arrays of a file as a document.

    Raises:
        PoseError: it is another kind of file, or holds no pose or objects.
    """
    if content.startswith(_NPY):
        context.findings.format("a NumPy array")
        return _document({"keypoints": _array(content, context)}, context)
    if content.startswith(_ZIP):
        return _document(_arrays(content, context), context)
    if content.startswith(_PICKLES):
        raise context.error(_PICKLED)
    what = next(name for begin, name in _OTHERS.items() if content.startswith(begin))
    raise context.error(f"{what} and no pose; export the key points as JSON")


def _arrays(content: bytes, context: Context) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.endswith(".npy")]
            if not entries:
                pickled = any(name.endswith(".pkl") for name in archive.namelist())
                what = _PICKLED if pickled else "an archive and no pose; unpack it"
                raise context.error(what)
            if sum(entry.file_size for entry in entries) > LARGEST_FILE:
                raise context.error(f"its arrays have more than {LARGEST_FILE} bytes")
            context.findings.format("NumPy arrays")
            return {entry.filename[:-4]: _array(archive.read(entry), context) for entry in entries}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise context.error("a damaged archive; save the arrays again") from error


def _array(content: bytes, context: Context) -> np.ndarray:
    file = io.BytesIO(content)
    try:
        major, _ = npy.read_magic(file)
        header = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
        shape, is_fortran, dtype = header(file)
        if not dtype.hasobject:
            array = np.frombuffer(content, dtype, math.prod(shape), file.tell())
            return array.reshape(shape, order="F" if is_fortran else "C")
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError) as error:
        raise context.error("a damaged NumPy array; save it again") from error
    raise context.error(_PICKLED)


def _document(arrays: Mapping[str, np.ndarray], context: Context) -> Any:
    """Frames of people; the first axis counts frames, a second one people."""
    numeric = {name: array for name, array in arrays.items() if array.dtype.kind in "fiu"}
    fitting = {name: array for name, array in numeric.items() if _is_pose(array)}
    name = next((key for key in _POINT_KEYS if key in fitting), next(iter(fitting), None))
    if name is None:
        refuse_document(arrays, context)
        shapes = ", ".join(str(list(array.shape)) for array in list(arrays.values())[:4])
        raise context.error(
            f"no pose among its arrays ({shapes}); expected [frames, points, 2 or 3] of a body's "
            f"{' or '.join(map(str, BODY_COUNTS))} points"
        )
    points = _with_axes(fitting[name])
    if fitting[name].ndim < 4 and len(points) > 1:
        context.findings.guess(
            f"the {len(points)} poses are frames, and not people of one picture."
        )
    points = with_x_first(points, context)
    if points.size > _MOST_NUMBERS:
        raise context.error(f"{points.size} numbers, and at most {_MOST_NUMBERS} are read")
    shared: dict[str, Any] = {
        key: arrays[key].item() for key in ("height", "width") if numeric.get(key, points).size == 1
    }
    names = next((a for a in arrays.values() if a.dtype.kind == "U" and a.ndim == 1), None)
    if names is not None:
        shared["keypoint_names"] = names.tolist()
    beside = [array for key, array in numeric.items() if "score" in key or "conf" in key]
    scores = next((array for array in beside if array.size * points.shape[-1] == points.size), None)
    people = [[{"keypoints": person} for person in frame] for frame in points.tolist()]
    if scores is not None:
        for frame, rows in zip(people, scores.reshape(points.shape[:-1]).tolist(), strict=True):
            for person, row in zip(frame, rows, strict=True):
                person["keypoint_scores"] = row
    return [{**shared, "people": frame} for frame in people]


def _is_pose(array: np.ndarray) -> bool:
    """Whether an array's last two axes are a body's points and their numbers, or its last both."""
    shape = array.shape
    if 2 <= array.ndim <= 4 and shape[-1] in (2, 3, 4) and shape[-2] in BODY_COUNTS:
        return array.size > 0
    if array.ndim == 4 and shape[0] in (2, 3) and shape[2] in BODY_COUNTS:
        return array.size > 0
    flat = {count * step for count in BODY_COUNTS for step in (2, 3)} | {33 * 4}
    return 1 <= array.ndim <= 2 and shape[-1] in flat and array.size > 0


def _with_axes(array: np.ndarray) -> np.ndarray:
    """`[frames, people, points, numbers]`, or `[frames, people, numbers]` of flat rows."""
    shape = array.shape
    axes_of_st_gcn = shape[0] in (2, 3) and (shape[-1] < 2 or shape[1] > _MANY_PEOPLE)
    if array.ndim == 4 and axes_of_st_gcn:  # numbers, frames, points, people
        return array.transpose(1, 3, 2, 0)
    if array.ndim == 4:
        return array
    if array.ndim == 3:
        return array[:, None]
    nested = array.ndim == 2 and shape[-1] in (2, 3, 4)
    return array[None, None] if nested else np.atleast_2d(array)[:, None]
