"""The published encoders inside ComfyUI's CLIP_VISION: same weights, our preprocessing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import load_model
from pcdm_core.config import GlobalEncoderConfig, PatchEncoderConfig, config_to_dict
from tests.core.tiny_pipeline import picture, randomise
from tests.network.cases import difference
from tests.nodes.conftest import Host
from tests.nodes.graph import Graph, image, make_graph

TOLERANCE = 1e-4  # of the output's deviation
# The geometry of the published encoders (518 and 224 px, patches of 14) at small widths.
PATCH = PatchEncoderConfig(hidden_size=48, num_layers=2, num_heads=3)
GLOBAL = GlobalEncoderConfig(
    embedding_dim=24, hidden_size=32, num_layers=3, num_heads=2, intermediate_size=64
)
SHIPPED = {"weights": "mini (shipped)", "global_encoder": "of the same set"}
# Not the encoders' size and no square, so that the preprocessing counts.
SOURCE = picture(5, 230, 150)


def json_config(config: PatchEncoderConfig | GlobalEncoderConfig) -> dict[str, Any]:
    """What ComfyUI's class reads, in the form of the files that it has for the real sizes."""
    common = {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "patch_size": config.patch_size,
        "num_channels": 3,
        "hidden_act": "gelu",
    }
    if isinstance(config, PatchEncoderConfig):
        values = {"model_type": "dinov2", "image_size": 518, "layer_norm_eps": 1e-6}
        return {**common, **values, "use_swiglu_ffn": config.swiglu}
    values = {"model_type": "clip_vision_model", "image_size": 224, "projection_dim": 24}
    return {**common, **values, "intermediate_size": config.intermediate_size}


def clip_vision(graph: Graph, config: PatchEncoderConfig | GlobalEncoderConfig) -> Any:
    """A CLIP_VISION of the host's own class with random weights."""
    path = graph.host.base / f"{type(config).__name__}.json"
    path.write_text(json.dumps(json_config(config)), encoding="utf-8")
    clip = graph.host.comfy("comfy.clip_vision").ClipVisionModel(str(path))
    with torch.no_grad():
        for name, parameter in clip.model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    randomise(clip.model, 9)
    return clip


def copied(host: Host, config: Any) -> Any:
    """A configuration of this process's other copy of the core, as the pack's own."""
    config_module = host.pack("pcdm_core.config")
    return config_module.config_from_dict(
        getattr(config_module, type(config).__name__), config_to_dict(config)
    )


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


