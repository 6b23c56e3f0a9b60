"""Description lengths of training labels: bounds that every code obeys, and what each chooses."""

from __future__ import annotations

import math

import pytest
import torch

import netdial as nd
from netdial.compression.pipeline.config import CompressConfig
from netdial.core.errors import ConfigError
from netdial.data.dataset import Dataset
from netdial.jobs.analyses.lengths import description_lengths, prequential
from netdial.task import named

from ..marks import may_be_useless

TASK = named("classification")
SHORT = CompressConfig(epochs=20, lr=0.05, batch_size=32, tuning=1)


def rows(count: int, *, noise: bool = False) -> Dataset:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return Dataset(
        x, torch.randint(0, 2, (count,), generator=torch.Generator().manual_seed(1)) if noise else y
    )


def test_what_can_be_learned_is_told_in_fewer_bits_than_the_labels_alone_and_noise_is_not() -> None:
    net = nd.build("linear", input_shape=(4,), n_outputs=2, seed=0)
    learned = prequential(net, rows(512), TASK, SHORT)
    noise = prequential(net, rows(512, noise=True), TASK, SHORT)
    assert 64 < learned.total < 0.8 * 512 < 512 * 0.98 < noise.total
    assert learned.model == 0


@pytest.mark.slow
@may_be_useless
def test_three_codes_side_by_side_with_what_they_choose() -> None:
    train, valid = rows(300), rows(100)
    net = nd.build("linear", input_shape=(4,), n_outputs=2, seed=0)
    family = nd.fit(net, train, objective="scaled-kl", epochs=6, batch_size=32)
    found = nd.compress(
        family, train, valid, lam=0.1, max_bytes=300, epochs=2, tuning=1, batch_size=32
    )
    codes = description_lengths(
        family, found, train, valid, TASK, SHORT, lams=[0.01, 1.0], start=net
    )
    by_code = {
        code: [row for row in codes if row.code == code]
        for code in ("uniform", "two-part", "variational", "prequential")
    }
    assert by_code["uniform"][0].total == 300
    for point, row in zip(found.front, by_code["two-part"], strict=True):
        assert row.model == 8 * point.n_bytes
        nll = TASK.nll(point.net(train.x), train.y).detach()
        assert row.data == pytest.approx(float(nll.sum()) / math.log(2), rel=1e-5)
    for lam, row in zip([0.01, 1.0], by_code["variational"], strict=True):
        (told,) = nd.assess(family, train, lams=[lam], by=["mdl"])
        assert row.total == pytest.approx(len(train) * told.value, rel=1e-6)
    for code in ("two-part", "variational"):
        (chosen,) = [row for row in by_code[code] if row.chosen]
        assert chosen.total == min(row.total for row in by_code[code])
        assert sum(row.by_validation for row in by_code[code]) == 1
    assert len(by_code["prequential"]) == 1


def test_numbers_have_no_code_without_a_precision() -> None:
    net = nd.build("linear", input_shape=(4,), n_outputs=1, seed=0)
    with pytest.raises(ConfigError, match="regression"):
        description_lengths(net, None, rows(10), rows(10), named("regression"), SHORT)  # type: ignore[arg-type]
