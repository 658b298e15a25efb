"""Hostile poses: what a workflow or a file brings is bounded before it costs anything, and errors
quote it on one short line."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pcdm_core.pose.editor import editor_tables, read_edited
from pcdm_core.pose.formats import PoseError, read_pose, read_pose_with_report
from pcdm_core.pose.formats.limits import LONGEST_TEXT, MOST_PEOPLE, brief
from pcdm_core.pose.keypoints import FARTHEST

MARKUP = "<img src=x onerror=alert(1)>\n\x1b[31m\u202e"
LONG = MARKUP + "x" * 100_000
BODY = [0.5, 0.5, 1.0] * 18


def people(*bodies: Any, **more: Any) -> dict[str, Any]:
    return {"people": [{"pose_keypoints_2d": body} for body in bodies], **more}


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def refusal(read: Callable[[], Any]) -> str:
    with pytest.raises(PoseError) as refused:
        read()
    return str(refused.value)


@pytest.mark.parametrize("read", [read_pose, lambda text: read_edited(text, 512, 512)])
def test_a_text_is_measured_before_it_is_read(read: Callable[[str], Any]) -> None:
    text = json.dumps(people(BODY))
    padded = text + " " * (LONGEST_TEXT - len(text))
    assert len(read(padded)) == 1
    assert str(LONGEST_TEXT) in refusal(lambda: read(padded + " "))
    assert "characters" in refusal(lambda: read("[" * (LONGEST_TEXT + 1)))


def test_a_crowd_is_refused_by_its_number() -> None:
    crowd = {"people": [None] * (MOST_PEOPLE + 1)}
    assert f"{MOST_PEOPLE + 1} people" in refusal(lambda: read_pose(crowd))
    crowd["people"][:2] = [{"pose_keypoints_2d": BODY}]
    assert len(read_pose(crowd)) == 1


@pytest.mark.slow
def test_a_line_that_nearly_is_a_tables_is_told_apart_at_once() -> None:
    """As a regular expression that goes back a step for each blank, this took hours."""
    code = "import sys; from pcdm_core.pose.formats.text import looks_like_table as looks\n"
    code += "assert not looks('a:[]:[' + ' ' * 900_000 + ']x')\n"
    code += "assert looks('a.jpg: [1]: [2' + ' ' * 900_000 + ']  ')\n"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [500, 960, 100_000])
def test_lists_in_lists_end_in_a_sentence(levels: int) -> None:
    assert "\n" not in refusal(lambda: read_pose(people(deep(levels))))
    assert "\n" not in refusal(lambda: read_pose(deep(levels)))
    text = '{"people": [{"pose_keypoints_2d": ' + "[" * levels + "]" * levels + "}]}"
    assert "\n" not in refusal(lambda: read_pose(text))
    assert "\n" not in refusal(lambda: read_edited(text, 512, 512))


def test_a_number_without_end_is_said_without_pythons_settings() -> None:
    text = json.dumps(people([1, 2, 3] * 18)).replace("1", "9" * 5000)
    for read in (read_pose, lambda text: read_edited(text, 512, 512)):
        assert "set_int_max_str_digits" not in refusal(lambda read=read: read(text))


HOSTILE: dict[str, Any] = {
    "text for numbers": people([LONG] * 54),
    "objects for numbers": people([{"a": LONG}] * 54),
    "an object for the body": people({LONG: LONG}),
    "a text for the body": people(LONG),
    "a text for a person": {"people": [LONG]},
    "a text for people": {"people": LONG},
    "names of joints": {"people": [{LONG: 1}]},
    "another document": {LONG: LONG},
    "an object for the canvas": people(BODY, canvas_height={"a": LONG}, canvas_width=LONG),
    "a confidence": {"people": [{"keypoints": BODY, "scores": LONG}]},
    "a picture's name": {
        "annotations": [{"image_id": 1, "keypoints": [LONG] * 51}],
        "images": [{"id": 1, "file_name": LONG}],
    },
    "an object for a picture's name": {
        "annotations": [{"image_id": LONG, "keypoints": [LONG] * 51}, {"keypoints": [LONG] * 54}],
        "images": [{"id": LONG, "file_name": {"a": deep(900)}}],
    },
    "pictures of people": [
        {"image_id": LONG, "keypoints": [LONG] * 51},
        {"image_id": MARKUP, "keypoints": [LONG] * 51},
    ],
    "a row of a table": f"{LONG.splitlines()[0]}: [1]: [2]\n",
    "words for numbers": "0.5 0.5\n" * 17 + LONG.splitlines()[0],
    "a list of everything": [LONG, {LONG: LONG}, deep(900), 10**5000],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_error_quotes_a_hostile_value_on_one_short_line(name: str) -> None:
    document = HOSTILE[name]
    message = refusal(lambda: read_pose(document))
    assert len(message) < 400
    assert message.isprintable()


@pytest.mark.parametrize("word", ["frame", "units", "order", "person"])
def test_so_does_one_about_what_was_asked_for(word: str) -> None:
    message = refusal(lambda: read_pose(people(BODY), **{word: LONG}))
    assert len(message) < 400
    assert message.isprintable()


def test_a_report_repeats_nothing_that_a_pose_says() -> None:
    """Some hosts show reports as markup."""
    said = {"name": MARKUP, "version": MARKUP, "image_id": MARKUP, "file_name": MARKUP}
    coco = {
        "annotations": [{"image_id": MARKUP, "keypoints": [0.5, 0.5, 2] * 17}],
        "images": [{"id": MARKUP, **said}],
    }
    person = {"pose_keypoints_2d": BODY, MARKUP: MARKUP}
    for document in (coco, {"people": [person, person], **said}, [{**person, **said}]):
        report = str(read_pose_with_report(document).report)
        assert "18 joints" in report or "Missing" in report
        assert not set("<>&\x1b") & set(report)


def test_what_is_quoted_is_short_and_printable() -> None:
    for value in (LONG, [LONG], {LONG: LONG}, deep(5000), 10**5000, [10**5000], object()):
        assert len(brief(value)) <= 40
        assert brief(value).isprintable()
    assert brief("0.5 0.5") == "'0.5 0.5'"


def test_the_script_has_the_readers_bounds() -> None:
    tables = editor_tables()
    assert (tables["longest_text"], tables["farthest"]) == (LONGEST_TEXT, FARTHEST)
