"""Training from Python that is stopped hands over what it had come to."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netdial as nd

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
DATA = (X, (X[:, 0] > 0).long())


def made() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


def stop(epoch: Any, *_: Any) -> None:
    if epoch.number == 3:
        os.kill(os.getpid(), signal.SIGINT)


def test_a_family_so_far_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="stopped at step 12") as stopped:
        nd.fit(made(), DATA, epochs=9, batch_size=16, report=stop)
    family: Any = stopped.value.reached  # type: ignore[attr-defined]
    assert "stop.reached" in stopped.value.__notes__[0]
    assert not family.training
    nd.save(family, tmp_path / "family")
    again = nd.load_model(tmp_path / "family", made())
    assert torch.equal(again.export(1.0)(X), family.export(1.0)(X))


def test_a_network_that_lost_channels_so_far_can_be_used(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="stopped at step 12") as stopped:
        nd.shrink(made(), DATA, size="60 params", epochs=4, batch_size=16, report=stop)
    shrunk: Any = stopped.value.reached  # type: ignore[attr-defined]
    assert shrunk.widths == {"0": 6}
    assert len(shrunk.events) > 0
    nd.save(shrunk, tmp_path / "small")
    small = nd.load_model(tmp_path / "small", made())
    torch.testing.assert_close(small(X), shrunk.net.eval()(X))
