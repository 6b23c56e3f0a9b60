"""``choose``: chooses a member of a family, its sparsity and its cost.

    rule        what it looks at                                      what it takes
    one-se      λ × share removed, validation data                    the sparsest within one standard error of the best
    best        the same                                              the best; of equals the sparsest
    sparsest    the same                                              the sparsest
    estimator   λ, training data alone (``netdial.evidence``)         the λ with the lowest value, and the least share removed
                                                                      that meets the budgets

Without budgets the rule is ``one-se``. With a limit on parameters, bytes, multiplications or time it is ``best`` among the
members that meet all limits; with a lowest accuracy alone it is ``sparsest``. Naming a rule overrules that. Test data are
never looked at here; see ``rules`` for the one-standard-error rule and ``budget`` for what happens when nothing fits.

With ``finetune_epochs`` rules also look at members that were fine-tuned after every step of pruning (``tune``). What an
estimator takes is fine-tuned afterwards, since there is nothing to compare on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from netdial.choice.budget import Budget, feasible
from netdial.choice.choice import Choice
from netdial.choice.member import averaged, better_way, restricted
from netdial.choice.rules import RULES, best
from netdial.choice.search import ChoiceProblem, search
from netdial.choice.table import Candidate, CandidateTable
from netdial.choice.tune import Tuning, tuned_member, with_tuned
from netdial.core.arguments import Whole, checked
from netdial.core.best import four_places, remarks
from netdial.core.errors import ConfigError, MemberWarning, unknown, warn
from netdial.core.outputs import in_usual_modes
from netdial.data.dataset import Dataset
from netdial.data.memory import Data
from netdial.data.memory.columns import check_columns
from netdial.evidence import ESTIMATORS, assess, chosen, lowest
from netdial.evidence.held_out import UNCHECKED, USELESS
from netdial.family.family import Family
from netdial.measure.compare import constant_of, loss_words
from netdial.pruning.weights.mask import Policy
from netdial.pruning.weights.pruned import Rule
from netdial.pruning.weights.surfaces import SHARES
from netdial.task import Task, settle
from netdial.task.rehearsal import admit


@checked
@in_usual_modes
def choose(
    family: Family,
    valid: Data | None = None,
    *,
    by: str | None = None,
    metric: str | None = None,
    train: Data | None = None,
    max_params: float | None = None,
    max_bytes: float | None = None,
    max_macs: float | None = None,
    max_latency_ms: float | None = None,
    min_accuracy: float | None = None,
    lams: int | Sequence[float] = 9,
    shares: Sequence[float] = SHARES,
    criterion: str | None = None,
    policy: Policy | None = None,
    refit: bool = False,
    kind: str | Task | None = None,
    objective: str | None = None,
    finetune_epochs: Whole = 0,
    n_samples: Whole = 16,
    seed: int = 0,
    data_name: str = "",
    **settings: Any,
) -> Choice:
    """Returns the member of a family that a rule chooses, within budgets if there are any.

    Args:
        family: the family.
        valid: validation data, every row of which counts alike; not needed when an estimator decides.
        by: ``one-se``, ``best``, ``sparsest``, or an estimator of ``netdial.evidence`` such as ``eb-elbo`` or ``mdl``;
            the default depends on the budgets, see the top of this file.
        metric: metric that rules compare members by: ``accuracy``, ``balanced_accuracy``, ``f1``, ``auc``, ``brier``,
            ``rmse``, ``r2`` …; by default the task's proper loss (``nll``, the log loss; ``rmse`` for regression). Members
            chosen by accuracy often have poor probabilities. The ``nll`` of a regression is under the law of errors of the
            whole member at each λ, whatever is removed.
        train: training data, for estimators, for fine-tuning, to fold constant inputs into biases when pruning, and for the
            constant that members are compared with (by default that of the validation data).
        max_params: most numbers left.
        max_bytes: most bytes of stored tensors; zeros are stored as a bitmap.
        max_macs: most multiply-accumulates for one example whose weight is left.
        max_latency_ms: most milliseconds for one example, measured here.
        min_accuracy: least accuracy on validation data.
        lams: complexity values to look at, or how many over the range.
        shares: shares removed to look at.
        criterion: what is removed first; by default ``density``, or ``magnitude`` for points.
        policy: what may be removed.
        refit: let the weights that are left make up for those that went, by least squares over ``train``, see ``prune``.
        kind: the task: a name, or a ``Task``; by default that of the family.
        objective: what the family was trained under, if it does not know (``Family.objective``).
        finetune_epochs: epochs of fine-tuning after every step of pruning; 0 for none.
        n_samples: draws of the posterior, to see whether averaging over it predicts better than the chosen network
            (``Choice.using``); 0 does not look.
        seed: seed of whatever is drawn.
        data_name: name of the data, for the card.
        **settings: of the fine-tuning: fields of ``FitConfig``, for example ``lr=2e-3``.

    Warns:
        MemberWarning: the chosen network does worse than a constant on validation data; or, of a regression and by an
            estimator without them, no member does better than one on training data.

    Raises:
        BudgetError: nothing meets the budgets; the nearest member and its costs are named.
        ConfigError: an unknown rule, an estimator that the objective does not allow or that held-out errors of a regression
            speak against, or data that are missing for what was asked.
    """
    budget = Budget(max_params, max_bytes, max_macs, max_latency_ms, min_accuracy)
    rule = by or _default_rule(budget)
    _check(rule, (valid, train), budget, finetune_epochs, settings)
    for data, what in ((valid, "validation part"), (train, "training part")):
        check_columns(family.columns, data, what)
    parts, task = _admit(family, (valid, train), kind)
    if min_accuracy is not None and "accuracy" not in task.METRICS:
        raise ConfigError(f"min_accuracy: {task.name} has no accuracy; leave it out")
    pruning = Rule(criterion, policy or Policy(), kind=task, seed=seed, refit=refit)
    task.known(metric or task.proper)
    problem = ChoiceProblem(*parts, pruning, data_name, metric, n_samples)
    objective = objective or family.objective
    tuning = Tuning(finetune_epochs, objective, settings)
    plain = search(family, problem, lams=lams, shares=shares, timed=max_latency_ms is not None)
    walks = finetune_epochs > 0 and rule in RULES
    table = with_tuned(family, plain, problem, tuning) if walks else plain
    among = feasible(table, budget)
    if rule in RULES:
        index, said = RULES[rule](table, among), ""
    else:
        index, said = _by_estimator(family, problem, rule, objective, table, among)
    row, n = table.cells[index], 0 if problem.valid is None else len(problem.valid)
    if row.epochs:
        member = tuned_member(family, row.lam, row.share, plain, problem, tuning)
    else:
        member = restricted(family, row.lam, row.share, problem)
    taken = Choice(
        family=member,
        row=row,
        losses=table.losses[index],
        by=rule,
        why=_sentence(rule, table, among, index, budget, n) + said,
        table=table,
        problem=problem,
        tuning=tuning,
        constant=_constant(family, problem, row.metrics),
    )
    if finetune_epochs and not walks:
        taken = taken.finetune(epochs=finetune_epochs)
    else:
        average = averaged(member, row.lam, problem)
        using = better_way(row.metrics, average, problem)
        taken = replace(taken, average=average, using=using)
    taken = replace(taken, remarks=_remarks(taken, index, family))
    taken.warn()
    return taken


def _constant(family: Family, problem: ChoiceProblem, metrics: Iterable[str]) -> dict[str, float]:
    """Returns what a constant is worth on validation data, by the same metrics."""
    valid, train = problem.valid, problem.train
    if valid is None:
        return {}
    fitted = valid.y if train is None else train.y
    with torch.no_grad():
        lam = family.lams(1)[0]
        width = family.export(lam)(problem.example(family)).numel()
    return constant_of(problem.task, fitted, valid.y, width, list(metrics))


def _remarks(taken: Choice, index: int, family: Family) -> tuple[str, ...]:
    """Returns what should be known about a choice, one sentence each."""
    table, task = taken.table, taken.problem.task
    said = remarks(
        table.rows(),
        index,
        family.config.lo,
        family.config.hi,
        metric=table.metric,
        loss=loss_words(task),
    )
    return (*said, *taken.caution)


def _admit(
    family: Family, parts: tuple[Data | None, Data | None], kind: str | Task | None
) -> tuple[tuple[Dataset | None, Dataset | None], Task]:
    """Returns the validation and the training part in memory, and their task, which the first of them decides."""
    valid, train = parts
    task = None if kind is None and family.task is None else settle(kind, family.task)
    if valid is not None:
        valid, task = admit(family.net, valid, task, part="validation part")
    if train is not None:
        train, task = admit(family.net, train, task, part="training part")
    return (valid, train), task or settle(kind, family.task)


def _default_rule(budget: Budget) -> str:
    if budget.limits_cost:
        return "best"
    return "one-se" if budget.min_accuracy is None else "sparsest"


def _check(
    rule: str,
    parts: tuple[Data | None, Data | None],
    budget: Budget,
    epochs: int,
    settings: dict[str, Any],
) -> None:
    """Refuses what cannot be done with the parts given, validation and training.

    Raises:
        ConfigError: says what is missing.
    """
    valid, train = parts
    if rule not in RULES and rule not in ESTIMATORS:
        raise unknown("rule", rule, [*RULES, *ESTIMATORS])
    if valid is None and (rule in RULES or budget.min_accuracy is not None):
        raise ConfigError(
            f"by={rule!r} is decided on validation data; give valid, or let an estimator decide on training data (by='eb-elbo')"
        )
    if train is None and rule not in RULES:
        raise ConfigError(f"by={rule!r} is estimated on training data; give train")
    if epochs < 0 or (epochs and train is None):
        raise ConfigError(
            f"finetune_epochs={epochs}: fine-tuning needs a count of at least 0, and training data; give train"
        )
    if settings and not epochs:
        raise ConfigError(
            f"choose: {', '.join(settings)} would be of the fine-tuning; give finetune_epochs, or leave it out"
        )


def _by_estimator(
    family: Family,
    problem: ChoiceProblem,
    name: str,
    objective: str,
    table: CandidateTable,
    among: Sequence[int],
) -> tuple[int, str]:
    """Returns the member that an estimator takes, and what it said in words."""
    lams = sorted({table.cells[i].lam for i in among})
    assert problem.train is not None
    found = assess(
        family,
        problem.train,
        lams=lams,
        by=[name],
        objective=objective,
        kind=problem.task,
        seed=problem.pruning.seed,
        held_out=_held_out(table, among, problem),
    )
    lam = chosen(found).get(name)
    if lam is None and name in lowest(found):
        raise ConfigError(f"by={name!r}: {found[0].why}")
    if lam is None:
        raise ConfigError(
            f"by={name!r} judges the family as a whole and chooses no lam; choose by eb-elbo, mdl or validation data"
        )
    (said,) = (estimate for estimate in found if estimate.lam == lam)
    if USELESS in said.why:
        warn(f"by={name!r}: {USELESS}; train longer", MemberWarning)
    caution = f" It is {UNCHECKED}." if UNCHECKED in said.why else ""
    index = min((i for i in among if table.cells[i].lam == lam), key=lambda i: table.cells[i].share)
    return (
        index,
        f" Its value there is {said.value:.5g} {said.unit} (standard error {said.error:.2g}).{caution}",
    )


def _held_out(
    table: CandidateTable, among: Sequence[int], problem: ChoiceProblem
) -> dict[float, float] | None:
    """Returns the mean squared errors of a regression's members on validation data by λ; None if there are no such data."""
    if problem.valid is None or "rmse" not in problem.task.METRICS:
        return None
    cells = sorted((table.cells[i] for i in among), key=lambda cell: -cell.share)
    return {cell.lam: cell.metrics["rmse"] ** 2 for cell in cells}


