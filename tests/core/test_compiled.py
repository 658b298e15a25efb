"""The compiled step: one graph for all poses, seeds and steps; where it fails, the plain one."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from pcdm_core.offload import Keep, Offload
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.torch_compile import CompiledDenoiser, CompiledNetwork
from tests.core.runs import difference, tiny
from tests.core.tiny_pipeline import TEST, components, picture, poses

NETWORKS = 3  # of the stages


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()


def pipeline_of(compile: Any, keep: Keep = "all") -> PCDMsPipeline:
    return PCDMsPipeline(
        TEST,
        offload=Offload("cpu", keep),
        compile=compile,
        **components(),  # type: ignore[arg-type]
    )


def draw(pipeline: PCDMsPipeline, *, first: int = 0, count: int = 2, **options: Any) -> Tensor:
    settings = {"seed": 0, "steps": 3, **options}
    return pipeline(picture(), poses(1, 50), poses(count, first), **settings).image


@pytest.mark.slow
def test_poses_seeds_and_steps_of_one_size_share_one_graph_and_give_the_plain_pictures() -> None:
    # "one" gives every run other parameter objects: the hardest case.
    pipeline = pipeline_of("eager", keep="one")
    image = draw(pipeline)
    assert dict(counters["frames"]) == {"total": NETWORKS, "ok": NETWORKS}
    assert not counters["graph_break"]
    draw(pipeline, first=7, seed=5)
    draw(pipeline, steps=5)
    pipeline(picture(3), poses(1, 20), poses(2, 30), seed=9, steps=3)
    assert counters["frames"]["total"] == counters["stats"]["unique_graphs"] == NETWORKS
    assert not any(steps.network.failed for steps in pipeline.compiled.values())
    pipeline.compiled.clear()
    assert difference(image, draw(pipeline)) <= 5e-5


def test_another_size_is_another_graph() -> None:
    network = CompiledNetwork(lambda x: torch.relu(x) + 1, "eager")
    for rows in (2, 3, 2, 4, 3):
        network(torch.zeros(rows, 5))
    assert counters["stats"]["unique_graphs"] == 3


@pytest.mark.slow
def test_a_step_that_cannot_be_compiled_is_taken_plainly_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[int] = []

    def broken(graph: Any, inputs: Any) -> Any:
        tried.append(len(inputs))
        raise OSError("there is no compiler in this test")

    pipeline = pipeline_of(broken)
    with caplog.at_level(logging.WARNING, logger="pcdm_core.torch_compile"):
        first, again = draw(pipeline), draw(pipeline)
    assert len(tried) == NETWORKS
    warnings = [r.message for r in caplog.records if r.name == "pcdm_core.torch_compile"]
    assert len(warnings) == 1
    assert "there is no compiler in this test" in warnings[0]
    pipeline.compiled.clear()
    assert torch.equal(first, draw(pipeline))
    assert torch.equal(first, again)


@pytest.mark.slow
def test_a_machine_without_a_cpp_compiler_takes_the_plain_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    network = CompiledNetwork(lambda x: torch.relu(x) + 1)
    x = torch.linspace(-1, 1, 5)
    with torch.no_grad(), caplog.at_level(logging.WARNING, logger="pcdm_core.torch_compile"):
        assert torch.equal(network(x), torch.relu(x) + 1)
    assert network.failed
    assert len(caplog.records) == 1
    assert "compiler" in caplog.records[0].message


def test_an_error_of_the_network_itself_is_not_hidden() -> None:
    network = CompiledNetwork(lambda x: x @ x, "eager")
    with pytest.raises(RuntimeError, match="mat1"):
        network(torch.ones(2, 3))


@pytest.mark.slow
def test_a_compiled_model_is_copied_with_its_own_weights() -> None:
    model, cond, x = tiny("refining", 1)
    names = list(model.state_dict())
    steps = CompiledDenoiser(model, "eager")
    with torch.no_grad():
        before = steps(x, torch.tensor([500]), cond)
        other = copy.deepcopy(model)
        other.unet.conv_out.weight.data *= 2
        assert torch.equal(steps(x, torch.tensor([500]), cond), before)
        changed = CompiledDenoiser(other, "eager")(x, torch.tensor([500]), cond)
    assert difference(changed, before) > 0.1
    assert list(model.state_dict()) == names
