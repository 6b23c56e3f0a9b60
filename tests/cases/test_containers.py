"""Data as people hold them: what is taken gives the same family, what cannot be used is refused before work starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import netdial as nd

from .situations import refused, right

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
SHORT: dict[str, Any] = {"epochs": 1, "batch_size": 8}


def net(n_outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, n_outputs)


def weight(data: Any) -> Tensor:
    return nd.fit(net(), data, **SHORT).at(1.0)["weight"]


class Rows(Dataset):  # type: ignore[type-arg]
    """A data set of dictionaries, as image libraries have them."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input": X[row], "label": int(Y[row]), "name": f"row {row}"}


@right
def test_every_container_gives_the_same_family() -> None:
    """Tensors, lists, arrays, frames, TensorDataset, float64, labels int32, bool, [N, 1] or whole floats: one family."""
    wanted = weight((X, Y))
    for data in (
        [X, Y],
        (X.numpy(), Y.numpy()),
        (X.double().numpy(), Y.numpy().astype("int32")),
        (pd.DataFrame(X.numpy()), pd.Series(Y.numpy())),
        TensorDataset(X, Y),
        (X, Y[:, None]),
        (X, Y.bool()),
        (X.tolist(), Y.tolist()),
        [(x, y) for x, y in zip(X, Y, strict=True)],
        nd.Named({"a": X, "b": Y}, "a", "b"),
        nd.Named(Rows(), "input", "label"),
        (X, Y, torch.ones(40)),
    ):
        assert torch.equal(weight(data), wanted), type(data)


@right
def test_a_loader_of_pairs_is_one_of_triples_with_equal_weights() -> None:
    """(x, y, weight) batches with weights of 1 (or all 7) train as pairs do."""
    pairs = weight(DataLoader(TensorDataset(X, Y), batch_size=8))
    for value in (1.0, 7.0):
        triples = DataLoader(TensorDataset(X, Y, torch.full((40,), value)), batch_size=8)
        torch.testing.assert_close(weight(triples), pairs)


@right
def test_a_loader_of_dictionaries() -> None:
    """A loader that yields mappings is used by the names of its parts."""
    named = nd.Named(DataLoader(Rows(), batch_size=8), "input", "label")
    torch.testing.assert_close(weight(named), weight(DataLoader(TensorDataset(X, Y), batch_size=8)))


@refused("nd.Named")
def test_a_loader_of_dictionaries_without_names() -> None:
    """Without names it is not known which part is which; the message names the cure."""
    nd.fit(net(), DataLoader(Rows(), batch_size=8), **SHORT)


@right
def test_validation_data_in_any_container() -> None:
    """A loader, or arrays, as validation data stop training where tensors stop it."""
    found = [
        nd.fit(net(), (X, Y), valid, patience=2, epochs=4, batch_size=8).at(1.0)["weight"]
        for valid in ((X, Y), DataLoader(TensorDataset(X, Y), 16), (X.numpy(), Y.tolist()))
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


@right
def test_evaluating_a_loader_is_evaluating_its_tensors() -> None:
    """``evaluate`` on a loader of five batches gives the accuracy and NLL of the tensors."""
    family = nd.fit(net(), (X, Y), **SHORT)
    rows = [
        nd.evaluate(family, d, lams=[0.1]).members[0].metrics
        for d in ((X, Y), DataLoader(TensorDataset(X, Y), 8))
    ]
    assert rows[0].keys() == rows[1].keys()
    assert all(abs(rows[0][key] - rows[1][key]) < 1e-5 for key in rows[0])
    outputs = family.export(0.1)(X).detach()
    assert abs(rows[0]["accuracy"] - float((outputs.argmax(1) == Y).float().mean())) < 1e-6
    assert abs(rows[0]["nll"] - float(nn.functional.cross_entropy(outputs, Y))) < 1e-5


@right
def test_a_last_batch_of_one_with_batch_norm() -> None:
    """33 rows in batches of 16 with BatchNorm: trains from tensors and from a loader."""
    x, y = X[:33], Y[:33]
    normed = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=16)):
        family = nd.fit(normed, data, epochs=1, batch_size=16)
        assert bool(family.export(1.0)(x).isfinite().all())
        nd.shrink(normed, data, epochs=1, batch_size=16, lam=1e-3)


