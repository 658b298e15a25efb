"""The published samplers on a device without float64, such as Apple's."""

from tests.hosts import COMFYUI, ask


def test_the_samplers_bring_no_float64_onto_the_models_device() -> None:
    differences = ask("tests.nodes.narrow", COMFYUI)
    assert sorted(differences) == ["ddim", "ddpm_trailing", "unipc"]
    assert max(differences.values()) < 1e-5, differences
