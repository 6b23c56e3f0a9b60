"""Containers: whatever data are held in gives the same examples, or is refused in words that name the place."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data import Dataset as TorchDataset

import netdial as nd
from netdial.core.errors import DataError, ShapeError
from netdial.data.memory import Named, as_dataset

pandas = pytest.importorskip("pandas")

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
W = torch.arange(12) / 4


class Rows(TorchDataset[Any]):
    """Rows made one at a time."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __len__(self) -> int:
        return 12

    def __getitem__(self, place: int) -> Any:
        return self.make(place)


def mapping(batch: dict[str, Tensor], **names: str) -> dict[str, Tensor]:
    return {names[key]: value for key, value in batch.items()}


FORMS: dict[str, Callable[[], Any]] = {
    "pair": lambda: (X, Y),
    "list": lambda: [X, Y],
    "Dataset": lambda: nd.Dataset(X, Y),
    "numpy": lambda: (X.numpy(), Y.numpy()),
    "lists of numbers": lambda: (X.tolist(), Y.tolist()),
    "list of tensors": lambda: (list(X), Y),
    "TensorDataset": lambda: TensorDataset(X, Y),
    "data set": lambda: Rows(lambda i: (X[i], int(Y[i]))),
    "data set of mappings": lambda: Rows(lambda i: {"image": X[i], "label": int(Y[i])}),
    "rows": lambda: [(X[i], int(Y[i])) for i in range(12)],
    "mapping": lambda: {"x": X, "y": Y},
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=5),
    "loader of mappings": lambda: DataLoader(
        Rows(lambda i: {"features": X[i], "target": int(Y[i])}), batch_size=5
    ),
    "named": lambda: Named({"a": X, "b": Y, "id": torch.arange(12)}, "a", "b"),
    "frames": lambda: (pandas.DataFrame(X.numpy()), pandas.Series(Y.numpy())),
    "frame of targets": lambda: (pandas.DataFrame(X.numpy()), pandas.DataFrame({"y": Y.numpy()})),
    "labels int32": lambda: (X, Y.to(torch.int32)),
    "labels uint8": lambda: (X, Y.to(torch.uint8)),
    "labels uint16": lambda: (X, Y.numpy().astype("uint16")),
    "labels [N, 1]": lambda: (X, Y[:, None]),
    "big-endian": lambda: (X.numpy().astype(">f4"), Y.numpy().astype(">i8")),
    "long double": lambda: (X.numpy().astype(np.longdouble), Y),
    "columns of one name": lambda: (pandas.DataFrame(X.numpy(), columns=["a", "a", "b"]), Y),
    "reversed": lambda: (X.numpy()[::-1], Y.numpy()[::-1]),
    "read-only": lambda: (np.broadcast_to(X.numpy(), (12, 3)), Y),
    "with a gradient": lambda: (X.clone().requires_grad_(), Y),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_gives_the_same_examples(form: str) -> None:
    found = as_dataset(FORMS[form](), "classes")
    x, y = (X.flip(0), Y.flip(0)) if form == "reversed" else (X, Y)
    assert torch.equal(found.x.float(), x) and torch.equal(found.y, y)
    assert found.y.dtype == torch.int64 and found.weight is None and not found.x.requires_grad


@pytest.mark.parametrize(
    "data",
    [
        (X, Y, W),
        TensorDataset(X, Y, W),
        DataLoader(TensorDataset(X, Y, W), batch_size=5),
        nd.Dataset(X, Y, weight=W),
        {"x": X, "y": Y, "weight": W},
        (X, Y, pandas.Series(W.numpy())),
    ],
)
def test_a_third_part_is_the_weight(data: Any) -> None:
    found = as_dataset(data, "classes")
    assert found.weight is not None and torch.equal(found.weight, W)
    assert torch.equal(found.y, Y)


def test_truth_values_are_two_classes() -> None:
    assert as_dataset((X, Y == 1), "classes").y.tolist() == (Y == 1).long().tolist()
    assert as_dataset((X > 0, Y), "classes").x.dtype == torch.float32


def test_whole_numbers_beyond_the_largest_of_torch_stay_positive() -> None:
    """They were turned round into negative ones."""
    found = as_dataset((np.full((12, 1), 2**63 + 2**40, dtype="uint64"), Y), "classes")
    assert found.x.double().tolist() == [[float(2**63 + 2**40)]] * 12


