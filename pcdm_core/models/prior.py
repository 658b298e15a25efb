"""Stage 1: predict the target picture's embedding (paper section 3.2).

Upstream's `Stage1_PriorTransformer` is diffusers' `PriorTransformer` fed two projected pose
tokens; only the pose branch is ours.
"""

from __future__ import annotations

import torch
from diffusers import PriorTransformer
from torch import Tensor, nn

from ..conditioning import PriorConditioning
from ..config import PriorConfig
from ..pose.keypoints import Keypoints
from .layers import PoseMLP

POSE_VECTOR = 36  # 18 key points, x and y


class PosePrior(nn.Module):
    """Denoises x_t [B, E] to the target embedding, in the normalised space of `normalise`."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.num_heads * config.head_dim
        self.transformer = PriorTransformer(
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_dim,
            num_layers=config.num_layers,
            embedding_dim=config.embedding_dim,
            num_embeddings=2,
            additional_embeddings=4,
            encoder_hid_proj_type=None,
        )
        # As published: the two statistics are constants (see `normalise`) and attention sees all
        # tokens; the library's parameters and causal mask for these would be dead weight.
        self.transformer.clip_mean = self.transformer.clip_std = None
        self.transformer.causal_attention_mask = None
        dims = (POSE_VECTOR, config.pose_hidden_dim, config.pose_dim)
        self.source_pose_encoder = PoseMLP(*dims)
        self.target_pose_encoder = PoseMLP(*dims)
        self.source_pose_projection = nn.Linear(config.pose_dim, width)
        self.target_pose_projection = nn.Linear(config.pose_dim, width)

    def normalise(self, image_embeds: Tensor) -> Tensor:
        """Encoder space to the prior's space."""
        return (image_embeds - self.config.embedding_mean) / self.config.embedding_std

    def denormalise(self, x: Tensor) -> Tensor:
        """The prior's space to encoder space."""
        return x * self.config.embedding_std + self.config.embedding_mean

    def condition(
        self, image_embeds: Tensor, source_pose: Keypoints, target_pose: Keypoints
    ) -> PriorConditioning:
        """From the source's embedding [B, E] (encoder space) and both poses (B rows each).

        As published: the source's embedding enters as the encoder gives it; only the noisy target
        lives in the normalised space.
        """
        expected = self.config.embedding_dim
        if image_embeds.ndim != 2 or image_embeds.shape[1] != expected:
            raise ValueError(
                f"The prior expects source embeddings [B, {expected}], got "
                f"{list(image_embeds.shape)}. Load the image encoder of the same preset."
            )
        missing = self.config.missing_joint
        device, dtype = image_embeds.device, image_embeds.dtype
        return PriorConditioning(
            image_embeds=image_embeds,
            source_pose=source_pose.to_vector(missing).to(device, dtype),
            target_pose=target_pose.to_vector(missing).to(device, dtype),
        )

    def unconditional(self, cond: PriorConditioning) -> PriorConditioning:
        """As published: a zero embedding; both poses stay."""
        return PriorConditioning(
            torch.zeros_like(cond.image_embeds), cond.source_pose, cond.target_pose
        )

    def pose_tokens(self, cond: PriorConditioning) -> Tensor:
        """Both poses as tokens [B, 2, width], source first."""
        source = self.source_pose_projection(self.source_pose_encoder(cond.source_pose))
        target = self.target_pose_projection(self.target_pose_encoder(cond.target_pose))
        return torch.cat([source, target], dim=1)

    def forward(self, x_t: Tensor, timesteps: Tensor, cond: PriorConditioning) -> Tensor:
        """x_t [B, E], timesteps [B] int64 -> predicted x0 [B, E]."""
        return self.transformer(
            x_t,
            timesteps,
            proj_embedding=cond.image_embeds,
            encoder_hidden_states=self.pose_tokens(cond),
            return_dict=False,
        )[0]
