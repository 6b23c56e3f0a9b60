"""The two trainings of a compression: weights go until the code is as short as asked for, then values are shared and trained.

Both run in the library's loop: they can be interrupted, and go on from a checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netdial.compression.codebook import Codebook
from netdial.compression.exact import as_held
from netdial.compression.pipeline.config import CompressConfig, ResolvedConfig
from netdial.compression.pipeline.leaves import Division
from netdial.compression.pipeline.quantise import curvature_of, encoded, share_network
from netdial.compression.pipeline.rate import Array
from netdial.compression.pipeline.sparsify import GRADIENT, Sparsify, bits_of, damage_of
from netdial.compression.pipeline.training import Book, Masks, SqueezeMethod, Squeezing
from netdial.core.storage.container import load_tree, save_tree, tensor_digest
from netdial.data.dataset import Dataset
from netdial.measure.compare import loss_words, terms_of
from netdial.measure.forward import outputs
from netdial.measure.noise import under_errors
from netdial.nets.foreign import copy_network
from netdial.task import Task
from netdial.train.config import TrainConfig, make
from netdial.train.loop import Epoch, Progress, resume, train
from netdial.train.session import least_examples, make_feed

_KIND = "sparse network"
"""Kind of the files that a search keeps its levels in."""
PRUNED_PART = 0.6
"""Part of a training in which weights go; what is left recovers in the rest."""

_REMEMBERS = 0.99
_DISTIL = 0.7
_TUNING_RATE = 0.5
"""Rate of the training of shared values, compared with that of the weights."""


@dataclass(frozen=True, eq=False)
class Context:
    """What every training of a compression works on.

    Attributes:
        data: training part.
        task: what is predicted.
        config: settings.
        division: which leaves are what.
        teacher: the network given.
        augment: how images are varied, as in ``train.feed``.
        decay: strength of the penalty ½ decay ‖w‖² per example, that of the member's own objective.
        spread: log standard deviations of the posterior by leaf; empty without one.
        folder: where checkpoints of a training under way lie; None keeps none.
        report: told of every finished epoch, with the name of the training.
    """

    data: Dataset
    task: Task
    config: CompressConfig
    division: Division
    teacher: nn.Module
    augment: str | None = None
    decay: float = 0.0
    spread: Mapping[str, Tensor] | None = None
    folder: Path | None = None
    report: Callable[[str, Epoch, int], None] | None = None

    @property
    def distil(self) -> float:
        """Part of the loss that asks for the outputs of the teacher."""
        return _DISTIL if self.config.distil is None else self.config.distil

    @property
    def loss_words(self) -> str:
        """What losses are, with their unit."""
        return loss_words(self.task, self.config.metric)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What makes two searches the same one; nothing without a folder to find another one in."""
        if self.folder is None:
            return {}
        rows = {n: getattr(self.data, n) for n in ("x", "y", "weight", "shift", "scale")}
        told = {"data": rows, "given": self.teacher.state_dict(), "spread": self.spread or {}}
        digests = {
            part: {name: tensor_digest(t) for name, t in tensors.items() if t is not None}
            for part, tensors in told.items()
        }
        own = {"augment": self.augment, "decay": self.decay, "task": self.task.name}
        return digests | own | asdict(self.config)

    @property
    def lengths(self) -> ResolvedConfig:
        """How long trainings are."""
        return self.config.resolved(len(self.data))

    def settings(self, epochs: int, lr: float) -> TrainConfig:
        """Returns the settings of one training."""
        own = {"batch_size": self.lengths.batch_size, "seed": self.config.seed}
        return make(TrainConfig, {"epochs": epochs, "lr": lr, **own})


