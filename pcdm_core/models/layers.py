"""The two small networks of upstream that no library has."""

from __future__ import annotations

from torch import Tensor, nn


class ImageProjection(nn.Module):
    """Image tokens to cross-attention context, token by token.

    Upstream: `ImageProjModel_p` (stage scripts). The gap in the indices is a dropout of 0.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(0.0),
            nn.LayerNorm(hidden_dim),
            nn.Linear(hidden_dim, out_dim),
            nn.Dropout(0.0),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L, in_dim] -> [B, L, out_dim]."""
        return self.net(tokens)


class PoseMLP(nn.Module):
    """18 key points to one vector (upstream: `pose_encoder` of the stage-1 transformer)."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *ImageProjection(in_dim, hidden_dim, out_dim).net,
            nn.LayerNorm(out_dim),
        )

    def forward(self, pose: Tensor) -> Tensor:
        """[B, 1, 36] -> [B, 1, out_dim]."""
        return self.net(pose)