@pytest.fixture
def small_published(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> str:
    """The published preset at small widths, known to the pack for one test."""
    presets = graph.host.pack("pcdm_core.presets").PRESETS
    small = replace(
        presets["published"],
        name="small",
        patch_encoder=copied(graph.host, PATCH),
        global_encoder=copied(graph.host, GLOBAL),
    )
    monkeypatch.setitem(presets, "small", small)
    return "small"


@pytest.fixture(scope="module")
def vae(graph: Graph) -> Any:
    """A VAE of ComfyUI's own class, with the layout of Stable Diffusion's."""
    config = graph.host.pack("pcdm_core.presets").PRESETS["published"].autoencoder
    core = graph.host.pack("pcdm_core.vae").build_autoencoder(config)
    return graph.host.comfy("comfy.sd").VAE(sd=core.vae.state_dict())


@torch.inference_mode()
@pytest.mark.parametrize("config", [PATCH, GLOBAL], ids=["dinov2", "clip"])
def test_a_clip_vision_gives_what_the_cores_encoder_gives_with_its_weights(
    graph: Graph, small_published: str, config: Any
) -> None:
    clip = clip_vision(graph, config)
    vision = graph.host.pack("nodes.vision")
    patch = isinstance(config, PatchEncoderConfig)
    encoder = (vision.host_patch_encoder if patch else vision.host_global_encoder)(clip)
    safetensors = graph.host.comfy("safetensors.torch")
    path = graph.folder / f"{'patch' if patch else 'global'}_of_the_host.safetensors"
    state = {key: tensor.float().contiguous() for key, tensor in clip.model.state_dict().items()}
    safetensors.save_file(state, path)
    core = load_model(path, config=config)
    expected = core(core.pixels(SOURCE))
    result = encoder(SOURCE)
    assert result.shape == ((1, 257, 48) if patch else (1, 24))
    assert difference(result, expected) <= TOLERANCE
    # The host's own preprocessing is another one, also where it takes 224 px.
    host_result = clip.encode_image((SOURCE.movedim(1, -1) + 1) / 2)
    theirs = host_result["last_hidden_state"] if patch else host_result["image_embeds"]
    assert theirs.shape != result.shape or difference(theirs, expected) > 100 * TOLERANCE


@torch.inference_mode()
def test_encoders_come_from_the_stock_loaders(graph: Graph, small_published: str, vae: Any) -> None:
    dinov2, clip = clip_vision(graph, PATCH), clip_vision(graph, GLOBAL)
    encoders, returned_vae = graph.run(
        "PCDMLoadEncoders", **SHIPPED, autoencoder=vae, dinov2=dinov2, clip_vision=clip
    )
    assert returned_vae is vae
    assert encoders.preset.name == small_published
    assert encoders.patch_encoder(SOURCE).shape == (1, 257, 48)
    assert encoders.global_encoder(SOURCE).shape == (1, 24)
    loaded_models = graph.host.comfy("comfy.model_management").current_loaded_models
    assert {dinov2.model, clip.model} <= {entry.model.model for entry in loaded_models}
    alone, _ = graph.run("PCDMLoadEncoders", **SHIPPED, autoencoder=vae, dinov2=dinov2)
    assert alone.global_encoder is None  # as the single-stage release needs it
    person = graph.host.pack("nodes.source").source_of(alone, image(), alone.preset)
    with pytest.raises(ValueError, match="connect clip_vision"):
        _ = person.embeds


@torch.inference_mode()
def test_the_node_says_whether_the_file_of_the_vae_is_a_known_one(
    graph: Graph, small_published: str, vae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_paths = graph.host.comfy("folder_paths")
    path = Path(folder_paths.models_dir) / "vae" / "mine.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: torch.zeros(v.shape).half() for name, v in vae.get_sd().items()}
    graph.host.comfy("safetensors.torch").save_file(state, path)
    prompt = {
        "1": {"class_type": "VAELoader", "inputs": {"vae_name": path.name}},
        "2": {"class_type": "PCDMLoadEncoders", "inputs": {"autoencoder": ["1", 0]}},
    }

    class Running(graph.node("PCDMLoadEncoders")):
        hidden = type("Hidden", (), {"unique_id": "2", "prompt": prompt})()

    def text() -> str:
        inputs = {"autoencoder": vae, "dinov2": clip_vision(graph, PATCH)}
        return Running.execute(**SHIPPED, **inputs).ui["text"][0]

    assert "It is another file than vae-ft-mse" in text()
    verify = graph.host.pack("pcdm_core.published.verify")
    rows = [
        replace(row, sources=(replace(row.source, bytes=path.stat().st_size),))
        if row.component == "autoencoder"
        else row
        for row in verify.model_files()
    ]
    monkeypatch.setattr(verify, "model_files", lambda: tuple(rows))
    assert "but another SHA-256: it is damaged or changed or another one (that of SDXL" in text()
    prompt["1"]["inputs"]["vae_name"] = "taesd"  # no file of its own
    assert Running.execute(**SHIPPED, autoencoder=vae, dinov2=clip_vision(graph, PATCH)).ui is None


@torch.inference_mode()
def test_encoders_of_two_presets_are_refused_naming_both(
    graph: Graph, small_published: str, vae: Any
) -> None:
    dinov2, clip = clip_vision(graph, PATCH), clip_vision(graph, GLOBAL)
    test = {"weights": "test/patch_encoder.safetensors", "global_encoder": "of the same set"}
    other = {**SHIPPED, "global_encoder": "test/global_encoder.safetensors"}
    cases = [
        ("dinov2 holds a CLIP of width 32.*DINOv2-giant", {**SHIPPED, "dinov2": clip}),
        ("clip_vision holds a DINOv2 of width 48.*ViT-H", {**test, "clip_vision": dinov2}),
        ("of the test preset, the global encoder of the small", {**test, "clip_vision": clip}),
        ("of the small preset, the global encoder of the test", {**other, "dinov2": dinov2}),
        ("VAE has to be connected", {**SHIPPED, "dinov2": dinov2}),
        ("VAE has latents of 4 channels.*test preset has 12", {**test, "autoencoder": vae}),
    ]
    for message, inputs in cases:
        with pytest.raises((ValueError, RuntimeError), match=message):
            graph.run("PCDMLoadEncoders", **{"autoencoder": None, **inputs})


@pytest.mark.parametrize(
    ("file", "component"),
    [("image_encoders/dino2_giant.json", "patch"), ("clip_vision_config_h.json", "global")],
)
def test_the_published_encoders_are_recognised_at_full_size(
    graph: Graph, file: str, component: str
) -> None:
    vision, module = graph.host.pack("nodes.vision"), graph.host.comfy("comfy.clip_vision")
    values = json.loads((graph.host.path / "comfy" / file).read_text(encoding="utf-8"))
    kind = module.IMAGE_ENCODERS[values["model_type"]]
    operations = graph.host.comfy("comfy.ops").manual_cast
    clip = type("Held", (), {})()
    with torch.device("meta"):
        clip.model = kind(values, torch.float16, "meta", operations)
    encoder = getattr(vision, f"host_{component}_encoder")(clip)
    published = graph.host.pack("pcdm_core.presets").PRESETS["published"]
    assert encoder.config == getattr(published, f"{component}_encoder")


@torch.inference_mode()
def test_a_large_dinov2_is_refused(graph: Graph) -> None:
    large = clip_vision(graph, replace(PATCH, hidden_size=64, num_heads=1, swiglu=False))
    with pytest.raises(RuntimeError, match=r"DINOv2 of width 64.*need DINOv2-giant"):
        graph.host.pack("nodes.vision").host_patch_encoder(large)