def thinner(
    context: Context, net: nn.Module, masks: Mapping[str, Tensor], goal: float, name: str
) -> tuple[nn.Module, Masks]:
    """Returns a network of fewer weights, trained while they go, and which are left; the one given stays as it is.

    Args:
        context: data and settings.
        net: where training begins.
        masks: which of its weights there are.
        goal: bits that the code of the weights is to have, by the law of rows and columns.
        name: of the training, for its checkpoint and progress; part of it is the seed.
    """
    config, leaves = context.config, context.division.weights
    damage = damage_of(
        config.criterion, leaves, context.data, context.task, context.spread, config.seed
    )
    settings = context.settings(context.lengths.epochs, config.lr)
    feed = _feed(context, settings, net)
    prune = Sparsify(
        damage, leaves, goal, bits_of(masks, config.value_bits), int(PRUNED_PART * feed.steps * settings.epochs),
        config.schedule, config.value_bits,
    )  # fmt: skip
    remembers = _REMEMBERS if config.criterion == GRADIENT else 0.0
    method = SqueezeMethod(
        settings,
        context.task,
        feed.steps,
        prune,
        remembers,
        _teacher(context),
        context.distil,
        context.decay,
    )
    state = method.init(copy_network(net), masks)
    _run(context, method, state, feed, name)
    return state.net.eval(), state.masks


def recipe_alone(context: Context, net: nn.Module, name: str) -> nn.Module:
    """Returns the dense control: the same training, epochs and rates, with nothing removed and nothing shared."""
    for epochs, lr, step in _schedule(context):
        settings = context.settings(epochs, lr)
        feed = _feed(context, settings, net)
        method = SqueezeMethod(
            settings,
            context.task,
            feed.steps,
            None,
            0.0,
            _teacher(context),
            context.distil,
            context.decay,
        )
        state = method.init(copy_network(net))
        _run(context, method, state, feed, f"{name}-{step}")
        net = state.net.eval()
    return net


def _schedule(context: Context) -> list[tuple[int, float, str]]:
    """Returns (epochs, rate, name) of the trainings of one compression."""
    lengths, lr = context.lengths, context.config.lr
    found = [(lengths.epochs, lr, "thin"), (lengths.tuning, _TUNING_RATE * lr, "share")]
    return [one for one in found if one[0]]


@dataclass(frozen=True, eq=False)
class Values:
    """A sparse network and the values that its weights share.

    Attributes:
        net: the network.
        masks: which of its weights there are.
        books: leaf -> shared values.
        price: bits of loss that a bit of the file was worth when values were chosen.
    """

    net: nn.Module
    masks: Mapping[str, Tensor]
    books: Mapping[str, Book]
    price: float

    def stored(self) -> tuple[nn.Module, dict[str, Codebook | Array]]:
        """Returns the network of these values, and its tensors as they are stored."""
        net = copy_network(self.net)
        tensors = encoded(net, self.books)
        load(net, tensors)
        return net.eval(), tensors


def shared(
    context: Context,
    net: nn.Module,
    masks: Mapping[str, Tensor],
    *,
    bits: float | None = None,
    price: float | None = None,
) -> Values:
    """Returns values that the weights of a network can share; the network stays as it is.

    Args:
        context: data and settings.
        net: the sparse network.
        masks: which of its weights there are.
        bits: bits of value of a weight on average; or
        price: bits of loss that a bit of the file is worth.
    """
    books, price = share_network(
        net, context.division, masks, pulls_of(context, net), context.config, bits=bits, price=price
    )
    return Values(copy_network(net), masks, books, price)


def trained_values(context: Context, chosen: Values, name: str) -> Values:
    """Returns values after the training of shared values, by its name; those given change in place."""
    state = _tuned(context, chosen.net, chosen.masks, chosen.books, name)
    return Values(state.net, state.masks, state.books, chosen.price)


def tuned(context: Context, net: nn.Module, name: str) -> nn.Module:
    """Returns a network that shares values by itself after the training of shared values; it changes in place."""
    return _tuned(context, net, {}, {}, name).net.eval()


