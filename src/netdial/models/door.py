"""One door for models in files: ``save`` writes what the library makes, ``load_model`` opens it, ``inspect`` says what it is.

A family, a network that was shrunk or pruned: one file of ``core.container``. A member: a folder with its card, weights and
description, or a program. A compressed network: one ``.ndz`` file, written by ``compression``. All carry digests, which opening
checks; a file of another kind is told for what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from netdial.core.arguments import checked, expect
from netdial.core.errors import CheckpointError, ConfigError
from netdial.core.inputs import as_its_class
from netdial.core.storage.boundary import read_json
from netdial.core.storage.places import check_ending
from netdial.data.dataset import Splits
from netdial.data.memory import as_inputs
from netdial.family.family import Family
from netdial.models.cut import recipe
from netdial.models.cut.recipe import save_network
from netdial.models.derived import export_derived, save_derived
from netdial.models.described import description
from netdial.models.family import save_family
from netdial.models.kinds import CHECKPOINT, KINDS, RUN, recognise
from netdial.models.member import KIND, files_of, save_member
from netdial.models.programs.writing import write_program
from netdial.models.ready import ready
from netdial.models.use import Use, read_use, use_of
from netdial.nets import built_as
from netdial.nets.foreign import copy_network
from netdial.pruning.channels.reducing import Pruned
from netdial.shrinking.shrink import Shrunk
from netdial.structure.derived import DerivedNetwork

PROGRAMS = {".onnx": "onnx", ".pt2": "torch-export"}
"""Suffixes of files that hold a member as a program."""
_PICKLES = (".pt", ".pth", ".pkl", ".ckpt", ".bin")
"""Endings of what ``torch.save`` writes."""


@dataclass(frozen=True)
class ModelFile:
    """What a file is; as text, one line for people.

    Attributes:
        path: the file or folder.
        kind: ``family``, ``netdial-member``, ``shrunken network``, ``pruned network``, ``derived network`` or ``compressed
            network``; another kind of file is named, too.
        summary: what it is, in words.
        opens: how to open it, in words.
        digests: whether it carries digests, which were checked.
        facts: ``size_bytes``, and by kind ``lam``, ``n_params``; ``lo``, ``hi``, ``map``; ``widths``; ``n_stored``, numbers in
            all tensors; ``genotype``; ``dense_bytes``, ``ledger`` and ``layers``, what the bytes of a compressed file are for.
        about: what its writer added.
    """

    path: Path
    kind: str
    summary: str
    opens: str
    digests: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Returns one line for people."""
        return f"{self.path}: {self.summary}; {self.opens}"