@pytest.mark.parametrize(
    ("y", "first"), [([0.0, 1.0, 2.0], "classes are whole"), ([0.5, 1.0, 2.0], "numbers are")]
)
def test_a_row_of_floating_point_is_told_both_ways(y: list[float], first: str) -> None:
    """The advice kind='regression' was refused for its shape in the next step."""
    with pytest.raises(DataError, match=rf"are no classes; {first}.*y\[:, None\]|astype\(int\)"):
        nd.fit(torch.nn.Linear(3, 3), (X[:3], torch.tensor(y)), epochs=1)


def test_quantities_for_a_network_of_one_output_are_told() -> None:
    with pytest.raises(ShapeError, match=r"if they are quantities give y.astype\(float\)"):
        nd.fit(torch.nn.Linear(3, 1), (X, torch.arange(12)), epochs=1)


def test_targets_of_a_regression_are_columns_of_numbers() -> None:
    for y in (X[:, :1], X[:, :1].numpy(), pandas.DataFrame(X[:, :1].numpy(), columns=["t"])):
        assert torch.equal(as_dataset((X, y), "numbers").y.float(), X[:, :1])
    assert as_dataset((X, Y[:, None]), "numbers").y.dtype == torch.float32


def with_nan(row: int, column: int) -> Tensor:
    x = X.clone()
    x[row, column] = torch.nan
    return x


