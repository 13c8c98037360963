"""Wrappers of optimizers."""

import torch
from torch import nn

from glc.registry import OPTIM_WRAPPERS


def test_mixed_precision_on_a_cpu_computes_in_bfloat16_and_learns_in_float32():
    torch.manual_seed(0)
    layer = nn.Linear(6, 3)
    weight, bias = (value.detach().clone() for value in layer.parameters())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(dict(type='BFloat16OptimWrapper', optimizer=optimizer))
    x = torch.randn(5, 6)
    with wrapper.optim_context(layer):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(
        y, (x.bfloat16() @ weight.bfloat16().T + bias.bfloat16()), rtol=0.02, atol=0.02
    )
    wrapper.update_params(y.float().square().sum())
    assert layer.weight.dtype == torch.float32
    step = 2 * (x @ weight.T + bias).T @ x
    torch.testing.assert_close(layer.weight.detach(), weight - 0.1 * step, rtol=0.02, atol=0.02)
    assert layer(x).dtype == torch.float32, 'outside of the context'
