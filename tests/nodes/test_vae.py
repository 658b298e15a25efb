"""Autoencoders behind ComfyUI's VAE: the patch code's own, and the published one as a stock VAE."""

import pytest
import torch

from tests.core.tiny_pipeline import randomise
from tests.nodes.conftest import Host
from tests.nodes.graph import Graph, image, make_graph


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
    shown = (core.decode(expected) / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    torch.testing.assert_close(vae.decode(vae.encode(picture)), shown, rtol=0, atol=1e-3)


@torch.inference_mode()
def test_the_stock_vae_nodes_work_with_the_patch_code(graph: Graph) -> None:
    pack = graph.host.pack
    config = pack("pcdm_core.config").AutoencoderConfig(
        kind="patch", latent_channels=12, downscale=4, scaling_factor=0.5
    )
    autoencoder = randomise(pack("pcdm_core.vae").PatchAutoencoder(config), 4)
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
