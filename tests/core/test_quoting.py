"""Values and names of unknown origin: in sentences, and as places of files."""

import pytest

from pcdm_core.file_names import is_plain, stays_inside
from pcdm_core.quoting import one_line, short


@pytest.mark.parametrize(
    "value",
    ["a\nb", "a" * 10_000, "\u202egnp.exe", "\0", 7, None, {"a": [1] * 10_000}, [["x" * 999]] * 9],
)
def test_any_value_is_shown_short_and_on_one_line(value: object) -> None:
    assert short(value).isprintable()
    assert len(short(value)) <= 90
    assert one_line(value).isprintable()
    assert len(one_line("a\nb" * 1000)) <= 203


def test_a_plain_text_is_shown_in_quotes() -> None:
    assert short("mini (shipped)") == "'mini (shipped)'"
    assert one_line(ValueError("no  such\nfile")) == "no such file"


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "./a.png", "a..b/c..png", "WOMEN/02_1_a.jpg"])
def test_names_below_a_folder_stay_there(name: str) -> None:
    assert stays_inside(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "\\a",
        "..",
        "a/../../b",
        "a\\..\\b",
        "C:a",
        "C:\\a",
        "a//b",
        "img/C:/a",
        "a\0",
        "a\nb",
    ],
)
def test_names_that_leave_a_folder_are_known_on_every_system(name: str) -> None:
    assert not stays_inside(name)
    assert not is_plain(name)


@pytest.mark.parametrize("name", ["a/b", "a\\b", ".", "a:stream", "x" * 256, "\u20ac" * 90])
def test_a_plain_name_is_that_of_a_file_in_the_folder_itself(name: str) -> None:
    assert not is_plain(name)
    assert is_plain("model-00001-of-00002.safetensors")
