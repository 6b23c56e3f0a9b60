"""Which networks that people have can be cut by default: small ones of our own, and models of the transformers library.

Torch-Pruning cuts the same networks (``_zoo_peer.py``), where it is installed.
"""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from typing import Any, get_args

import torch
from torch import Tensor, nn

from benchmarks._peer import NOT_INSTALLED, installed
from benchmarks._zoo_backbones import BACKBONES, IMAGES
from benchmarks._zoo_dense import DENSE
from benchmarks._zoo_eighth_learning import EIGHTH_LEARNING
from benchmarks._zoo_eighth_others import EIGHTH_OTHERS
from benchmarks._zoo_eighth_series import EIGHTH_SERIES
from benchmarks._zoo_eighth_vision import EIGHTH_VISION
from benchmarks._zoo_eighth_words import EIGHTH_WORDS
from benchmarks._zoo_eleventh_agents import ELEVENTH_AGENTS
from benchmarks._zoo_eleventh_others import ELEVENTH_OTHERS
from benchmarks._zoo_eleventh_pictures import ELEVENTH_PICTURES
from benchmarks._zoo_eleventh_rows import ELEVENTH_ROWS
from benchmarks._zoo_eleventh_series import ELEVENTH_SERIES
from benchmarks._zoo_eleventh_sound import ELEVENTH_SOUND
from benchmarks._zoo_eleventh_vision import ELEVENTH_VISION
from benchmarks._zoo_eleventh_words import ELEVENTH_WORDS
from benchmarks._zoo_fifth_games import FIFTH_GAMES
from benchmarks._zoo_fifth_generators import FIFTH_GENERATORS
from benchmarks._zoo_fifth_images import FIFTH_IMAGES
from benchmarks._zoo_fifth_learning import FIFTH_LEARNING
from benchmarks._zoo_fifth_others import FIFTH_OTHERS
from benchmarks._zoo_fifth_rows import FIFTH_ROWS
from benchmarks._zoo_fifth_series import FIFTH_SERIES
from benchmarks._zoo_fifth_sound import FIFTH_SOUND
from benchmarks._zoo_fifth_vision import FIFTH_VISION
from benchmarks._zoo_fifth_words import FIFTH_WORDS
from benchmarks._zoo_fourth_images import FOURTH_IMAGES
from benchmarks._zoo_fourth_others import FOURTH_OTHERS
from benchmarks._zoo_fourth_sequences import FOURTH_SEQUENCES
from benchmarks._zoo_fourth_tables import FOURTH_TABLES
from benchmarks._zoo_generative import GENERATIVE
from benchmarks._zoo_mobile import MOBILE
from benchmarks._zoo_networks import NETWORKS
from benchmarks._zoo_parameters import COMPUTED
from benchmarks._zoo_patches import PATCHES
from benchmarks._zoo_peer import Outcome, peer_cut
from benchmarks._zoo_sequences import SEQUENCES
from benchmarks._zoo_seventh_learning import SEVENTH_LEARNING
from benchmarks._zoo_seventh_others import SEVENTH_OTHERS
from benchmarks._zoo_seventh_series import SEVENTH_SERIES
from benchmarks._zoo_seventh_vision import SEVENTH_VISION
from benchmarks._zoo_seventh_words import SEVENTH_WORDS
from benchmarks._zoo_sixth_dense import SIXTH_DENSE
from benchmarks._zoo_sixth_others import SIXTH_OTHERS
from benchmarks._zoo_sixth_series import SIXTH_SERIES
from benchmarks._zoo_sixth_vision import SIXTH_VISION
from benchmarks._zoo_sixth_words import SIXTH_WORDS
from benchmarks._zoo_tabular import TABULAR
from benchmarks._zoo_tenth_dense import TENTH_DENSE
from benchmarks._zoo_tenth_others import TENTH_OTHERS
from benchmarks._zoo_tenth_rows import TENTH_ROWS
from benchmarks._zoo_tenth_series import TENTH_SERIES
from benchmarks._zoo_tenth_vision import TENTH_VISION
from benchmarks._zoo_tenth_words import TENTH_WORDS
from benchmarks._zoo_third_images import THIRD_IMAGES
from benchmarks._zoo_third_sequences import THIRD_SEQUENCES
from benchmarks._zoo_thirteenth_agents import THIRTEENTH_AGENTS
from benchmarks._zoo_thirteenth_generators import THIRTEENTH_GENERATORS
from benchmarks._zoo_thirteenth_learning import THIRTEENTH_LEARNING
from benchmarks._zoo_thirteenth_others import THIRTEENTH_OTHERS
from benchmarks._zoo_thirteenth_pictures import THIRTEENTH_PICTURES
from benchmarks._zoo_thirteenth_rows import THIRTEENTH_ROWS
from benchmarks._zoo_thirteenth_series import THIRTEENTH_SERIES
from benchmarks._zoo_thirteenth_sets import THIRTEENTH_SETS
from benchmarks._zoo_thirteenth_texts import THIRTEENTH_TEXTS
from benchmarks._zoo_thirteenth_vision import THIRTEENTH_VISION
from benchmarks._zoo_thirteenth_words import THIRTEENTH_WORDS
from benchmarks._zoo_tokens import TOKEN_NETS
from benchmarks._zoo_twelfth_agents import TWELFTH_AGENTS
from benchmarks._zoo_twelfth_generators import TWELFTH_GENERATORS
from benchmarks._zoo_twelfth_people import TWELFTH_PEOPLE
from benchmarks._zoo_twelfth_pictures import TWELFTH_PICTURES
from benchmarks._zoo_twelfth_rows import TWELFTH_ROWS
from benchmarks._zoo_twelfth_series import TWELFTH_SERIES
from benchmarks._zoo_twelfth_texts import TWELFTH_TEXTS
from benchmarks._zoo_twelfth_vision import TWELFTH_VISION
from benchmarks._zoo_twelfth_words import TWELFTH_WORDS
from benchmarks._zoo_various import VARIOUS
from benchmarks._zoo_vision import VISION, X
from benchmarks.result import Result
from netdial.channels.graph import Graph
from netdial.channels.surgery import apply
from netdial.channels.trial import zeroed
from netdial.core.errors import NetdialError
from netdial.core.outputs import evaluated, same_outputs
from netdial.core.plan import Plan
from netdial.nets.foreign import with_plain_weights
from netdial.nets.layers import in_type
from netdial.pruning.channels.member import tried

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
_SECONDS = 120
"""Seconds that a network may take."""
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""By the number type of the parameters. In double precision, too, models that compute parts in float32 lose some."""

Maker = Callable[[], tuple[nn.Module, Any]]


def measure(*, quick: bool) -> Result:
    """Cuts half of the channels of every network by default; the quick version leaves out all but the first zoo."""
    rows: list[dict[str, object]] = []
    counts: dict[str, float] = {}
    sides = {"": _outcome} | ({"Torch-Pruning on ": _peer_outcome} if installed() else {})
    for zoo, makers in zoos(quick=quick).items():
        found: dict[str, dict[str, tuple[Outcome, str]]] = {}
        for side, work in sides.items():
            found[side] = {name: apart(partial(work, make)) for name, make in makers.items()}
            count = Counter(outcome for outcome, _ in found[side].values())
            counts |= {f"{side}{zoo}: {one}": count[one] / len(makers) for one in OUTCOMES}
        counts |= {f"{zoo}: networks": len(makers)}
        for name in makers:
            row: dict[str, object] = {"zoo": zoo, "network": name}
            for side, what in (("", ""), ("Torch-Pruning on ", "Torch-Pruning")):
                outcome, why = found.get(side, {}).get(name, ("", ""))
                row |= {f"{what or 'outcome'}": outcome, f"{what} why".strip(): why[:60]}
            rows.append(row)
    rows.sort(key=lambda row: OUTCOMES.index(row["outcome"]))
    baseline = "Torch-Pruning on the same networks" if installed() else NOT_INSTALLED
    return Result("zoo", counts, "of networks", "higher", quick=quick, rows=rows, baseline=baseline)


def zoos(*, quick: bool) -> dict[str, dict[str, Maker]]:
    """Returns what makes each network and its inputs, by zoo and name."""
    if quick:
        return {"own": {name: _own(name) for name in NETWORKS}}
    from benchmarks._zoo_eighth_models import eighth_models
    from benchmarks._zoo_fifth_models import fifth_models
    from benchmarks._zoo_fourth_models import fourth_models
    from benchmarks._zoo_models import models
    from benchmarks._zoo_more_models import more_models
    from benchmarks._zoo_ninth_others import ninth_others
    from benchmarks._zoo_ninth_texts import ninth_texts
    from benchmarks._zoo_seventh_models import seventh_models
    from benchmarks._zoo_sixth_models import sixth_models
    from benchmarks._zoo_third_models import third_models

    vision = {name: _with(make, X) for name, make in VISION.items()}
    own = {**{name: _own(name) for name in NETWORKS}, **vision, **SEQUENCES, **VARIOUS}
    own |= second_sample() | third_sample() | fourth_sample() | fifth_sample() | sixth_sample()
    own |= seventh_sample() | eighth_sample() | tenth_sample()
    own |= eleventh_sample() | twelfth_sample() | thirteenth_sample()
    theirs = {**models(), **more_models(), **third_models(), **fourth_models(), **fifth_models()}
    theirs |= {**sixth_models(), **seventh_models(), **eighth_models(), **ninth_texts()}
    theirs |= ninth_others()
    return {"own": own, "transformers": theirs}


def second_sample() -> dict[str, Maker]:
    """Returns what makes the networks that were written after those that netdial had been mended for."""
    backbones = {name: _with(make, IMAGES) for name, make in {**BACKBONES, **MOBILE}.items()}
    return {**backbones, **DENSE, **GENERATIVE, **TOKEN_NETS, **PATCHES, **TABULAR, **COMPUTED}


def third_sample() -> dict[str, Maker]:
    """Returns what makes the networks that were written after both, as other people write them."""
    return {**THIRD_IMAGES, **THIRD_SEQUENCES}


def fourth_sample() -> dict[str, Maker]:
    """Returns what makes networks of kinds that none of the others has."""
    return {**FOURTH_IMAGES, **FOURTH_SEQUENCES, **FOURTH_TABLES, **FOURTH_OTHERS}


def fifth_sample() -> dict[str, Maker]:
    """Returns what makes networks of papers' repositories, of kinds that the others lack."""
    images = {**FIFTH_IMAGES, **FIFTH_VISION, **FIFTH_LEARNING, **FIFTH_GENERATORS}
    sequences = {**FIFTH_SOUND, **FIFTH_SERIES, **FIFTH_WORDS}
    return {**images, **sequences, **FIFTH_ROWS, **FIFTH_GAMES, **FIFTH_OTHERS}