def _sentence(
    rule: str, table: CandidateTable, among: Sequence[int], index: int, budget: Budget, n: int
) -> str:
    """Returns what was compared and what was taken, in words."""
    lams, shares = ({getattr(cell, of) for cell in table.cells} for of in ("lam", "share"))
    field = f"{len(lams)} values of λ × {len(shares)} shares removed"
    tuned = sum(cell.epochs > 0 for cell in table.cells)
    if tuned:
        field += f", and {tuned} of them fine-tuned"
    if str(budget):
        field += f"; {len(among)} of {len(table.cells)} members within {budget}"
    if rule not in RULES:
        return f"Lowest {rule} on training data ({field}), with the least removed; validation data did not decide."
    if rule == "best":
        return f"Best {_named(table)} on {n} validation examples ({field})."
    top = best(table, among)
    if rule == "sparsest":
        return (
            f"Fewest parameters ({field}); the best of them has {_shown(table.cells[top], table)}."
        )
    rows = table.rows(among)
    said = (
        f"Sparsest within one standard error of the best {_named(table)} on {n} validation examples ({field}). "
        f"The best has {_shown(table.cells[top], table)}; "
    )
    if index == top:
        return f"{said}no sparser one is within a standard error of it."
    return (
        f"{said}the {loss_words(table.task, table.metric)} is higher by {rows[index].loss - rows[top].loss:.4g}, "
        f"with a paired standard error of {rows[index].error:.4g}."
    )


def _named(table: CandidateTable) -> str:
    """Returns the metric that decided, with the name of its loss where it is the proper one."""
    proper = table.metric == table.task.proper
    return f"{table.metric} ({table.task.loss_name})" if proper else table.metric


def _shown(cell: Candidate, table: CandidateTable) -> str:
    return f"{table.metric} {four_places(cell.value)} at λ = {cell.lam:.4g} with {cell.share:.4g} removed"