@right
def test_double_by_default() -> None:
    """``torch.set_default_dtype(float64)``: networks and lists are double, and work."""
    torch.set_default_dtype(torch.float64)
    try:
        family = nd.fit(net(), (X.tolist(), Y.tolist()), **SHORT)
        found = nd.evaluate(family, (X, Y), lams=[1.0], n_samples=2).members[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert family.dtype == torch.float64 and 0 <= found.metrics["accuracy"] <= 1


@right
def test_images_of_whole_numbers_in_a_loader() -> None:
    """Integer inputs to a network of floating-point numbers are those numbers."""
    whole = (X * 4).round().long()
    assert torch.equal(weight((whole, Y)), weight((whole.float(), Y)))


@refused("nan", "row 7", "column 2")
def test_nan_in_inputs() -> None:
    """NaN in the user's tensors: row and column are named, from Python, too."""
    x = X.clone()
    x[7, 2] = torch.nan
    nd.fit(net(), (x, Y), **SHORT)


@refused("inf", "row 3")
def test_infinity_in_targets() -> None:
    """Infinity in a target of a regression: the row is named."""
    y = X[:, :1].clone()
    y[3] = torch.inf
    nd.fit(net(1), (X, y), **SHORT)


@refused("nan", "row 5")
def test_nan_in_a_batch_of_a_loader() -> None:
    """NaN in row 5 of a loader's first batch."""
    x = X.clone()
    x[5, 0] = torch.nan
    nd.fit(net(), DataLoader(TensorDataset(x, Y), batch_size=8), **SHORT)


@refused("validation", "row 2")
def test_nan_in_validation_data() -> None:
    """One NaN in validation data is named before training starts, in place of ending it by patience."""
    x = X.clone()
    x[2, 1] = torch.nan
    nd.fit(net(), (X, Y), (x, Y), patience=3, **SHORT)


@refused("nan", "row 4")
def test_scoring_rows_with_nan() -> None:
    """A NaN row is not scored as class 0 by ``evaluate``."""
    x = X.clone()
    x[4, 0] = torch.nan
    nd.evaluate(nd.fit(net(), (X, Y), **SHORT), (x, Y), lams=[1.0])


@refused("-1", "row 9")
def test_negative_labels() -> None:
    """A label of -1 (unknown, in other tools) is no class."""
    y = Y.clone()
    y[9] = -1
    nd.fit(net(), (X, y), **SHORT)


@refused("3 classes")
def test_a_label_that_the_network_has_no_output_for() -> None:
    """Label 2 of a network with two outputs."""
    y = Y.clone()
    y[9] = 2
    nd.fit(net(), (X, y), **SHORT)


@refused("3 classes")
def test_a_label_only_in_the_test_part() -> None:
    """A class that the family does not know is refused by ``evaluate``, not counted as an error."""
    y = Y.clone()
    y[9] = 2
    nd.evaluate(nd.fit(net(), (X, Y), **SHORT), (X, y), lams=[1.0])


@refused("class")
def test_labels_in_words() -> None:
    """Labels as texts are refused with the form that is wanted."""
    nd.fit(net(), (X, np.array(["no", "yes"])[Y.numpy()]), **SHORT)


@refused("40", "39")
def test_one_target_too_few() -> None:
    """40 rows and 39 targets."""
    nd.fit(net(), (X, Y[:39]), **SHORT)


@refused("None")
def test_no_data() -> None:
    """None as data, as after a failed load."""
    nd.fit(net(), None, **SHORT)


@refused("[2, 4]")
def test_inputs_of_another_width() -> None:
    """Five columns expected, four given: refused in the rehearsal, with the shape."""
    nd.fit(nn.Linear(5, 2), (X, Y), **SHORT)


@refused("y[:, None]", "astype(int)")
def test_labels_between_classes() -> None:
    """A target [N] of 0.5 is neither a class nor a column of numbers."""
    nd.fit(net(), (X, Y.float() + 0.5), **SHORT)
