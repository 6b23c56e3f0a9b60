"""Minimum description length: how many nats tell the labels of the training data to someone who has the inputs.

A code has two parts, L(model) + L(data | model), and the shorter the whole, the more the model has learned (Rissanen 1978;
Hinton & van Camp 1993). Sender and receiver share the architecture, the inputs, and the form of the prior; everything that was
fitted to the data is charged, its hyperparameters too.

- ``mdl``, the variational ("bits back") code: the sender draws w from q, and gets back the randomness it used.
  L(model) = KL(q || N(0, s²)) with s² fitted for each leaf, plus ½ log N nats to state each s²; L(data | model) = E_q nll.
- ``mdl-two-part``: one definite network is sent. The mean of a weight is rounded to a multiple of a step δ in proportion
  to its σ: what the data pin down is sent precisely, the rest coarsely. δ is a power of two, c σ rounded, with one c for
  all weights: the best of 4, 2, 1, ½, ¼ (for a quadratic loss it would be √12). Sent are
    1. c, and the octave of each weight's δ, at the entropy of octaves within its leaf;
    2. the multiple, at -log P(bin) under N(0, s²) with s² of that leaf and octave;
    3. ½ log N nats for each s² and for each share of an octave;
    4. the labels, under the network with the *rounded* weights.
  It can be decoded without bits back, so it is longer; what a compressor could really do is near it.

Of a pruned member both also tell which numbers are kept.

Readings are in nats; ``data`` and ``model`` are kept apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from netdial.core.outputs import without_gradients
from netdial.evidence.draws import DrawRunner
from netdial.evidence.estimators.bounds import empirical_kl, from_divergence, mask_nats
from netdial.evidence.subject import ESTIMATORS, EvidenceSubject, Reading, Trace

SHIFTS = (2, 1, 0, -1, -2)
"""Octaves between a posterior's σ and the step of the two-part code."""

_LEAST_MASS = 1e-300


@ESTIMATORS.add("mdl")
def mdl(subject: EvidenceSubject) -> list[Reading]:
    """Returns the length of the variational code (Hinton & van Camp 1993; Graves 2011)."""
    stated = 0.5 * math.log(subject.n_data) * len(subject.fields.layout.names)
    stated += mask_nats(subject.fields)
    return from_divergence(subject, empirical_kl(subject.fields) + stated)


@ESTIMATORS.add("mdl-two-part")
def two_part(subject: EvidenceSubject) -> list[Reading]:
    """Returns the length of the two-part code of the rounded mean weights (Rissanen 1978, 1983)."""
    runner = DrawRunner(subject.family, subject.part, subject.task)
    readings = []
    share = 1 - len(subject.part) / subject.n_data
    for k, lam in enumerate(subject.lams):
        codes = []
        for shift in SHIFTS:
            rounded, model = encode(subject, k, shift)
            nll = _nll(runner, rounded, lam, subject)
            trace = Trace(torch.empty(0, 1), subject.n_data * nll, share)
            data = subject.scale * float(nll.sum())
            parts = {"data": data, "model": model + math.log(len(SHIFTS))}
            notes = {"step": 2.0**shift}
            codes.append(Reading(lam, sum(parts.values()), trace.error(), parts, notes, trace))
        readings.append(min(codes, key=lambda code: code.value))
    return readings


def encode(subject: EvidenceSubject, k: int, shift: int = 0) -> tuple[Tensor, float]:
    """Returns the rounded weights ``[P]`` of member k and the nats it takes to send them, with steps of about 2^shift σ."""
    fields = subject.fields
    assert fields.log_std is not None
    kept = torch.ones_like(fields.mean[k], dtype=torch.bool) if fields.kept is None else fields.kept
    octave = (fields.log_std[k] / math.log(2)).round().long() + shift
    step = torch.exp2(octave.to(fields.mean))
    rounded = torch.where(kept, (fields.mean[k] / step).round() * step, 0)
    nats = mask_nats(fields)
    for piece, steps, octaves, keeps in zip(
        *(v.split(fields.layout.sizes) for v in (rounded, step, octave, kept)), strict=True
    ):
        nats += _leaf_nats(piece[keeps], steps[keeps], octaves[keeps], subject.n_data)
    return rounded, nats


def _leaf_nats(values: Tensor, steps: Tensor, octaves: Tensor, n_data: int) -> float:
    """Returns the nats for the weights of one leaf: their octaves, their multiples, and the hyperparameters."""
    if not len(values):
        return 0.0
    _, which, counts = octaves.unique(return_inverse=True, return_counts=True)
    size = counts.to(values)
    entropy = float((size * (len(values) / size).log()).sum())
    moment = torch.zeros_like(size).index_add_(0, which, values.square()) / size
    width = torch.zeros_like(size).index_copy_(0, which, steps)
    scale = torch.maximum(moment, (width / 8).square()).sqrt()[which]
    high, low = (values.abs() + steps / 2) / scale, (values.abs() - steps / 2) / scale
    mass = torch.special.ndtr(-low) - torch.special.ndtr(-high)
    stated = 0.5 * math.log(n_data) * (2 * len(counts) - 1)
    return entropy - float(mass.clamp_min(_LEAST_MASS).log().sum()) + stated


def _nll(runner: DrawRunner, flat: Tensor, lam: float, subject: EvidenceSubject) -> Tensor:
    """Returns the negative log-likelihood of each example ``[M]`` under the network with weights ``[P]``."""
    with without_gradients(), runner.family.evaluating():
        row = flat[None].to(runner.family.like)
        found = [(runner.run(x, row, [lam]), y) for _, x, y in runner.batches()]
        parts = [subject.task.moments(out, y) if subject.integrated else None for out, y in found]
        if parts[0] is None:
            return -torch.cat([runner.log_lik(out, y)[0] for out, y in found])
    each = torch.cat([part[0].double().cpu() for part in parts if part is not None])
    sums = subject.scale * each.sum(dim=0)
    value, slope = subject.task.marginal(sums, subject.n_data)
    return each @ slope + (value - float(sums @ slope)) / subject.n_data
