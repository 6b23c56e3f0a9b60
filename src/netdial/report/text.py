"""Numbers and sentences as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from netdial.core.best import SQUARED_ERROR, signed
from netdial.runs.curves import MemberRow

NO_BREAK = "\u00a0"
"""A space at which lines do not end."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3, *, padded: bool = False) -> str:
    """Returns a number with so many significant digits; very large and small ones as a power of ten.

    Zeros at the end are left out unless ``padded``, which suits a column.

    >>> number(0.0316227), number(123456.0), number(1e-5), number(2.5e7), number(None)
    ('0.0316', '123456', '10⁻⁵', '2.5×10⁷', '–')
    """
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -4 <= exponent < 6:
        return power_of_ten(value, digits)
    text = signed(value, f".{max(digits - 1 - exponent, 0)}f")
    return text if padded or "." not in text else text.rstrip("0").rstrip(".")


def power_of_ten(value: float, digits: int = 3) -> str:
    """Returns a number as a mantissa of so many digits times a power of ten.

    >>> power_of_ten(1000.0), power_of_ten(-0.0025)
    ('10³', '−2.5×10⁻³')
    """
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
    sign = "−" if value < 0 else ""
    ten = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return sign + (ten if mantissa == "1" else f"{mantissa}×{ten}")


def fixed(value: float | None, places: int = 3) -> str:
    """Returns a number with a fixed number of decimal places, for columns.

    >>> fixed(0.12345), fixed(float("nan"))
    ('0.123', 'not finite')
    """
    return _or_mark(value, f".{places}f")


def percent(value: float | None, places: int = 1) -> str:
    """Returns a ratio as a percentage.

    >>> percent(0.97312), percent(None)
    ('97.3%', '–')
    """
    return _or_mark(value, f".{places}%")


def count(value: float | None) -> str:
    """Returns a number without decimals, thousands set apart by thin spaces.

    >>> count(39760.2)
    '39\u202f760'
    """
    return _or_mark(value, ",.0f").replace(",", "\u202f")


def size_words(size: float) -> str:
    """Returns a size in bytes, kilobytes or megabytes of 1000.

    >>> size_words(18900.0)
    '18.9 kB'
    """
    for factor, unit in ((1e6, "MB"), (1e3, "kB")):
        if size >= factor:
            return f"{number(size / factor)} {unit}"
    return f"{count(size)} bytes"


def training_words(*, done: bool) -> str:
    """Returns what a run did: one that was stopped has not trained for the epochs of its configuration.

    >>> training_words(done=False)
    'One run began to train'
    """
    return "One run trained" if done else "One run began to train"


def sentence(config: dict[str, Any], *, done: bool = True) -> str:
    """Returns what was trained on what, in one sentence; what the configuration does not say is left out."""
    parts = [training_words(done=done)]
    parts.append(
        f"a family of {config['model']} networks" if "model" in config else "a family of networks"
    )
    if "data" in config:
        parts.append(f"on {config['data']}{_sizes(config)}")
    if "objective" in config:
        parts.append(f"with the {config['objective']} objective")
    if "map" in config:
        parts.append(f"and a {config['map']} map from complexity to parameters")
    if "lo" in config and "hi" in config:
        parts.append(
            f"for every complexity λ from {_plain(config['lo'])} to {_plain(config['hi'])}"
        )
    if "epochs" in config:
        parts.append(epochs_words(config["epochs"]))
    return " ".join(parts) + "." + units_sentence(config)


def epochs_words(epochs: Any) -> str:
    """Returns how long was trained.

    >>> epochs_words(1), epochs_words(20)
    ('in 1 epoch', 'in 20 epochs')
    """
    return f"in {epochs} epoch{'' if epochs == 1 else 's'}"