def sixth_sample() -> dict[str, Maker]:
    """Returns what makes more networks of papers' repositories and courses: packed sentences, experts, operators, grids."""
    return {**SIXTH_SERIES, **SIXTH_VISION, **SIXTH_DENSE, **SIXTH_WORDS, **SIXTH_OTHERS}


def seventh_sample() -> dict[str, Maker]:
    """Returns what makes still more: scripted kernels, parametrised and stacked weights, hooks, memories, fields, molecules."""
    sequences = {**SEVENTH_SERIES, **SEVENTH_WORDS}
    return {**sequences, **SEVENTH_VISION, **SEVENTH_LEARNING, **SEVENTH_OTHERS}


def eighth_sample() -> dict[str, Maker]:
    """Returns what makes networks of lectures, books, notebooks and agents of one file: caches, crops, several inputs."""
    sequences = {**EIGHTH_SERIES, **EIGHTH_WORDS}
    return {**sequences, **EIGHTH_VISION, **EIGHTH_LEARNING, **EIGHTH_OTHERS}


def tenth_sample() -> dict[str, Maker]:
    """Returns what makes networks of styles that the others lack: subclassed layers, structured matrices, controls, signs."""
    images = {**TENTH_VISION, **TENTH_DENSE}
    return {**images, **TENTH_SERIES, **TENTH_WORDS, **TENTH_ROWS, **TENTH_OTHERS}


