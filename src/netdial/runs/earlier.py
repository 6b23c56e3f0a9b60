"""Records of format 1, in which a record had two axes and all else stood in its name and method, read as they are today.

This is the only place that takes names apart. A line is converted by itself, so that a file may hold lines of both formats:
an earlier run that is resumed, or measured again, goes on in today's.
"""

from __future__ import annotations

import re
from typing import Any

from netdial.core.records import Place

_PARTS = ("train", "valid", "test")
_PREDICTIVE = "_predictive"
_RATE = re.compile(r"(\d+) rounds? of (\d+) epochs?")


def converted(line: Any) -> Any:
    """Returns a line of a records file as today's format has it; what is no line of format 1 comes back as it is."""
    if not isinstance(line, dict) or "where" in line or not isinstance(line.get("method"), str):
        return line
    rest = dict(line)
    method, name = rest.pop("method"), rest.get("name")
    lam, share = rest.pop("lam", None), rest.pop("share", None)
    if not isinstance(name, str):
        return line
    kind, _, words = method.partition(": ")
    where = {"method": "slim" if kind == "structured" else kind}
    where |= {
        axis: place for axis, place in (("lam", lam), ("sparsity", share)) if place is not None
    }
    where |= _policy(kind, [word for word in words.split(", ") if word])
    rest["name"], places = _placed(kind, name)
    return {**rest, "where": where | places}


def _placed(kind: str, name: str) -> tuple[str, dict[str, Place]]:
    """Returns a name of format 1 as a name and what it belongs to."""
    first, _, rest = name.partition("/")
    if kind == "evidence" and first == "evidence":
        estimator, _, term = rest.partition("/")
        return term or "evidence", {"estimator": estimator}
    if first == "shrink" and rest.startswith(("start/", "end/")):
        stage, _, cost = rest.partition("/")
        name, places = _placed(kind, cost)
        return name, {"stage": stage, **places}
    if rest and (first == "pruned" or first.startswith("round ")):
        name, places = _placed(kind, rest)
        return name, {"round": 0 if first == "pruned" else int(first[6:]), **places}
    if first in ("shrink", "choice") and rest:
        return _placed(kind, rest)
    if first == "width" and rest:
        return "width", {"layer": rest}
    if first in _PARTS and rest:
        if rest.endswith(_PREDICTIVE):
            return rest.removesuffix(_PREDICTIVE), {"part": first, "using": "predictive"}
        return rest, {"part": first}
    if re.fullmatch(r"ms_\d+", name):
        return "ms", {"batch": int(name[3:])}
    return name, {}


def _policy(kind: str, words: list[str]) -> dict[str, Place]:
    """Returns what the method of a pruning said of how it was done."""
    if kind == "prune":
        return {"criterion": words[0] if words else "density", **_settings(words[1:])}
    if kind not in ("slim", "structured") or not words:
        return {}
    criterion, goal, *others = words
    share = goal.removesuffix("% of the channels")
    asked = {"size": goal} if share == goal else {"share": float(share) / 100}
    return {"criterion": criterion, **asked, **_settings(others)}


def _settings(words: list[str]) -> dict[str, Place]:
    found: dict[str, Place] = {}
    for word in words:
        if (training := _RATE.fullmatch(word)) is not None:
            found |= {"rounds": int(training[1]), "epochs": int(training[2])}
        elif word in ("biases too", "whole rows"):
            found[word.split()[0] if word == "biases too" else "rows"] = True
        elif word == "nothing folded":
            found["fold"] = False
        elif word == "rounded by time":
            found["by_time"] = True
        elif word in ("per layer", "global"):
            found |= {"scope": "layer"} if word == "per layer" else {}
        elif word.startswith("per "):
            found["per"] = word[4:]
        elif word.startswith("at least "):
            found["minimum"] = int(word.split()[2])
        elif word.startswith("lr "):
            found["lr"] = float(word[3:])
    return found