def units_sentence(config: dict[str, Any]) -> str:
    r"""Returns which unit errors are in, as a sentence to follow another; empty where the configuration does not say.

    >>> units_sentence({"units": "price €"})
    ' RMSE is in units of price\xa0€.'
    """
    units, count_ = config.get("units"), config.get("n_outputs")
    if not units:
        return ""
    if isinstance(count_, int) and count_ > 1:
        how = "its standard deviations (over training rows)"
        if "error_unit" not in config:  # a run of before
            how = "its own unit, so large numbers weigh most"
        return f" RMSE is over the targets {units}, each in {how}."
    return f" RMSE is in units of {units.replace(' ', NO_BREAK) if len(units) < 30 else units}."


MEASURES = {
    "valid/nll": ("log loss", "log loss"),
    "valid/rmse": ("RMSE", SQUARED_ERROR),
    "valid/accuracy": ("accuracy", "error rate"),
}
"""Record that decides -> what it is called, and the loss whose differences are judged."""


def loss_words(metric: str, config: Mapping[str, Any]) -> str:
    """Returns what differences are counted in by the metric of a record, with its unit where that is known.

    >>> loss_words("valid/nll", {}), loss_words("test/rmse", {"units": "price"}), loss_words("test/rmse", {})
    ('log loss', 'squared error in variances of the target', 'squared error')
    """
    words = MEASURES.get(f"valid/{metric.rpartition('/')[2]}", ("", "loss"))[1]
    is_raw = words == SQUARED_ERROR and not config.get("units")  # targets that nobody standardised
    return words.partition(" in ")[0] if is_raw else words


def value_of(metric: str, value: float) -> str:
    """Returns the value of a metric as text.

    >>> value_of("valid/accuracy", 0.9), value_of("valid/nll", 0.31234)
    ('90.0%', '0.312')
    """
    if metric.endswith("/accuracy"):
        return percent(value)
    if metric.endswith("/r2"):
        return fixed(value)
    return number(value, 4 if metric.endswith("/rmse") else 3)


def worth(member: MemberRow, metric: str) -> str:
    """Returns what a member is worth by the metric that decides, with its accuracy or R² beside it.

    >>> worth(MemberRow(1.0, {"valid/nll": 0.31234, "valid/accuracy": 0.9}), "valid/nll")
    'log loss 0.312 (accuracy 90.0%)'
    """
    name = MEASURES.get(metric, (metric, ""))[0]
    text = f"{name} {value_of(metric, member.values[metric])}"
    beside = {
        "valid/nll": ("valid/accuracy", "accuracy", percent),
        "valid/rmse": ("valid/r2", "R²", fixed),
    }
    other, words, show = beside.get(metric, ("", "", fixed))
    value = member.get(other)
    return text if value is None else f"{text} ({words} {show(value)})"


def at_lam(lam: float) -> str:
    """Returns "λ = value" with spaces that do not break."""
    return f"λ\u00a0=\u00a0{number(lam)}"


def _sizes(config: dict[str, Any]) -> str:
    """Returns the sizes of the parts in brackets."""
    words = {"n_train": "training", "n_valid": "validation", "n_test": "test"}
    sizes = [
        f"{count(config[key])} {word}" for key, word in words.items() if _is_number(config.get(key))
    ]
    return f" ({', '.join(sizes)} examples)" if sizes else ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(value: Any) -> str:
    return number(value) if _is_number(value) else str(value)


def _or_mark(value: float | None, spec: str) -> str:
    if value is None:
        return "–"
    return signed(value, spec) if math.isfinite(value) else "not finite"


def metric_of(name: str) -> tuple[str, Callable[[float | None], str]]:
    """Returns the heading of a metric, and how its values are written."""
    known = {"rmse": "RMSE", "nll": "NLL", "r2": "R²", "balanced_accuracy": "balanced accuracy"}
    if name.endswith("accuracy"):
        return known.get(name, name), percent
    return known.get(name, name), in_units if name == "rmse" else fixed


def in_units(value: float | None) -> str:
    """Returns a number in a unit of the data, which may be of any size, with four significant digits.

    >>> in_units(374.2309), in_units(0.2), in_units(2.238e-31)
    ('374.2', '0.2000', '2.238×10⁻³¹')
    """
    return number(value, 4, padded=True)
