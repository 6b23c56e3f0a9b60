"""Loaded models that predict from rows as people have them: the same objects, of classes with a method more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from torch import fx, nn

from netdial.core.errors import ConfigError, warn
from netdial.core.inputs import OneTensor, taken_in
from netdial.family.family import Family
from netdial.models.predict import predictions
from netdial.models.use import Use

if TYPE_CHECKING:
    import pandas as pd

Net = TypeVar("Net", bound=nn.Module)


class Predicts:
    """What a loaded model can do besides: predict from rows as people have them.

    Attributes:
        use: how the model is used; None if its file does not say.
    """

    use: Use | None

    def predict(
        self,
        rows: Any,
        *,
        lam: float | None = None,
        n_samples: int = 0,
        level: float = 0.9,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Returns predictions as a table, one line for each row; see ``netdial.models.predict.predictions``.

        Warns of what training did not show.
        """
        assert isinstance(self, nn.Module)
        if self.use is None:
            raise ConfigError(
                "this model does not say how rows become inputs; save it with nd.save(…, data=what it was trained on), or "
                "call it on tensors as the network takes them"
            )
        found, remarks = predictions(
            taken_in(self), self.use, rows, lam=lam, n_samples=n_samples, level=level, seed=seed
        )
        if remarks:
            warn("; ".join(remarks))
        return found

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies and pickles as the class of before, made ready again."""
        whole = super().__reduce_ex__(protocol)
        bases = type(self).__bases__
        if isinstance(whole, tuple) and whole[1] == (type(self),):  # by copyreg.__newobj__
            return (_revived, (bases[1].__new__, (bases[1],)), *whole[2:])
        if isinstance(self, OneTensor) and isinstance(whole, tuple):
            return (_revived, whole[:2], *whole[2:])
        return whole


def ready(model: Net, use: Use | None) -> Net:
    """Returns a model that can ``predict``: the same object, of a class that adds it to its own.

    A network stays as it is if nothing is known of its use, or if its class has a method ``predict`` of its own. That of a
    family takes parameters and tensors, which is ``outputs``, too; a loaded one predicts from rows.
    """
    own = getattr(type(model), "predict", None)
    if own is Family.predict or (own is None and use is not None):
        use = None if use is None else use.reading(model)
        if isinstance(model, fx.GraphModule):
            _make_graph_ready(model, use)
        else:
            model.__class__ = _ready(type(model))
        model.use = use  # type: ignore[assignment]
    return model


def _make_graph_ready(graph: fx.GraphModule, use: Use | None) -> None:
    """Gives a graph a class of its own again, as torch does, but one that can ``predict``.

    Every graph is the only object of its class, which holds its code. A class derived from that one would be taken for the
    kind of the graph when it is copied, and the copy would call itself without end.
    """
    kind = next(c for c in type(graph).__mro__ if not c.__qualname__.endswith("GraphModuleImpl"))
    base = _ready(kind)
    base.use = use  # copies of a graph take no attributes along
    graph.__class__ = type(base.__new__(base))
    graph.recompile()


def _ready(base: type) -> Any:
    return type(
        base.__name__, (Predicts, base), {"__module__": base.__module__, "__doc__": base.__doc__}
    )


def _revived(make: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    made = make(*args)
    made.__class__ = _ready(type(made))
    return made