def eleventh_sample() -> dict[str, Maker]:
    """Returns what makes networks of the last years: towers, scans, streams that meet, tables, policies, lazy layers."""
    images = {**ELEVENTH_VISION, **ELEVENTH_PICTURES}
    sequences = {**ELEVENTH_WORDS, **ELEVENTH_SERIES, **ELEVENTH_SOUND}
    return {**images, **sequences, **ELEVENTH_ROWS, **ELEVENTH_AGENTS, **ELEVENTH_OTHERS}


def twelfth_sample() -> dict[str, Maker]:
    """Returns what makes networks as libraries and well-known repositories write them: configurations, factories, helpers."""
    images = {**TWELFTH_VISION, **TWELFTH_PICTURES, **TWELFTH_PEOPLE, **TWELFTH_GENERATORS}
    sequences = {**TWELFTH_WORDS, **TWELFTH_TEXTS, **TWELFTH_SERIES}
    return {**images, **sequences, **TWELFTH_ROWS, **TWELFTH_AGENTS}


def thirteenth_sample() -> dict[str, Maker]:
    """Returns what makes networks in idioms that the others lack: base classes of models, state that training moves, draws."""
    images = {
        **THIRTEENTH_VISION,
        **THIRTEENTH_PICTURES,
        **THIRTEENTH_LEARNING,
        **THIRTEENTH_GENERATORS,
    }
    sequences = {**THIRTEENTH_WORDS, **THIRTEENTH_TEXTS, **THIRTEENTH_SERIES}
    return {
        **images,
        **sequences,
        **THIRTEENTH_ROWS,
        **THIRTEENTH_SETS,
        **THIRTEENTH_AGENTS,
        **THIRTEENTH_OTHERS,
    }


