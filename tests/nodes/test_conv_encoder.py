"""Weights with a convolutional global encoder in ComfyUI, by the same nodes."""

import pytest
import torch

from tests.core.test_conv_encoder import save_learned
from tests.core.tiny_pipeline import picture
from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, embedding, inpainting_inputs, make_graph


@torch.inference_mode()
def test_a_learned_global_encoder_loads_and_draws_as_the_linear_one_does(host: Host) -> None:
    linear = make_graph(host)
    folder = host.base / "models" / "pcdm" / "learned"
    folder.mkdir(exist_ok=True)
    graph = Graph(host, save_learned(folder))
    loaded = graph.load()
    assert loaded["encoders"].global_encoder(picture()).shape == (1, 24)
    target = graph.pose(1, 5)
    inputs = inpainting_inputs(graph, loaded, target)
    pictures = graph.run("PCDMInpaintingSampler", **inputs, **SETTINGS)[0]
    assert pictures.isfinite().all()
    # A linear encoder of the same preset loads beside it; the prior says that it does not fit.
    (loaded["encoders"], _) = graph.run(
        "PCDMLoadEncoders",
        weights=f"{folder.name}/patch_encoder.safetensors",
        global_encoder=f"{linear.folder.name}/global_encoder.safetensors",
    )
    with pytest.raises(ValueError, match=r"expects source embeddings \[B, 24\], got \[1, 16\]"):
        embedding(graph, loaded, target)
