"""A network of the user's own class that takes one tensor besides: all of its inputs, packed.

Called as its class is, with several inputs or by name, it does what its class does. Called with one tensor it takes the inputs
out of it and gives the one tensor that is scored, until it is handed back to the user (``as_its_class``). Leaves keep their
names, and the class its name.
"""

from __future__ import annotations

import copyreg
import inspect
from functools import cache
from typing import Any

from torch import fx, nn

from netdial.core.errors import ConfigError
from netdial.core.inputs.modules import PartedInputs, ScoredOutput, direct
from netdial.core.inputs.outputs import structured
from netdial.core.inputs.packing import Packing
from netdial.core.inputs.pretrained import fitting

_PARTS, SCORED = "inputs_apart", "output_scored"
_HANDED_BACK = "_netdial_as_its_class"
"""What is noted at a network whose every call is one of its class."""


class OneTensor(nn.Module):
    """What is put before the user's class."""

    @property
    def packing(self) -> Packing | None:
        """How inputs lie in one tensor; None for a network of one input."""
        parts = self._modules[_PARTS]
        assert isinstance(parts, PartedInputs)
        return parts.packing

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the tensor that is scored, of one packed tensor; or what the class returns, of anything else."""
        return (
            self.of_packed(args[0])
            if _is_packed(self, args, kwargs)
            else self.whole(*args, **kwargs)
        )

    def whole(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what the class returns."""
        args, kwargs = as_taken(super().forward, args, kwargs)
        return super().forward(*args, **kwargs)

    def of_packed(self, x: Any) -> Any:
        """Returns the tensor that is scored ``[B, ...]``, of packed inputs ``[B, F]``."""
        apart: Any = self._modules[_PARTS]
        pick: Any = self._modules[SCORED]
        packing = self.packing
        found = apart(x)
        parts = [found[number] for number in range(1 if packing is None else len(packing.names))]
        args, kwargs = (tuple(parts), {}) if packing is None else packing.call(parts)
        args, kwargs = as_taken(super().forward, args, kwargs)
        return pick(structured(super().forward(*args, **kwargs)))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Returns how ``pickle`` and ``torch.save`` keep it: by the user's class, for this one has no place to be found at."""
        kept: Any = super().__reduce_ex__(protocol)
        if kept[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return kept
        return _empty, (own_class(self), *kept[1][1:]), *kept[2:]


class PretrainedOneTensor(OneTensor):
    """What is put before the class of a model that has ``save_pretrained``."""

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Writes a folder that ``from_pretrained`` of the model's own class opens; see ``core.inputs.pretrained``.

        Raises:
            ConfigError: the configuration cannot say how the model was cut.
        """
        return fitting(self, own_class(self), self.packing).save_pretrained(*args, **kwargs)


class OneTensorGraph(fx.GraphModule):
    """The graph of such a network; called with several inputs or by name it gives all outputs, in plain dicts and tuples."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what the network gives."""
        return (
            super().__call__(*args)
            if _is_packed(self, args, kwargs)
            else self.whole(*args, **kwargs)
        )

    def whole(self, *args: Any, **kwargs: Any) -> Any:
        """Returns all outputs."""
        several = len(args) == 1 and isinstance(args[0], dict | tuple | list)
        if several and not kwargs:  # all of them in one argument
            args, kwargs = ((), args[0]) if isinstance(args[0], dict) else (tuple(args[0]), {})
        packing = packing_of(self)
        parts = [*args, *kwargs.values()] if packing is None else packing.arranged(args, kwargs)
        with direct(parts):
            return super().__call__(parts[0])

    def __reduce__(self) -> Any:
        """Returns how it is pickled: as any graph, which is one of this kind again when it is opened."""
        function, args = super().__reduce__()
        return _graph_again, (function, args, type(self).__name__, dict(self.meta))


AnyOneTensor = OneTensor | OneTensorGraph
"""Networks that know their inputs: a user's class, and the graph of one."""


def as_its_class(net: Any) -> Any:
    """Returns a network that is handed back to the user: the same object, of which every call is one of its class."""
    if isinstance(net, AnyOneTensor):
        _notes(net)[_HANDED_BACK] = True
    return net


def _is_packed(net: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Returns whether what a network is called with is its inputs in one tensor."""
    one = len(args) == 1 and not kwargs and not isinstance(args[0], dict | tuple | list)
    return one and _HANDED_BACK not in _notes(net)


def _notes(net: Any) -> dict[str, Any]:
    return net.meta if isinstance(net, fx.GraphModule) else vars(net)


def taken_in(net: nn.Module) -> nn.Module:
    """Returns a network that takes one tensor besides, of the leaves of one that was handed back; others as they are."""
    if not isinstance(net, AnyOneTensor) or _HANDED_BACK not in _notes(net):
        return net
    made = _beside(net)
    del _notes(made)[_HANDED_BACK]
    return made  # type: ignore[no-any-return]


def scoring(net: nn.Module, *, every: bool) -> nn.Module:
    """Returns a network that gives all outputs in one tensor, or the scored one alone, of the leaves of the one given."""
    if not isinstance(net, AnyOneTensor) or gives_all(net) == every:
        return net
    made = _beside(net)
    made._modules[SCORED] = ScoredOutput(every=every).train(net.training)
    return made  # type: ignore[no-any-return]


def gives_all(net: nn.Module) -> bool:
    """Returns whether a network gives all its outputs in one tensor."""
    return isinstance(net, AnyOneTensor) and bool(net._modules[SCORED].every)  # type: ignore[union-attr]


def _beside(net: nn.Module) -> Any:
    """Returns another network of the layers and leaves of one."""
    if isinstance(net, fx.GraphModule):
        return _graph(net, type(net).__name__, dict(net.meta))
    return _shallow(net, type(net))


def _shallow(net: nn.Module, kind: type[nn.Module]) -> Any:
    """Returns a network of a class with the layers and leaves of another one."""
    made: Any = object.__new__(kind)
    vars(made).update(vars(net))
    for held in ("_modules", "_parameters", "_buffers"):
        setattr(made, held, dict(vars(net)[held]))
    return made


def _graph(graph: fx.GraphModule, name: str, meta: dict[str, Any]) -> OneTensorGraph:
    """Returns a graph that knows its inputs, of the operations, layers and leaves of another one."""
    made = OneTensorGraph(graph, graph.graph, class_name=name)
    made.meta, made.training = meta, graph.training
    return made


def own_class(net: nn.Module) -> type[nn.Module]:
    """Returns the class of a network as the user wrote it."""
    if not isinstance(net, OneTensor):
        return type(net)
    before = (OneTensor, PretrainedOneTensor)
    return next(kind for kind in type(net).__mro__ if kind.__bases__[0] in before).__bases__[1]


def as_taken(
    run: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns inputs as a forward pass takes them: all in one argument, ``forward(self, batch)``, if it has none for each."""
    given = inspect.signature(run).parameters.values()
    single = len([p for p in given if p.default is p.empty]) == 1
    if not single or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in given):
        return args, kwargs
    names = {p.name for p in given}
    if kwargs and not args and not names & set(kwargs):
        return (dict(kwargs),), {}
    return ((args,), kwargs) if len(args) > len(names) else (args, kwargs)


def packing_of(net: nn.Module) -> Packing | None:
    """Returns how the inputs of a network, or of its graph, lie in one tensor; None for a network of one input."""
    return next((m.packing for m in net.modules() if isinstance(m, PartedInputs)), None)


@cache
def _kind(kind: type[nn.Module]) -> type[nn.Module]:
    """Returns the class of a user's network that takes one tensor besides."""
    named = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    pretrained = hasattr(kind, "save_pretrained") and hasattr(kind, "config_class")
    return type(kind.__name__, (PretrainedOneTensor if pretrained else OneTensor, kind), named)


def _empty(own: Any, *args: Any) -> Any:
    """Returns a network of such a class before its state is read."""
    kind: Any = _kind(own)
    return kind.__new__(kind, *args)


def _graph_again(function: Any, args: tuple[Any, ...], name: str, meta: dict[str, Any]) -> Any:
    """Returns a graph of such a network that was pickled."""
    return _graph(function(*args), name, meta)


def _plain(graph: nn.Module) -> type[nn.Module]:
    """Returns a class that does what a graph does; a graph's own class cannot stand behind another, nor be copied there."""
    kind: Any = type(graph)
    return type(kind.__name__, (nn.Module,), {"forward": kind.forward, "__doc__": kind.__doc__})


def one_tensor(net: nn.Module, packing: Packing | None) -> nn.Module:
    """Returns a network that takes one tensor besides; it shares all layers and leaves with the one given.

    Raises:
        ConfigError: it takes other inputs already, computes in half precision, or was made by ``torch.export``.
    """
    if isinstance(net, AnyOneTensor):
        own = packing_of(net)
        if own is not None and packing is not None and not own.serves(packing):
            raise ConfigError(
                f"network {type(net).__name__}: takes inputs {own}; got {packing}; give those that it was made for"
            )
        return taken_in(net)
    if packing is not None and any(
        p.is_floating_point() and p.element_size() < 4 for p in net.parameters()
    ):
        raise ConfigError(
            f"network {type(net).__name__}: computes in half precision, in which several inputs cannot be held as one tensor; "
            "give it in single precision, net.float()"
        )
    graph = isinstance(net, fx.GraphModule)
    if graph and "train" in vars(net):  # it refuses both modes
        raise ConfigError(
            f"network {type(net).__name__}: was made by torch.export, whose programs of several inputs or outputs cannot be "
            "trained or cut; give the network that it was exported from"
        )
    kind: Any = _plain(net) if graph else type(net)
    made = _shallow(net, _kind(kind))
    if graph:
        del vars(made)["_graph"]  # its code is the class's forward pass
    for name, end in ((_PARTS, PartedInputs(packing)), (SCORED, ScoredOutput())):
        made._modules[name] = end.train(net.training)
    return made  # type: ignore[no-any-return]
