"""Results given where their networks are wanted: what is refused says which part of them to give."""

from __future__ import annotations

import pytest
import torch

import netdial as nd
from netdial.core.errors import ConfigError


@pytest.mark.filterwarnings("ignore::netdial.core.errors.MemberWarning")
def test_a_result_in_place_of_its_network_is_told_which_part_to_give() -> None:
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    data = (x, (x[:, 0] > 0).long())
    family = nd.fit(nd.build("mlp:6", input_shape=(4,), n_outputs=2), data, epochs=1)
    pruned = nd.slim(family, 0.1, share=0.5, data=data)
    with pytest.raises(ConfigError, match=r"net is a Pruned; .* \(its \.net is one\)"):
        nd.slim(pruned, share=0.3, data=data)  # type: ignore[arg-type]
    assert nd.slim(pruned.net, share=0.3, data=data).n_params < pruned.n_params
    with pytest.raises(ConfigError, match=r"family is a Pruned; .* \(its \.family is one\)"):
        nd.evaluate(pruned, data)  # type: ignore[arg-type]
    chosen = nd.choose(family, data, train=data)
    with pytest.raises(ConfigError, match=r"net is a Choice; .* \(its \.module is one\)"):
        nd.shrink(chosen, data)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"nd\.build makes a network"):
        nd.shrink(3, data)  # type: ignore[arg-type]
