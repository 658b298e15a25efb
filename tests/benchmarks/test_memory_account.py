"""The account of memory on tensors without values."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.memory import FusedAttention, LiveBytes, account, peak_of
from pcdm_core.presets import find_preset


def test_tensors_count_while_they_live_and_views_do_not() -> None:
    def work() -> Tensor:
        x = torch.empty(1000, device="meta")  # 4000 bytes
        y = x.view(10, 100) + 1  # 4000 more
        del x
        return y.relu()  # in place of the first

    assert peak_of(work) == 8000
    with LiveBytes() as counted:
        result = work()
        assert counted.now == result.nbytes == 4000


def test_attention_stores_its_result_and_no_scores() -> None:
    q = torch.empty(2, 4, 1000, 8, device="meta")
    fused = peak_of(lambda: F.scaled_dot_product_attention(q, q, q))
    assert fused == q.nbytes + q.nbytes // 8
    with FusedAttention():
        assert F.scaled_dot_product_attention(q, q[:, :, :5], q[:, :, :5]).shape == q.shape


@pytest.mark.slow
def test_the_published_size_fits_small_cards_in_half_precision() -> None:
    preset = replace(find_preset("published"), height=512, width=512)
    peak = account(preset, torch.float16, poses=1)["peak GiB"]
    assert 2.0 < peak["one at a time"] <= 3.5
    assert peak["one at a time"] < peak["UNets resident"] <= 7.0