def _tuned(
    context: Context,
    net: nn.Module,
    masks: Mapping[str, Tensor],
    books: Mapping[str, Book],
    name: str,
) -> Squeezing:
    """Trains shared values; returns the state after it."""
    config = context.config
    settings = context.settings(max(context.lengths.tuning, 1), _TUNING_RATE * config.lr)
    feed = _feed(context, settings, net)
    method = SqueezeMethod(
        settings, context.task, feed.steps, None, 0.0, _teacher(context), context.distil
    )
    state = method.init(net, masks, books)
    if context.lengths.tuning:
        _run(context, method, state, feed, name)
    return state


def pulls_of(context: Context, net: nn.Module) -> dict[str, Tensor]:
    """Returns second derivatives of the loss in each parameter: the posterior's 1/σ², or the curvature at the weights."""
    if context.config.share == "posterior":
        return {n: (-2 * s.double()).exp() for n, s in (context.spread or {}).items()}
    if context.config.share == "kmeans":
        return {}
    return curvature_of(net, context.data, context.task, context.config.seed)


@torch.no_grad()
def load(net: nn.Module, tensors: Mapping[str, Codebook | Array]) -> None:
    """Writes stored tensors into a network, in place."""
    held = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    dense = {n: t.dense() if isinstance(t, Codebook) else t for n, t in tensors.items()}
    for name, tensor in as_held({n: torch.from_numpy(a) for n, a in dense.items()}, held).items():
        held[name].copy_(tensor)


def losses_of(net: nn.Module, data: Dataset, context: Context) -> Tensor:
    """Returns what rows add to the metric that decides with a network ``[G]``, lower is better."""
    out, targets = outputs(net, data), data.y.cpu()
    judge = under_errors(context.task, out, targets)
    return terms_of(out[None], targets, judge, context.config.metric)[0]


def _teacher(context: Context) -> nn.Module | None:
    return context.teacher if context.distil else None


def _feed(context: Context, settings: TrainConfig, net: nn.Module) -> Any:
    like = next(net.parameters())
    return make_feed(
        context.data, settings, augment=context.augment, device=like.device, dtype=like.dtype,
        least=least_examples(net),
    )  # fmt: skip


def _run(context: Context, method: SqueezeMethod, state: Any, feed: Any, name: str) -> None:
    path = None if context.folder is None else context.folder / f"{name}.checkpoint"
    identity = {"training": name, **context.identity, **method.config.model_dump(mode="json")}
    progress = None if path is None else _resumed(state, path, identity)
    epochs = method.config.known_epochs

    def tell(epoch: Epoch) -> None:
        if context.report is not None:
            context.report(name, epoch, epochs)

    train(
        method,
        state,
        feed,
        epochs=epochs,
        progress=progress,
        report=tell,
        checkpoint=path,
        identity=identity,
    )
    if path is not None:
        path.unlink(missing_ok=True)


def _resumed(state: Any, path: Path, identity: dict[str, Any]) -> Progress | None:
    """Returns how far a training of the same search came; None where there is none, or one of another search."""
    if not path.exists() or load_tree(path, "checkpoint")["identity"] != identity:
        return None
    return resume(state, path, identity)


def keep_level(context: Context, name: str, goal: float, net: nn.Module, masks: Masks) -> None:
    """Writes a sparse network into the folder of the context, if it has one."""
    if context.folder is not None:
        tree = {
            "identity": {"goal": goal, **context.identity},
            "net": dict(net.state_dict()),
            "masks": masks,
        }
        save_tree(context.folder / f"{name}.safetensors", tree, _KIND)


def kept_level(
    context: Context, name: str, goal: float, like: nn.Module
) -> tuple[nn.Module, Masks] | None:
    """Returns the sparse network of that name, shaped like another, or None if none was made under the same settings.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = None if context.folder is None else context.folder / f"{name}.safetensors"
    if path is None or not path.exists():
        return None
    tree = load_tree(path, _KIND)
    if tree["identity"] != {"goal": goal, **context.identity}:
        return None
    net = copy_network(like)
    net.load_state_dict(tree["net"])
    return net.eval(), tree["masks"]
