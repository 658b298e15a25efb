"""Autoencoders behind ComfyUI's VAE: the patch code's own, and the published one as a stock VAE."""

import shutil

import pytest
import torch

from pcdm_core.checkpoints import save_model
from pcdm_core.pipeline import PCDMsPipeline
from tests.core.tiny_pipeline import TEST, components, poses, randomise
from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, image, inpainting_inputs, make_graph
from training.stages.initialise import with_autoencoder


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


@torch.inference_mode()
def test_the_published_autoencoder_becomes_a_stock_vae_with_the_cores_latents(
    graph: Graph,
) -> None:
    host = graph.host
    preset = host.pack("pcdm_core.presets").PRESETS["published"]
    torch.manual_seed(0)
    core = host.pack("pcdm_core.vae").build_autoencoder(preset.autoencoder).eval()
    for parameter in core.parameters():
        parameter.mul_(0.7)  # keeps untrained activations small
    path = graph.folder / "kl" / "autoencoder.safetensors"
    host.pack("pcdm_core.checkpoints.load").save_model(core, path, stage="autoencoder")
    vae = host.pack("nodes.loaders")._load_vae(path.with_name("patch_encoder.safetensors"), preset)
    picture = image(0, 64, 64)
    formats = host.pack("nodes.comfy_model").latent_format(preset.autoencoder)
    latents = formats.process_in(vae.encode(picture))
    expected = core.encode(picture.movedim(-1, 1) * 2 - 1)
    assert float((latents - expected).abs().max() / expected.std()) <= 1e-4
    decoded = (core.decode(expected) / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(vae.decode(vae.encode(picture)), decoded, rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", ["patch", "conv"])
@torch.inference_mode()
def test_the_stock_vae_nodes_work_with_the_packs_own_codes(graph: Graph, kind: str) -> None:
    pack = graph.host.pack
    config = pack("pcdm_core.config").AutoencoderConfig(
        kind=kind,
        latent_channels=12,
        downscale=4,
        scaling_factor=0.5,
        block_out_channels=(8, 16),
        layers_per_block=1,
    )
    autoencoder = randomise(pack("pcdm_core.vae").build_autoencoder(config), 4)
    vae = pack("nodes.vae").PatchVAE(autoencoder)
    picture = image(0, 66, 51)  # no multiple of 4: the border is cut off evenly
    latents = vae.encode(picture)
    inner = picture[:, 1:65, 1:49].movedim(-1, 1) * 2 - 1
    assert latents.shape == (1, 12, 16, 12)
    torch.testing.assert_close(latents * 0.5, autoencoder.encode(inner))
    decoded = vae.decode(latents)
    expected = (autoencoder.decode(latents * 0.5) / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(decoded, expected)
    tiles = {"tile_x": 8, "tile_y": 8, "overlap": 2, "tile_t": None, "overlap_t": None}
    assert torch.equal(vae.decode_tiled(latents, **tiles), decoded)
    assert torch.equal(vae.encode_tiled(picture, tile_x=64, tile_y=64, overlap=8), latents)
    assert vae.spacial_compression_decode() == 4
    with pytest.raises(ValueError, match="Connect the VAE of the same model"):
        vae.decode(latents[:, :4])
    with pytest.raises(ValueError, match="smaller than 4x4"):
        vae.encode(picture[:, :3])


CODE = {
    "kind": "conv",
    "latent_channels": 6,
    "downscale": 8,
    "block_out_channels": (8, 8, 16),
    "layers_per_block": 1,
}


@pytest.fixture(scope="module")
def learned(graph: Graph) -> Graph:
    """Weights whose latents are of another code than the preset's that they name."""
    preset = with_autoencoder(TEST, CODE)
    folder = graph.folder.with_name("learned")
    for name, part in components(preset).items():
        path = folder / f"{name}.safetensors"
        save_model(part, path, stage=name, metadata={"preset": "test"})  # type: ignore[arg-type]
    return Graph(graph.host, folder)


@torch.inference_mode()
def test_weights_with_a_learned_code_draw_in_the_nodes_what_they_draw_in_python(
    learned: Graph,
) -> None:
    loaded = learned.load()
    assert loaded["inpainting"].model.preset.autoencoder.kind == "conv"
    target = learned.pose(1, first=5)
    inputs = inpainting_inputs(learned, loaded, target)
    coarse, latent, _, _ = learned.run(
        "PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=False
    )
    refined, _, _ = learned.run(
        "PCDMRefiningSampler",
        model=loaded["refining"],
        encoders=loaded["encoders"],
        source=image(),
        coarse=coarse,
        **SETTINGS,
        restore_size=False,
    )
    assert latent["samples"].shape == (1, 6, 8, 12)
    expected = PCDMsPipeline.from_folder(learned.folder)(
        image().movedim(-1, 1) * 2 - 1,
        poses(1),
        poses(1, 5),
        seed=SETTINGS["seed"],
        steps=SETTINGS["steps"],
        guidance_scale=SETTINGS["guidance_scale"],
    )
    for pictures, reference in ((coarse, expected.coarse), (refined, expected.image)):
        pixels = ((reference + 1) / 2).movedim(1, -1)
        assert float((pictures - pixels).abs().max()) <= 2 / 255


@torch.inference_mode()
def test_weights_of_two_codes_are_refused_together(graph: Graph, learned: Graph) -> None:
    parts, other = learned.load(), graph.load()
    mixed = inpainting_inputs(learned, parts, learned.pose(1, first=5)) | {
        "encoders": other["encoders"]
    }
    with pytest.raises(ValueError, match=r"latents of another autoencoder \(conv, 6 channels"):
        learned.run("PCDMInpaintingSampler", **mixed, **SETTINGS)
    lost = learned.folder.with_name("lost") / "inpainting.safetensors"
    lost.parent.mkdir()
    shutil.copy(learned.folder / lost.name, lost)
    with pytest.raises(
        RuntimeError, match="6 channels, and the autoencoder of its folder makes 12"
    ):
        learned.run("PCDMLoadInpainting", weights="lost/inpainting.safetensors")