def _own(name: str) -> Maker:
    return lambda: (copy.deepcopy(NETWORKS[name][0]), NETWORKS[name][1])


def _with(make: Callable[[], nn.Module], x: Tensor) -> Maker:
    return lambda: (make(), x)


def apart(work: Callable[[], tuple[Outcome, str]]) -> tuple[Outcome, str]:
    """Returns what work in a process of its own gives; one that hangs or dies is ``raw``."""
    context = get_context("fork")
    mine, theirs = context.Pipe()

    def run() -> None:
        theirs.send(work())

    process = context.Process(target=run)
    process.start()
    theirs.close()
    try:
        if mine.poll(_SECONDS):
            found: tuple[Outcome, str] = mine.recv()
            return found
        return "raw", f"no answer in {_SECONDS} s"
    except EOFError:
        return "raw", "its process died"
    finally:
        process.kill()
        process.join()


def _outcome(make: Maker) -> tuple[Outcome, str]:
    """Returns what becomes of a network, and why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            net, x = _made(make)
        except NetdialError as error:
            return "refused", str(error)
        try:
            graph = Graph.of(copy.deepcopy(net), x)
        except NetdialError as error:
            return _leniently(net, x, str(error))
        except Exception as error:  # what the benchmark counts
            return "raw", f"{type(error).__name__}: {error}"
        return _cut(graph, x)


def _made(make: Maker) -> tuple[nn.Module, Tensor]:
    """Returns a network from one tensor to one tensor, and inputs for it, in double precision unless it has none."""
    try:
        net, x = _of_type(make, torch.float64)
        exact = all(part.isfinite().all() for part in evaluated(net, x))
    except Exception:  # products of experts, for instance, are there in single precision alone
        exact = False
    if not exact:  # or what masks is infinite in double precision
        net, x = _of_type(make, torch.float32)
    return net, x


def _of_type(make: Maker, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    net, given = make()
    in_type(net, dtype)
    net, x = tried(with_plain_weights(net.eval()), given)
    return net, x.to(dtype) if x.is_floating_point() else x


def _peer_outcome(make: Maker) -> tuple[Outcome, str]:
    """Returns what becomes of a network that Torch-Pruning cuts, and why."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        net, x = _made(make)
        try:
            kept = Graph.of(copy.deepcopy(net), x, lenient=True).kept
        except Exception:
            kept = {}
        outputs = [leaf.rpartition(".")[0] for leaf, why in kept.items() if "outputs" in why]
        torch.manual_seed(0)
        own, given = make()
        if isinstance(given, Tensor):  # all outputs, as they are
            net = with_plain_weights(own.double().eval())
        layers = [name for name, part in net.named_modules() if isinstance(part, _LAYERS)]
        return peer_cut(net, x, outputs or layers[-1:], tolerance=_tolerance(net))


def _tolerance(net: nn.Module) -> float:
    return _TOLERANCE[next(net.parameters()).dtype]


def _leniently(net: nn.Module, x: Tensor, why: str) -> tuple[Outcome, str]:
    """Returns whether a network that is refused can be cut by ``lenient``."""
    try:
        graph = Graph.of(copy.deepcopy(net), x, lenient=True)
    except NetdialError:
        return "refused", why
    except Exception as error:
        return "raw", f"{type(error).__name__}: {error}"
    outcome, _ = _cut(graph, x)
    return (
        "lenient" if outcome == "equal" else "refused" if outcome == "nothing to cut" else outcome
    ), why


def _cut(graph: Graph, x: Tensor) -> tuple[Outcome, str]:
    """Cuts every second channel of all groups that nothing normalises over, and compares with zeros there."""
    free = [group for group in graph.groups if group.size > 1 and not group.mixed]
    if not free:
        return "nothing to cut", "; ".join(f"{leaf} {why}" for leaf, why in graph.kept.items())
    plan = Plan.remove(
        free, {group.name: range(0, group.size - 1, 2) for group in free}, graph.shapes
    )
    masked = zeroed(graph.traced, plan, x)
    apply(plan, graph.traced)
    try:
        got = evaluated(graph.traced, x)
    except Exception as error:
        return "broken", f"{type(error).__name__}: {error}"
    found = same_outputs(evaluated(masked, x), got, tolerance=_tolerance(masked))
    return ("equal", str(graph.widths)) if found else ("unequal", f"{found.difference:.1e}")