def save(
    thing: Family | Shrunk | Pruned | DerivedNetwork | nn.Module,
    path: str | Path,
    *,
    lam: float | None = None,
    data: Splits | None = None,
    about: Mapping[str, Any] | None = None,
    example: Any = None,
    tolerance: float | None = None,
) -> ModelFile:
    """Writes a model to a file that ``load_model`` opens, atomically and with digests; nothing is pickled.

    Args:
        thing: a family; with ``lam``, one member of it as an ordinary network; what ``shrink`` or ``slim`` returned; or a
            network derived from a search space. As a program any network, such as what ``average`` returned.
        path: file to write; its folder is made when missing. For a member the suffix says how: ``.onnx``, ``.pt2``
            (``torch.export``; both also for any other network), ``.safetensors`` (weights with a description beside them),
            none (a folder of weights, description and, from a choice, a card).
        lam: complexity value of the member to write.
        data: what the model was trained on, as ``nd.load_data`` returned it. Columns and their encoding, names of the classes,
            units of the target and the size of the errors on validation rows are kept, so that
            ``load_model(path).predict(rows)`` works on rows as people have them. A family that was loaded knows them.
        about: plain JSON values to keep with it. The key ``net``, ``{"spec": "mlp:50", "input_shape": [13],
            "n_outputs": 3}``, says which built-in network it is, so that it opens without being given one; families of
            networks that ``nd.build`` made, their members, and what ``shrink`` and ``slim`` made of them have it by themselves.
        example: inputs ``[B, ...]`` for ``.onnx`` and ``.pt2``, which trace the network on them; a tuple or mapping of several.
            By default those that the network was shrunk or slimmed with.
        tolerance: for what ``shrink`` returned, how far outputs may differ once its switches are merged into the layers beside
            them, relative to the largest; by default what rounding may cost a network of its depth.

    Returns:
        What was written, as ``inspect`` says it.

    Raises:
        ConfigError: ``thing`` is nothing that is saved this way, λ is missing or outside the trained range, or ``about``
            is not plain JSON.
        CheckpointError: the model holds NaN or infinity, or the disk refused it; what was there before is intact.
        ShapeError, TraceError, MissingExtra: a program cannot be made, is not the network, or needs an extra.
    """
    path = Path(expect("save", "path", path, str | Path))
    data, example = expect("save", "data", data, Splits | None), as_inputs(example)
    format = PROGRAMS.get(path.suffix, "safetensors")
    if lam is not None and not isinstance(thing, Family):
        raise ConfigError(f"lam={lam:g}: a {type(thing).__name__} is one network; leave lam out")
    if not isinstance(thing, Family | Shrunk | Pruned | DerivedNetwork):
        if not (isinstance(thing, nn.Module) and path.suffix in PROGRAMS):
            raise ConfigError(_refusal(thing))
        write_program(thing, path, format, example)
        return inspect(path)
    known = getattr(thing, "use", None)
    if data is not None:
        about = {**(about or {}), **_use(thing, data, lam).to_json()}
    elif isinstance(known, Use):  # of a family that was loaded
        about = {**(known if lam is None else known.alone(lam)).to_json(), **(about or {})}
    if isinstance(thing, Family):
        about = {**description(thing.net), **(about or {})} or None
    elif isinstance(thing, Shrunk | Pruned) and (built := built_as(thing.graph.traced)) is not None:
        about = {"net": built, **(about or {})}
    if isinstance(thing, Family) and lam is not None:
        check_ending(path, (*PROGRAMS, ".safetensors"))
        save_member(thing, lam, path, format, example, meta=about)
        return inspect(path)
    if format != "safetensors" and isinstance(thing, DerivedNetwork):
        export_derived(thing, path, format, example)
        return inspect(path)
    if format != "safetensors" and isinstance(thing, Shrunk | Pruned):
        net = thing.fold(tolerance=tolerance)[0] if isinstance(thing, Shrunk) else thing.net
        write_program(net, path, format, thing.graph.example if example is None else example)
        return inspect(path)
    if format != "safetensors":
        raise ConfigError(
            f"{path}: holds one network as a program; give a family with lam=, or another suffix (.safetensors)"
        )
    if path.suffix in _PICKLES and not path.is_dir():
        raise ConfigError(
            f"{path}: {path.suffix} is the ending of what torch.save writes and torch.load reads, which this is not; take "
            f"{path.with_suffix('.safetensors').name}"
        )
    if isinstance(thing, Family):
        save_family(thing, path, about)
    elif isinstance(thing, Shrunk | Pruned):
        kind = recipe.PRUNED if isinstance(thing, Pruned) else recipe.SHRUNKEN
        save_network(thing, path, about, kind, tolerance=tolerance)
    else:
        save_derived(thing, path, about)
    _drop_description(path)
    return inspect(path)


def _drop_description(path: Path) -> None:
    """Removes the description of a member whose file was replaced by one that describes itself."""
    beside = files_of(path)[1]
    with suppress(CheckpointError):
        found = read_json(beside) if beside.is_file() else None
        if isinstance(found, dict) and found.get("kind") == KIND:
            beside.unlink()


_INSTEAD = {
    "CrossValidated": "save its family: nd.save(held.family, path, lam=held.lam)",
    "Choice": "write it by choice.export(path)",
    "SearchOutcome": "save its network: nd.save(found.network, path)",
    "Compressed": "write it by netdial.compression.write(path, found.chosen.tensors, recipe=found.recipe)",
    "Average": "give a path that ends in .onnx or .pt2, with example= inputs; or save each family of which it has members: "
    "nd.save(family, path, lam=lam)",
}
"""What to do with other things that netdial makes."""


