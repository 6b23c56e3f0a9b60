"""One door to all data: a name, a file or a function of the user's becomes ``Splits``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from netdial.core import errors
from netdial.core.arguments import checked
from netdial.core.errors import ConfigError
from netdial.data import embedded, user
from netdial.data.dataset import Kind, Splits
from netdial.data.images import cifar10, mnist
from netdial.data.tables.files.frame import Frame
from netdial.data.tables.options import SUFFIXES, as_list, is_table, table_options
from netdial.data.tables.source import Share
from netdial.data.tables.table import load_table

FILES = ("mnist", "cifar10")


def names() -> tuple[str, ...]:
    """Returns the names of the data sets that netdial knows."""
    return (*embedded.LOADERS, *FILES)


@checked
def load_data(
    name: str | Path | Frame,
    *,
    data_dir: str | Path | None = None,
    target: str | Sequence[str] | None = None,
    kind: Kind | None = None,
    seed: int = 0,
    valid: Share | None = None,
    test: Share | None = None,
    flat: bool = False,
    **table: Any,
) -> Splits:
    """Returns the data called ``name``, split and checked.

    Args:
        name: One of ``names()``, a table (a path ending in .csv, .tsv, .parquet or .xlsx; text also as .gz), a table in memory
            (a frame of pandas or polars, a table of pyarrow), or ``package.module:function`` (whose module is left aside
            here; ``load_user`` gives it too).
        data_dir: Folder of MNIST, CIFAR-10 and tables; default: the environment variable
            NETDIAL_DATA.
        target: Column to predict, or several of numbers, as a list or with commas between; for tables only.
        kind: Overrules the kind of task; for tables and user functions only.
        seed: Decides the split; the same seed always gives the same parts.
        valid: Fraction for validation; default 0.2, or 0.1 of the training images for MNIST and
            CIFAR-10. For tables also a file or frame that holds the part.
        test: Fraction for the test part; default 0.2. MNIST and CIFAR-10 have a test part of their
            own. For tables also a file or frame.
        flat: Images as vectors, for networks of fully connected layers.
        **table: How a table is read and divided: the fields of ``netdial.data.TableOptions``, such as ``sep=";"``,
            ``na=("?",)``, ``drop=("id",)``, ``group_column="patient"``.

    Raises:
        ConfigError: if the name is unknown, or an option does not go with it.
        DataError: if the data are missing, damaged or cannot be learnt from.
        MissingExtra: if a library of the extra ``data`` is needed and not installed.
    """
    name = name if isinstance(name, Frame) else str(name)
    target = target if target is None or isinstance(target, str) else as_list(target)
    if isinstance(name, Frame) or is_table(name):
        return load_table(
            name,
            target=target,
            data_dir=data_dir,
            kind=kind,
            seed=seed,
            valid=valid,
            test=test,
            options=table_options(table),
        )
    given = {option: value for option, value in table.items() if value not in (None, (), [])}
    if name in embedded.LOADERS:
        _refuse(name, target=target, kind=kind, **given)
        return embedded.load_embedded(
            name, seed=seed, valid=_fraction(name, valid), test=_fraction(name, test)
        )
    if name in FILES:
        _refuse(name, target=target, kind=kind, test=test, **given)
        read = mnist.load_mnist if name == "mnist" else cifar10.load_cifar10
        return read(data_dir, seed=seed, valid=_fraction(name, valid), flat=flat)
    if ":" in name:
        _refuse(name, target=target, valid=valid, test=test, **given)
        return user.load_user(name, kind=kind, seed=seed)[1]
    raise ConfigError(
        f"{errors.unknown('data', name, names())}; or give a table ({', '.join(SUFFIXES)}), or package.module:function"
    )


def _fraction(name: str, share: Share | None) -> float | None:
    """Returns a fraction of the rows; files of their own are for tables only."""
    if isinstance(share, str | Path | Frame):
        raise ConfigError(
            f"data {name!r}: a part of its own ({share if isinstance(share, str | Path) else 'a frame'}) is for tables; give a "
            "fraction such as 0.2"
        )
    return share


def _refuse(name: str, **options: object) -> None:
    """Raises ConfigError if an option is given that data of this sort does not have."""
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise ConfigError(
            f"data {name!r} takes no {' and no '.join(given)}; leave it out (its own is used)"
        )
