"""Sparse forms compute what the dense network does, and the one that is taken was measured to be the fastest."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import netdial as nd
from netdial.core.errors import ShapeError
from netdial.measure import sparse
from netdial.measure.sparse import FORMS, run_sparse


def thinned(net: nn.Module, share: float) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.Linear):
                module.weight *= torch.rand_like(module.weight) < share
                module.weight[::3] = 0
                module.weight[:, 1::2] = 0
    return net


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 3, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_forms_compute_what_the_layer_does(form: str, shape: tuple[int, ...], bias: bool) -> None:
    layer = thinned(nn.Sequential(nn.Linear(7, 5, bias=bias)), 0.5)[0]  # type: ignore[index]
    x = torch.randn(*shape)
    torch.testing.assert_close(FORMS[form](layer)(x), layer(x), rtol=1e-5, atol=1e-6)
    layer.weight.data.zero_()
    torch.testing.assert_close(FORMS[form](layer)(x), layer(x))


@pytest.mark.parametrize("fastest", ["dense", *FORMS])
def test_the_fastest_form_is_taken(fastest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = thinned(nd.build("mlp:40,20", input_shape=(30,), n_outputs=3), 0.1).eval()
    x, names = torch.randn(6, 30), ["dense", *FORMS]

    def times(nets: list[nn.Module], inputs: torch.Tensor) -> list[float]:
        return [2.0, 1.0] if len(nets) == 2 else [1.0 if n == fastest else 2.0 for n in names]

    monkeypatch.setattr(sparse, "_times", times)
    found = run_sparse(net, x)
    assert [row.form for row in found.layers] == [fastest] * 3
    assert found.speedup == 2
    torch.testing.assert_close(found.net(x), net(x), rtol=1e-4, atol=1e-5)
    kinds = {type(module) for module in found.net.modules()}
    assert (nn.Linear in kinds) == (fastest == "dense")


def test_a_network_that_is_no_faster_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    net = thinned(nd.build("mlp:8", input_shape=(5,), n_outputs=2), 0.2)
    monkeypatch.setattr(sparse, "_times", lambda nets, x: [1.0] * len(nets))
    found = run_sparse(net, torch.randn(2, 5))
    assert found.speedup == 1 and {type(m) for m in found.net.modules()} == {
        type(m) for m in net.modules()
    }
    with pytest.raises(ShapeError, match="no inputs"):
        run_sparse(net, torch.zeros(0, 5))


def test_real_times_on_a_wide_sparse_layer() -> None:
    net = thinned(nn.Sequential(nn.Flatten(), nn.Linear(1024, 512)), 0.02)
    found = run_sparse(net, torch.randn(64, 1024))
    assert found.ms <= found.dense_ms and found.layers[0].density < 0.05
    assert set(found.layers[0].ms) == {"dense", *FORMS}
