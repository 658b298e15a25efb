"""ComfyUI's UNet with our weights against the core's model; runs in the host's process."""

from __future__ import annotations

import importlib
import inspect
import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pcdm_core.checkpoints import build
from pcdm_core.conditioning import Conditioning
from pcdm_core.config import config_to_dict
from pcdm_core.models.unet import build_unet
from pcdm_core.presets import PRESETS
from tests.hosts import PACK, ROOT, load_bare
from tests.network.cases import CASES, STAGES, Config, build_core, difference, random_inputs
from tests.parity.fixtures import Fixture, drawn_state, load_drawn
from tests.parity.native import stage_of

FIXTURE = ROOT / "tests" / "golden" / "parity" / "native"


@torch.no_grad()
def facts() -> dict[str, Any]:
    """Differences of every case, and what else the tests ask."""
    load_bare(ROOT, PACK)
    load_bare(ROOT / "nodes", f"{PACK}.nodes")
    host = Host()
    return {
        "unet": inspect.getsourcefile(host.network.UNetModel),
        "left_out": host.left_out,
        "cases": {case.name: host.compare(case) for case in CASES},
        "published": {stage: host.compare_published(stage) for stage in STAGES},
        "keys": {stage: host.map_keys(stage) for stage in STAGES},
        "pose": host.pose(),
    }


class Host:
    """The pack's network on the host's `UNetModel`."""

    def __init__(self) -> None:
        self.network = importlib.import_module(f"{PACK}.nodes.network")
        self.operations = importlib.import_module("comfy.ops").disable_weight_init
        parameters = inspect.signature(self.network.UNetModel).parameters
        keywords = self.keywords(PRESETS["mini"].inpainting)
        self.left_out = sorted(set(keywords) - set(parameters))

    def keywords(self, config: Config) -> dict[str, Any]:
        """What the pack gives to `UNetModel`; the configuration as the pack's own class."""
        config_module = importlib.import_module(f"{PACK}.pcdm_core.config")
        values = json.loads(json.dumps(config_to_dict(config)))
        copied = config_module.config_from_dict(
            getattr(config_module, type(config).__name__), values
        )
        return self.network.unet_config(copied)

    def build(self, config: Config, device: str) -> Any:
        """A network without weights, less the keywords that an older `UNetModel` does not know."""
        keywords = self.keywords(config)
        accepted = {key: value for key, value in keywords.items() if key not in self.left_out}
        return self.network.PoseUNet(**accepted, device=device, operations=self.operations)

    def load(self, core: Any) -> Any:
        """A network with the weights of the core's UNet."""
        network = self.build(core.config, "cpu")
        state = self.network.native_state_dict(core.unet.state_dict(), self.keywords(core.config))
        network.load_state_dict(state, strict=True)
        return network.eval()

    def compare(self, case: Any) -> float:
        core = build_core(case.config)
        x_t, timesteps, cond = random_inputs(case.config, case.height, case.width)
        prediction = run(self.load(core), torch.cat([x_t, cond.concat], 1), timesteps, cond)
        return difference(prediction, core(x_t, timesteps, cond))

    def compare_published(self, stage: str) -> dict[str, float]:
        """Against passes of the published implementation; small UNets with its key layout."""
        fixture = Fixture.open(FIXTURE)
        stated, tensors = fixture.stated("models", stage), fixture.tensors
        component, layout, config, modules = stage_of(fixture, stage, stated["config"])
        blank = build(component, config, "meta")
        seeds = dict.fromkeys(("unet", *modules), stated["seed"])
        state = drawn_state(blank, component, layout, seeds)
        network = self.load(load_drawn(component, state, config))
        report = {"tolerance": fixture.tolerance("native_host")}
        for case in stated["cases"]:
            inputs = {
                name.removeprefix(f"{stage}.{case}."): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{stage}.{case}.")
            }
            cond = Conditioning(inputs["encoder_hidden_states"], inputs["sample"])
            if stage == "inpainting":
                cond = replace(
                    cond, pose=inputs["pose_features"], embed=inputs["class_labels"][:, 0]
                )
            timesteps = inputs["timestep"].expand(len(inputs["sample"]))
            prediction = run(network, inputs["sample"], timesteps, cond)
            report[case] = difference(prediction, inputs["out"])
        return report

    def map_keys(self, stage: str) -> dict[str, Any]:
        """How many tensors of the published size have a place; whether all places are filled."""
        config = getattr(PRESETS["published"], stage)
        class_dim = getattr(config, "embedding_dim", None)
        with torch.device("meta"):
            state = build_unet(
                config.unet, config.in_channels, config.latent_channels, class_dim=class_dim
            ).state_dict()
        mapped = self.network.native_state_dict(state, self.keywords(config))
        shapes = {
            key: tensor.shape for key, tensor in self.build(config, "meta").state_dict().items()
        }
        return {
            "given": len(state),
            "mapped": len(mapped),
            "fits": {key: tensor.shape for key, tensor in mapped.items()} == shapes,
        }

    def pose(self) -> dict[str, Any]:
        """What the pose changes, and what becomes of a patch that the caller has put in."""
        config = PRESETS["test"].inpainting
        x_t, timesteps, cond = random_inputs(config, 8, 12)
        network, canvas = self.load(build_core(config)), torch.cat([x_t, cond.concat], 1)
        blocks: list[Any] = []

        def patch(h: Tensor, now: dict[str, Any]) -> Tensor:
            blocks.append(now["block"])
            return h

        options = {"patches": {"input_block_patch": [patch]}}
        posed = run(network, canvas, timesteps, cond, options)
        plain = run(network, canvas, timesteps, replace(cond, pose=None))
        return {
            "difference": difference(posed, plain),
            "callers_patch_saw_the_first_block": ("input", 0) in blocks,
            "callers_patches": len(options["patches"]["input_block_patch"]),
        }


def run(
    network: Any,
    canvas: Tensor,
    timesteps: Tensor,
    cond: Conditioning,
    options: dict[str, Any] | None = None,
) -> Tensor:
    return network(
        canvas,
        timesteps,
        context=cond.tokens,
        y=cond.embed,
        transformer_options={} if options is None else options,
        pcdm_pose=cond.pose,
    )