def infinite() -> Tensor:
    return torch.full((12, 1), torch.inf)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "nothing": (lambda: None, "got NoneType; expected a pair"),
    "a path": (lambda: Path("a.csv"), r"nd.load_data\('a.csv'\)"),
    "one tensor": (lambda: X, r"one tensor \[12, 3\] and no targets"),
    "one frame": (lambda: pandas.DataFrame({"a": [1.0]}), "which column is the target"),
    "four parts": (lambda: (X, Y, W, W), r"tuple\(Tensor, Tensor, Tensor, Tensor\); expected"),
    "lengths": (lambda: (X, Y[:5]), "differ in length: 12 against 5"),
    "whole weights": (lambda: (X, Y, Y), "third part is torch.int64"),
    "negative weights": (
        lambda: (X, Y, W - 1),
        r"weight -1 in row 0 \(counted from 0\) is negative",
    ),
    "weights of another length": (lambda: (X, Y, W[:4]), r"weights of shape \[4\] for 12"),
    "flat inputs": (lambda: (X[:, 0], Y), r"inputs \[12\].*x\[:, None\]"),
    "nan": (lambda: (with_nan(3, 2), Y), r"inputs: nan in row 3, column 2 \(counted from 0\)"),
    "nan in a Dataset": (lambda: nd.Dataset(with_nan(7, 0), Y), "nan in row 7, column 0"),
    "nan in a frame": (
        lambda: (pandas.DataFrame(with_nan(3, 1).numpy(), columns=["a", "b", "c"]), Y),
        r"nan in row 3, column 1 \('b'\)",
    ),
    "nan in a picture": (
        lambda: (with_nan(3, 1).view(12, 1, 1, 3), Y),
        r"nan in row 3, position \[0, 0, 1\]",
    ),
    "nan in a loader": (
        lambda: DataLoader(TensorDataset(with_nan(7, 1), Y), batch_size=5),
        "batch 1: inputs: nan in row 2, column 1",
    ),
    "texts": (lambda: (X, [str(int(y)) for y in Y]), "targets: texts.*numpy.unique"),
    "a column of texts": (
        lambda: (pandas.DataFrame({"a": ["p", "q"] * 6, "b": range(12)}), Y),
        "no numbers in column 'a'",
    ),
    "an index in another order": (
        lambda: (pandas.DataFrame(X.numpy()), pandas.Series(Y.numpy())[::-1]),
        r"targets have the same index in another order.*y.loc\[x.index\]",
    ),
    "weights in another order": (
        lambda: (pandas.DataFrame(X.numpy()), Y, pandas.Series(W.numpy())[::-1]),
        "inputs and weights have the same index in another order",
    ),
    "no numbers at all": (lambda: (X.to("meta"), Y), "device meta"),
    "named columns of numpy": (
        lambda: (np.zeros(12, dtype=[("a", "f4"), ("b", "f4")]), Y),
        r"a structured array \(a, b\).*structured_to_unstructured",
    ),
    "dates": (lambda: (X.numpy().astype("datetime64[s]"), Y), "inputs: dates"),
    "negative labels": (lambda: (X, 2 * (Y > 0).long() - 1), "-1 in row 0 .* is negative"),
    "one-hot labels": (
        lambda: (X, torch.nn.functional.one_hot(Y)),
        r"no classes.*one-hot rows: y.argmax\(1\)",
    ),
    "complex": (lambda: (X + 1j, Y), "complex numbers"),
    "sparse": (lambda: (X.to_sparse(), Y), "sparse tensor"),
    "ragged": (lambda: ([[1.0], [2.0, 3.0]], [0, 1]), "all rows need the same shape"),
    "masked": (
        lambda: (np.ma.masked_less(X.numpy(), 0), Y),
        "masked array in which [0-9]+ numbers are masked",
    ),
    "several inputs of other lengths": (lambda: ((X, X[1:]), Y), "inputs differ in length: 11, 12"),
    "several inputs with huge numbers": (
        lambda: ((X, torch.full((len(X),), 2**24 + 1)), Y),
        "whole numbers up to 16777217",
    ),
    "names in doubt": (
        lambda: {"x": X, "mask": X, "y": Y},
        r"called x, mask, y; say which to use: nd.Named\(data, inputs='x', targets='y'\)",
    ),
    "a name that is not there": (
        lambda: Named({"a": X, "b": Y}, "a", "c"),
        "no part is called 'c'; there are a, b",
    ),
    "names for data without": (lambda: Named((X, Y), "a", "b"), "without names"),
    "an empty loader": (lambda: DataLoader([], batch_size=2), "empty"),
    "rows that fail": (
        lambda: Rows(lambda i: {}["here"]),
        r"reading batch 0 failed \(KeyError: 'here'\)",
    ),
    "rows of several shapes": (
        lambda: DataLoader(Rows(lambda i: (torch.zeros(1 + i // 6), 0)), batch_size=6),
        "differ in the shape of their inputs",
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_used_is_refused_in_words(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(DataError, match=words):
        as_dataset(make(), "classes", "training part")


def test_rows_of_frames_are_paired_as_they_come_where_their_labels_say_nothing_else() -> None:
    x, y = pandas.DataFrame(X.numpy()), pandas.Series(Y.numpy())
    for targets in (y, y.set_axis(list("abcdefghijkl")), y.set_axis([0] * 12)):
        assert torch.equal(as_dataset((x, targets), "classes").y, Y)
    order = x.sample(frac=1, random_state=0).index
    found = as_dataset((x.loc[order], y.loc[order]), "classes")
    assert torch.equal(found.y, Y[torch.tensor(order)])


def frame(*names: str) -> Any:
    return pandas.DataFrame(X.numpy(), columns=["a", "b", "c"])[list(names)]


MEETING: dict[str, Callable[[nd.Family, Any], Any]] = {
    "evaluate": lambda family, data: nd.evaluate(family, data, lams=2),
    "choose": lambda family, data: nd.choose(family, data, lams=2, shares=[0.0]),
    "average": lambda family, data: nd.average(family, data, lams=2),
    "surface": lambda family, data: nd.surface(family, data, lams=2, shares=[0.0]),
    "fit": lambda family, data: nd.fit(
        torch.nn.Linear(3, 3), (frame("a", "b", "c"), Y), data, epochs=1
    ),
    "shrink": lambda family, data: nd.shrink(
        nd.build("mlp:4", input_shape=(3,), n_outputs=3), (frame("a", "b", "c"), Y), data, epochs=1
    ),
}


@pytest.mark.parametrize("name", list(MEETING))
@pytest.mark.filterwarnings("ignore")
def test_columns_of_a_frame_are_those_of_the_training_part(name: str) -> None:
    """Columns in another order were taken for those of the training part, since only their number was looked at."""
    family = nd.fit(torch.nn.Linear(3, 3), (frame("a", "b", "c"), Y), epochs=1)
    meet = MEETING[name]
    with pytest.raises(DataError, match=r"in another order; give x\[list\(x_train.columns\)\]"):
        meet(family, (frame("c", "b", "a"), Y))
    renamed = frame("a", "b", "c").rename(columns={"b": "z"})
    with pytest.raises(DataError, match="without 'b'; with 'z'"):
        meet(family, (renamed, Y))
    for data in ((frame("a", "b", "c"), Y), (renamed.to_numpy(), Y), nd.Dataset(X, Y)):
        meet(family, data)


def test_infinity_in_the_targets_is_named() -> None:
    with pytest.raises(DataError, match="targets: inf in row 0, column 0"):
        as_dataset((X, infinite()), "numbers")


def test_a_large_sum_is_no_infinity() -> None:
    x = torch.full((4, 2), 3e38)
    assert as_dataset((x, torch.zeros(4, dtype=torch.int64)), "classes").x is not None


def test_reading_a_loader_moves_no_random_numbers_and_leaves_it_as_it_is() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True)
    before, sampler = torch.get_rng_state(), loader.sampler
    first = as_dataset(loader, "classes")
    assert torch.equal(torch.get_rng_state(), before)
    assert loader.sampler is sampler and loader.generator is None
    assert torch.equal(as_dataset(loader, "classes").y, first.y)


class Stream(IterableDataset[Any]):
    """A stream with or without a length."""

    def __iter__(self) -> Any:
        return iter([(X[i], int(Y[i])) for i in range(12)])


class Measured(Stream):
    """A stream that says how long it is."""

    def __len__(self) -> int:
        return 12


def test_a_stream_needs_a_length() -> None:
    with pytest.raises(
        DataError, match="its data set has no length; the objectives need the number"
    ):
        as_dataset(Stream(), "classes")
    assert torch.equal(as_dataset(Measured(), "classes").y, Y)


def test_numbers_held_as_objects_and_classes_from_one_are_refused_with_the_cure() -> None:
    net = nd.build("linear", input_shape=(2,), n_outputs=3)
    x, y = np.random.default_rng(0).random((9, 2)), np.arange(9) % 3
    with pytest.raises(DataError, match=r"inputs.*give array\.astype\(numpy\.float32\)"):
        nd.fit(net, (x.astype(object), y), epochs=1)
    with pytest.raises(DataError, match=r"targets.*give array\.astype\(int\)"):
        nd.fit(net, (x, y.astype(object)), epochs=1)
    tensors = torch.tensor(x, dtype=torch.float32), torch.tensor(y + 1)
    for data in (tensors, torch.utils.data.TensorDataset(*tensors)):
        with pytest.raises(ShapeError, match=r"give y - 1 if yours begin at 1"):
            nd.fit(net, data, epochs=1)


def test_texts_as_targets_of_rows_are_told_how_classes_are_numbered() -> None:
    rows: Any = [(torch.randn(3), name) for name in "abab"]
    forms: list[Any] = [rows, DataLoader(rows, batch_size=2)]
    for data in forms:
        with pytest.raises(DataError, match=r"targets: texts .* numpy\.unique"):
            as_dataset(data)


@pytest.mark.parametrize("library", ["torch", "numpy", "random"])
def test_examples_that_are_drawn_anew_are_told_of_where_they_are_read_once(library: str) -> None:
    draws = {"torch": lambda: torch.randn(()), "numpy": np.random.randn, "random": random.random}
    rows = Rows(lambda place: (X[place] + float(draws[library]()), Y[place]))
    for data in (rows, DataLoader(rows, 5)):
        with pytest.warns(UserWarning, match="others each time they are read"):
            as_dataset(data)
    net = torch.nn.Linear(3, 3)
    with pytest.warns(UserWarning, match="training part: examples are others"):
        nd.fit(net, rows, epochs=1, batch_size=6)
    nd.fit(net, DataLoader(rows, 6), epochs=1)  # each epoch reads them anew
    as_dataset(DataLoader(Rows(lambda place: (X[place], Y[place])), 5, shuffle=True))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 5}, ""),
        ({"batch_size": 4, "drop_last": True}, ""),
        ({"sampler": SubsetRandomSampler(range(8))}, ""),
        ({"batch_size": 5, "drop_last": True}, "drop_last=True leaves out 2 of 12 examples"),
        (
            {"sampler": WeightedRandomSampler([1.0] * 12, 12)},
            "12 examples of one pass, as its WeightedRandomSampler gave them of 12",
        ),
        (
            {"sampler": RandomSampler(range(12), replacement=True)},
            "12 examples of one pass, as its RandomSampler gave them of 12",
        ),
    ],
)
def test_rows_that_a_pass_leaves_out_or_repeats_are_told_of(
    options: dict[str, Any], told: str
) -> None:
    loader = DataLoader(TensorDataset(X, Y), **options)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        as_dataset(loader, part="validation part")
    start = "validation part: a DataLoader is read once here: "
    assert [str(w.message).removeprefix(start).removeprefix("the part is the ") for w in seen] == (
        [told] if told else []
    )
