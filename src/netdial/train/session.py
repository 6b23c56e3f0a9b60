"""What every way of training shares: the feed, processes and devices, agreement among processes, and interruptions."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from netdial.core.errors import ConfigError, DataError, first_line, warn
from netdial.data.dataset import Dataset
from netdial.data.memory import Loader
from netdial.family.leaves import frozen_norms
from netdial.train.config import TrainConfig
from netdial.train.feed import Batch, Feed, LoaderFeed, TensorFeed

Settled = TypeVar("Settled", bound=TrainConfig)


@dataclass(frozen=True)
class Workers:
    """This process among the processes that train together."""

    rank: int = 0
    count: int = 1
    fabric: Any = None

    def sum_(self, tensors: list[Tensor]) -> None:
        """Replaces each tensor by its sum over the processes."""
        if self.count > 1:
            for tensor in tensors:
                tensor.copy_(self.fabric.all_reduce(tensor, reduce_op="sum"))

    def share(self, groups: int) -> range:
        """Returns the groups that this process runs: neighbours, so that they lie in few cells of the statistics."""
        owners = self.owners(groups)
        first = owners.index(self.rank)
        return range(first, first + owners.count(self.rank))

    def owners(self, groups: int) -> list[int]:
        """Returns for each group the process that runs it."""
        return [group * self.count // groups for group in range(groups)]

    def autocast(self) -> AbstractContextManager[Any]:
        """Returns the context in which the network runs."""
        return self.fabric.autocast() if self.fabric is not None else nullcontext()


def make_feed(
    data: Dataset | Loader,
    config: TrainConfig,
    *,
    blocks: int = 1,
    rows: Sequence[Tensor] | None = None,
    augment: str | None = None,
    device: Any = "cpu",
    dtype: torch.dtype | None = None,
    least: int = 1,
) -> Feed[Batch]:
    """Returns the feed for training data.

    Args:
        data: as ``admit_training`` gave them.
        config: settings.
        blocks: blocks of examples in a batch.
        rows: of each block, the examples of data in memory that it takes; by default all.
        augment: how images are varied.
        device: where batches are wanted.
        dtype: floating-point type wanted.
        least: examples that a batch must have.

    Raises:
        DataError: a batch has fewer.
    """
    if isinstance(data, Loader):
        return LoaderFeed(
            data, seed=config.seed, blocks=blocks, device=device, dtype=dtype, least=least
        )
    batch_size = config.known_batch_size
    if min(batch_size, len(data)) < least:
        raise DataError(
            f"training part: {len(data)} example(s) in batches of {batch_size}; this training needs {least} or more "
            "in a batch (BatchNorm has no variance of one); give more examples, or raise batch_size"
        )
    return TensorFeed(
        data,
        batch_size=batch_size,
        seed=config.seed,
        blocks=blocks,
        rows=rows,
        augment=augment,
        device=device,
        dtype=dtype,
    )


def batch_of(data: Dataset | Loader, config: TrainConfig) -> Tensor:
    """Returns the inputs of a batch as large as those of training; two at least, to tell the batch from sizes of 1.

    Args:
        data: the training part.
        config: settings whose batch size is known.
    """
    if isinstance(data, Dataset):
        return data.inputs(torch.arange(min(max(config.known_batch_size, 2), len(data))))
    return data.first().x


def least_examples(net: nn.Module) -> int:
    """Returns how many examples a batch must have: BatchNorm that is not frozen needs two to have a variance."""
    held = frozen_norms(net)
    norms = (m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return 1 if all(any(norm is one for one in held) for norm in norms) else 2


def with_lengths(config: Settled, data: Dataset | Loader) -> Settled:
    """Returns settings whose epochs and batch size are known; a ``DataLoader`` has batches of its own."""
    if isinstance(data, Loader):
        largest, given = max(data.sizes), config.batch_size
        if given is not None and given != largest and len(data.sizes) > 1:
            warn(
                f"batch_size={given} is not used: the DataLoader gives batches of {largest}; set it there, or give its data set"
            )
        return config.for_rows(sum(data.sizes), largest)
    return config.for_rows(len(data))


def launch(config: TrainConfig) -> tuple[Workers, Any]:
    """Returns this process among its peers, and its device; starts the peers when several devices are asked for.

    Raises:
        ConfigError: this machine has no such device.
    """
    plain = (
        config.devices == 1
        and config.accelerator in ("auto", "cpu")
        and config.precision != "bf16-mixed"
    )
    if plain and not torch.cuda.is_available():
        return Workers(), torch.device("cpu")
    from lightning_fabric import Fabric

    strategy = "ddp" if config.devices > 1 else config.strategy
    try:
        fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            strategy=strategy,
            precision=config.precision,
        )
    except (RuntimeError, ValueError) as error:  # what Fabric raises for devices that are not there
        raise ConfigError(
            f"accelerator={config.accelerator!r}, devices={config.devices}: not on this machine ({first_line(error)}); "
            "use accelerator auto or cpu"
        ) from None
    fabric.launch()
    return Workers(fabric.global_rank, fabric.world_size, fabric), fabric.device


def agreement(workers: Workers) -> Callable[[bool], bool]:
    """Returns the question whether any process says yes, asked of all of them at once."""
    if workers.count == 1:
        return bool

    def agree(answer: bool) -> bool:
        votes = torch.tensor(float(answer), device=workers.fabric.device)
        workers.sum_([votes])
        return bool(votes > 0)

    return agree


@torch.no_grad()
def begin_alike(
    workers: Workers, held: Iterable[Tensor], parts: Mapping[str, Dataset | Loader | None]
) -> None:
    """Gives all processes the numbers that the first one begins with, and refuses data that are not the same in each.

    Every process runs the user's script, so what that draws without a seed is another one in each.

    Args:
        workers: the processes.
        held: what is trained, and its buffers.
        parts: data by what they are called; of those that a loader gives nothing is known before they are read.

    Raises:
        DataError: a part differs.
    """
    if workers.count == 1:
        return
    agree = agreement(workers)
    for name, part in parts.items():
        mine = _mark(part) if isinstance(part, Dataset) else ()
        if agree(repr(mine) != repr(workers.fabric.broadcast(mine))):
            raise DataError(
                f"{name}: the {workers.count} processes of this training have different rows; each runs the script from its "
                "beginning, so give what draws or splits the rows a seed (torch.manual_seed, random_state=0)"
            )
    for tensor in held:
        tensor.copy_(workers.fabric.broadcast(tensor.cpu()))


def _mark(part: Dataset) -> tuple[float, ...]:
    """Returns numbers that differ if examples do, or their order."""
    place = torch.linspace(1, 2, len(part), dtype=torch.float64)
    held = (t.cpu() for t in (part.x, part.y, part.weight) if t is not None)
    sums = (t.reshape(len(t), math.prod(t.shape[1:])).sum(1, dtype=torch.float64) for t in held)
    return (len(part), *(float(each @ place) for each in sums))


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; where it has a checkpoint, its state is saved.

    Attributes:
        reached: what it had come to, as the function that trains returns it at the end.
    """

    reached: Any = None


@contextmanager
def handing_over(reached: Callable[[], Any]) -> Iterator[None]:
    """Gives what training had come to along with ``Interrupted``."""
    try:
        yield
    except Interrupted as stop:
        stop.reached = reached()
        stop.add_note(
            "What training had come to is kept: except KeyboardInterrupt as stop: stop.reached"
        )
        raise


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Yields a question: has an interrupt or a termination been asked for? A second one acts at once."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