def _refusal(thing: object) -> str:
    name = type(thing).__name__
    what = _INSTEAD.get(
        name,
        "give a family (with lam= for one member), what nd.shrink or nd.slim returned, or a network derived from a search "
        "space. Any other network is saved by safetensors.torch.save_model, or as a "
        "program: a path that ends in .onnx or .pt2, with example= inputs",
    )
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name} is not saved by nd.save; {what}"


def _use(thing: Family | Shrunk | Pruned | DerivedNetwork, data: Splits, lam: float | None) -> Use:
    """Returns how a model is used that was trained on data."""
    if isinstance(thing, Family) and lam is not None:
        return use_of(data, thing, lams=[lam]).alone(lam)
    if isinstance(thing, Family):
        return use_of(data, thing)
    return use_of(data, thing if isinstance(thing, DerivedNetwork) else thing.net)


@checked
def load_model(path: str | Path, net: nn.Module | None = None) -> Any:
    """Returns the model in a file, in evaluation mode on the CPU, after checking that nothing in the file has changed.

    Args:
        path: what ``save``, ``netdial export`` or a choice wrote, or a run folder, whose model is meant.
        net: a network as it was built for training, whose weights do not matter; needed unless the file describes one of
            ``netdial.nets``. It stays as it is: what is loaded, and cut as the file says, is a copy.

    Returns:
        A ``Family``, or for a member and a network that was shrunk, pruned, derived or compressed the ``torch.nn.Module``
        itself (of a compressed network that is neither given nor described, tensors by name). What was saved with ``data=`` has
        a method ``predict(rows)`` besides (unless its class has one of its own), which returns a table: of classes with
        probabilities, or of numbers in the target's units with intervals. See ``netdial.models.predict.predictions``.

    Raises:
        CheckpointError: the file is missing, damaged, changed, of a newer format or no model; or the network given is of
            another architecture. The message says which.
    """
    return as_its_class(open_model(path, net))


def open_model(path: str | Path, net: nn.Module | None = None) -> Any:
    """Returns what ``load_model`` does, but for several inputs or outputs a network from one tensor to the scored one."""
    found = recognise(Path(path))
    if found.kind not in KINDS:
        raise CheckpointError(f"{found.path}: {found.summary}, no model to load; {found.opens}")
    kind = KINDS[found.kind]
    if net is not None:
        net = copy_network(net)
        for name, leaf in (*net.named_parameters(), *net.named_buffers()):
            if leaf.is_meta:
                raise ConfigError(
                    f"network {type(net).__name__}: {name} has no values (device meta); give one that is made on the processor"
                )
    model = kind.load(found.path, net)
    if not isinstance(model, nn.Module):
        return model
    return ready(model, read_use(found.path, kind.about(found.path)))


@checked
def inspect(path: str | Path) -> ModelFile:
    """Returns what a file is, and how it is opened; everything in it is read and checked.

    Raises:
        CheckpointError: it is missing, or a model that is damaged or was changed.
    """
    found = recognise(Path(path))
    if found.kind not in KINDS:
        return ModelFile(found.path, found.kind, found.summary, found.opens)
    told = KINDS[found.kind].facts(found.path)
    files = (
        [p for p in found.path.rglob("*") if p.is_file()] if found.path.is_dir() else [found.path]
    )
    size = sum(file.stat().st_size for file in files)
    net = f", {told.net}" if told.net else ""
    return ModelFile(
        found.path,
        found.kind,
        f"{found.summary}{told.more}",
        f'load it with nd.load_model("{found.path}"{net})',
        found.digests,
        {**told.facts, "size_bytes": size},
        told.about,
    )


__all__ = [
    "CHECKPOINT",
    "PROGRAMS",
    "RUN",
    "ModelFile",
    "inspect",
    "load_model",
    "open_model",
    "save",
]
