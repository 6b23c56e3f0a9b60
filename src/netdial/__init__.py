"""netdial: the complexity dial for neural networks.

One training run gives a family of networks indexed by a complexity value λ; read off any member afterwards.

>>> import netdial as nd
>>> nd.Domain(1e-3, 1e2).grid(3)
[0.001, 0.316227766017, 100.0]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netdial.choice import Choice, average, choose
    from netdial.compression.pipeline.run import compress
    from netdial.contest.run import benchmark
    from netdial.data import Dataset, Splits, load_data
    from netdial.data.memory import Named
    from netdial.evidence import Estimate, assess, health
    from netdial.family import Domain, Family, FamilyConfig
    from netdial.folds import CrossValidated, cross_validate
    from netdial.measure import evaluate, predictive
    from netdial.models.door import inspect, load_model, save
    from netdial.nets import build
    from netdial.pruning.channels import slim
    from netdial.pruning.weights import Policy, Surface, prune, retrain, surface
    from netdial.shrinking.config import ShrinkConfig
    from netdial.shrinking.shrink import Shrunk, shrink
    from netdial.sklearn import FamilyClassifier, FamilyRegressor
    from netdial.structure import SearchSpace
    from netdial.structure.search.searching import search
    from netdial.sweeps.run import sweep
    from netdial.train.config import FitConfig
    from netdial.train.direct import fit_direct, fit_starts
    from netdial.train.finetune import finetune
    from netdial.train.fit import fit

_MODULES = {
    "netdial.choice": "Choice average choose",
    "netdial.compression.pipeline.run": "compress",
    "netdial.contest.run": "benchmark",
    "netdial.data": "Dataset Splits load_data",
    "netdial.data.memory": "Named",
    "netdial.evidence": "Estimate assess health",
    "netdial.family": "Domain Family FamilyConfig",
    "netdial.folds": "CrossValidated cross_validate",
    "netdial.measure": "evaluate predictive",
    "netdial.models.door": "inspect load_model save",
    "netdial.nets": "build",
    "netdial.pruning.channels": "slim",
    "netdial.pruning.weights": "Policy Surface prune retrain surface",
    "netdial.shrinking.config": "ShrinkConfig",
    "netdial.shrinking.shrink": "Shrunk shrink",
    "netdial.sklearn": "FamilyClassifier FamilyRegressor",
    "netdial.structure": "SearchSpace",
    "netdial.structure.search.searching": "search",
    "netdial.sweeps.run": "sweep",
    "netdial.train.config": "FitConfig",
    "netdial.train.direct": "fit_direct fit_starts",
    "netdial.train.finetune": "finetune",
    "netdial.train.fit": "fit",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Choice",
    "CrossValidated",
    "Dataset",
    "Domain",
    "Estimate",
    "Family",
    "FamilyClassifier",
    "FamilyConfig",
    "FamilyRegressor",
    "FitConfig",
    "Named",
    "Policy",
    "SearchSpace",
    "ShrinkConfig",
    "Shrunk",
    "Splits",
    "Surface",
    "assess",
    "average",
    "benchmark",
    "build",
    "choose",
    "compress",
    "cross_validate",
    "evaluate",
    "finetune",
    "fit",
    "fit_direct",
    "fit_starts",
    "health",
    "inspect",
    "load_data",
    "load_model",
    "predictive",
    "prune",
    "retrain",
    "save",
    "search",
    "shrink",
    "slim",
    "surface",
    "sweep",
]
__version__ = "0.1.0"

_RENAMED = {
    "load": "load_data",
    "prune_structured": "slim",
    "save_shrunk": "save",
    "load_shrunk": "load_model",
}
"""Names that scripts written before the first release use; they still work, with a warning that says the new one."""


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        import warnings

        new = _RENAMED[name]
        warnings.warn(f"nd.{name} is called nd.{new}", FutureWarning, stacklevel=2)
        name = new
    if name not in _HOME:
        raise AttributeError(f"module 'netdial' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
