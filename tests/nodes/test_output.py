"""Several pictures of one pose, sizes, the body's mask, and what users are told."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pcdm_core.inputs import repeat_rows
from pcdm_core.pipeline import PCDMsPipeline
from tests.core.tiny_pipeline import poses
from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, embedding, image, inpainting_inputs, make_graph

PICTURE = 2 / 255


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


@pytest.fixture(scope="module")
def loaded(graph: Graph) -> dict[str, Any]:
    with torch.inference_mode():
        return graph.load()


def inputs(graph: Graph, loaded: dict[str, Any], target: Any, pictures: int = 1) -> dict[str, Any]:
    values = inpainting_inputs(graph, loaded, target)
    if pictures > 1:
        values["target_embedding"] = embedding(graph, loaded, target, pictures=pictures)
    return values


def sampled(graph: Graph, sockets: dict[str, Any], **settings: Any) -> tuple[Any, ...]:
    values = {**SETTINGS, "restore_size": False, **settings}
    return graph.run("PCDMInpaintingSampler", **sockets, **values)


def refined(
    graph: Graph, loaded: dict[str, Any], coarse: Tensor, **settings: Any
) -> tuple[Any, ...]:
    values = {**SETTINGS, "restore_size": False, "source": image(), **settings}
    return graph.run(
        "PCDMRefiningSampler",
        model=loaded["refining"],
        encoders=loaded["encoders"],
        coarse=coarse,
        **values,
    )


@torch.inference_mode()
def test_several_pictures_of_each_pose_are_those_of_the_python_pipeline(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    sockets = inputs(graph, loaded, graph.pose(2, first=5), pictures=2)
    coarse, latent, _, mask = sampled(graph, sockets, pictures=2)
    fine, _, _ = refined(graph, loaded, coarse, pictures=2)
    rows, noises = repeat_rows(2, 2)
    assert (rows, noises) == ([0, 0, 1, 1], [0, 1, 0, 1])
    assert latent["batch_index"] == noises
    expected = PCDMsPipeline.from_folder(graph.folder)(
        image().movedim(-1, 1) * 2 - 1,
        poses(1),
        poses(2, 5).select(rows),
        seed=SETTINGS["seed"],
        steps=SETTINGS["steps"],
        guidance_scale=SETTINGS["guidance_scale"],
        batch_index=noises,
    )
    for output, reference in ((coarse, expected.coarse), (fine, expected.image)):
        assert float((output.movedim(-1, 1) - (reference + 1) / 2).abs().max()) <= PICTURE
    torch.testing.assert_close(mask, expected.mask[:, 0])
    once = sampled(graph, inputs(graph, loaded, graph.pose(2, first=5)))[0]
    torch.testing.assert_close(coarse[::2], once, rtol=0, atol=PICTURE)
    assert not torch.allclose(coarse[0], coarse[1], atol=10 * PICTURE)


@torch.inference_mode()
def test_the_stock_samplers_get_the_same_noises(graph: Graph, loaded: dict[str, Any]) -> None:
    sockets = inputs(graph, loaded, graph.pose(1, first=5), pictures=3)
    _, _, latent = graph.run("PCDMInpaintingConditioning", **sockets, pictures=3)
    assert latent["samples"].shape[0] == 3
    assert latent["batch_index"] == [0, 1, 2]
    common = {"encoders": loaded["encoders"], "source": image(), "pictures": 3}
    coarse = image().expand(6, -1, -1, -1)
    _, _, latent = graph.run(
        "PCDMRefiningConditioning", model=loaded["refining"], coarse=coarse, **common
    )
    assert latent["batch_index"] == [0, 1, 2, 0, 1, 2]


@torch.inference_mode()
def test_stages_with_other_numbers_of_pictures_are_told_so(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    target = graph.pose(1, first=5)
    with pytest.raises(ValueError, match=r"made 1 pictures of each pose.* draw 3"):
        sampled(graph, inputs(graph, loaded, target), pictures=3)
    coarse = image().expand(4, -1, -1, -1)
    with pytest.raises(ValueError, match="4 coarse pictures, which are not 3 of each pose"):
        refined(graph, loaded, coarse, pictures=3)
    with pytest.raises(ValueError, match="3 target poses for 4 coarse pictures"):
        refined(graph, loaded, coarse, target_pose=graph.pose(3))
    with pytest.raises(ValueError, match="3 source pictures for 4 coarse pictures"):
        refined(graph, loaded, coarse, source=image().expand(3, -1, -1, -1))


@torch.inference_mode()
def test_the_result_has_the_size_asked_for_and_its_mask_with_it(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    target = graph.pose(2, first=5)
    sockets = inputs(graph, loaded, target)
    coarse, _, _, mask = sampled(graph, sockets, height=128, width=96)
    assert coarse.shape == (2, 128, 96, 3)
    body = graph.host.pack("pcdm_core.pose.body_mask").body_mask
    torch.testing.assert_close(mask, body(target, 128, 96)[:, 0])
    plain, _, _, whole = sampled(graph, sockets)
    assert plain.shape == (2, 64, 48, 3)
    small = {"source": image(3, 75, 101), "target_pose": target}
    for settings, size in (
        ({}, (64, 48)),
        ({"height": 32, "width": 24}, (32, 24)),
        ({"restore_size": True, "width": 32, "height": 24}, (75, 101)),
    ):
        picture, latent, area = refined(graph, loaded, plain, **small, **settings)
        assert picture.shape == (2, *size, 3)
        assert area.shape == (2, *size)
        assert latent["samples"].shape[-2:] == (16, 12)
        assert 0.02 < float(area.mean()) < 0.9
    assert float(refined(graph, loaded, plain)[2].min()) == 1.0  # no pose: everything
    assert whole.shape == (2, 64, 48)


def test_a_squashed_picture_gets_its_aspect_back_by_width_and_height(graph: Graph) -> None:
    """What the published preset does: 512x512 as trained, 512x352 on request."""
    images, output = graph.host.pack("pcdm_core.images"), graph.host.pack("nodes.sizes")
    preset = replace(graph.host.pack("pcdm_core.presets").PRESETS["published"], name="squashing")
    body_mask = graph.host.pack("pcdm_core.pose.body_mask").body_mask
    how = images.Fit.of(1101, 750, 512, 512, "squash")
    squashed = torch.rand(1, 3, 512, 512) * 2 - 1
    pose = graph.pose(1, first=5)
    settings = {"width": 352, "height": 512, "restore_size": False}
    picture, mask = output.sized(squashed, pose, how, preset, **settings)
    torch.testing.assert_close(picture, images.resize(squashed, 512, 352))
    torch.testing.assert_close(mask, body_mask(pose, 512, 352))
    settings |= {"restore_size": True}
    picture, mask = output.sized(squashed, pose, how, preset, **settings)
    assert picture.shape[-2:] == mask.shape[-2:] == (1101, 750)


@pytest.mark.parametrize(("width", "height"), [(64, 0), (0, 64), (60, 64)])
def test_half_a_size_is_refused_before_anything_runs(
    graph: Graph, loaded: dict[str, Any], width: int, height: int
) -> None:
    sockets = {"model": None, "encoders": None, "source": None, "coarse": None}
    with pytest.raises(ValueError, match=f"cannot be {height}x{width}.*multiples of 8"):
        graph.run(
            "PCDMRefiningSampler",
            **sockets,
            **SETTINGS,
            width=width,
            height=height,
            restore_size=False,
        )


@torch.inference_mode()
def test_a_mask_of_any_pose_comes_with_its_drawing(graph: Graph) -> None:
    pose = graph.pose(2)
    _, mask = graph.run("PCDMRenderPose", pose=pose, height=64, width=48, draw_hands=True)
    body = graph.host.pack("pcdm_core.pose.body_mask").body_mask(pose, 64, 48)
    torch.testing.assert_close(mask, body[:, 0])


@torch.inference_mode()
def test_dropped_hands_are_told_on_the_node(graph: Graph, loaded: dict[str, Any]) -> None:
    target = graph.pose(1, first=5)
    sockets = inputs(graph, loaded, target)
    hands = replace(
        target, hands_xy=torch.full((1, 2, 21, 2), 0.5), hands_visible=torch.ones(1, 2, 21).bool()
    )
    for name, settings in (
        ("PCDMInpaintingConditioning", {}),
        ("PCDMInpaintingSampler", {**SETTINGS, "restore_size": False}),
    ):
        ui = graph.output(name, **{**sockets, "target_pose": hands}, **settings).ui
        assert ui == {"text": ["The test preset does not draw hands: hand key points were left "
                                 "out."]}  # fmt: skip
        assert graph.output(name, **sockets, **settings).ui is None
