"""Members of classes whose layers stand as others in the graph, or that hold layers which nobody uses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netdial as nd
from netdial.core.errors import ConfigError
from netdial.pruning.channels import prune_family

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(24, 5, 8, generator=G), torch.randint(0, 3, (24,), generator=G)


class Encoder(nn.Module):
    """Torch's own encoder, a layer that nobody uses, and statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 4, 12, batch_first=True, dropout=0.0)
        self.inp, self.norm, self.head = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(self.encoder(self.inp(x)).mean(1)))
        return found


@pytest.fixture(scope="module")
def family() -> nd.Family:
    return nd.fit(Encoder(), (X, Y), epochs=1, batch_size=8)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_member_with_heads_and_unused_layers_is_cut(family: nd.Family, share: float) -> None:
    small = nd.slim(family, 1.0, share=share, scope="layer", data=(X, Y))
    heads = small.widths["encoder.layers.0.self_attn.in_proj_weight"]
    assert heads == round(4 * (1 - share))
    torch.testing.assert_close(small.family.export(1.0)(X), small.net(X))
    assert isinstance(small.family.net, Encoder) is (heads == 4)
    again = nd.slim(small.family, 1.0, share=0.3, data=(X, Y))
    torch.testing.assert_close(again.family.export(1.0)(X), again.net(X))


def test_all_members_of_such_a_family_are_cut_alike(family: nd.Family) -> None:
    small, found = prune_family(family, 1.0, share=0.6, scope="layer", data=(X, Y))
    for lam in (0.1, 10.0):
        whole, cut = family.at(lam), small.at(lam)
        assert cut.keys() == whole.keys()
        for leaf, tensor in cut.items():
            assert torch.equal(tensor, found.plan.cut(leaf, whole[leaf])), leaf
        assert small.export(lam)(X).shape == (24, 3)


def test_a_slimmed_network_is_of_its_class_where_that_follows() -> None:
    small = nd.slim(Encoder().eval(), share=0.5, example=X)
    model = small.family.export(small.family.config.lams[0])
    torch.testing.assert_close(model(X), small.net(X))
    assert "unused.weight" in model.state_dict()


def test_a_refusal_names_layers_that_are_frozen() -> None:
    data = (torch.randn(40, 6, generator=G), torch.randint(0, 2, (40,), generator=G))
    net = nd.build("mlp:8", input_shape=(6,), n_outputs=2)
    family = nd.fit(net, data, epochs=1, batch_size=20, objective="l1", freeze=["fc1"])
    with pytest.raises(ConfigError, match=r"what makes fc1 is frozen or shared.*requires_grad_"):
        nd.slim(family, 1.0, share=0.5, data=data)
    net = family.export(1.0).requires_grad_(True)
    assert nd.slim(net, share=0.5, data=data).widths == {"fc1": 4}


def test_a_size_that_frozen_layers_keep_from_says_which() -> None:
    net = nd.build("mlp:20-20", input_shape=(6,), n_outputs=2)
    net.fc1.requires_grad_(False)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"raise the target, or unfreeze what makes fc1") as told:
        nd.slim(net, size="40 params", example=torch.randn(4, 6, generator=G))
    assert "round_to" not in str(told.value)
    with pytest.raises(ConfigError, match=r"raise the target, or lower minimum") as told:
        nd.slim(nd.build("mlp:20", input_shape=(6,), n_outputs=2), size="30 params", minimum=5,
                example=torch.randn(4, 6, generator=G))  # fmt: skip
    assert "unfreeze" not in str(told.value)
