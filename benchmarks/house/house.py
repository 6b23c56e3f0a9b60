"""How the source is built, by its imports and lines: circles and arrows upward, largest folder and file, repeated code."""

from __future__ import annotations

from pathlib import Path

import netdial
from benchmarks.common.result import Result
from benchmarks.house._structure import House

_ROOT = Path(__file__).parents[2]


def measure(*, quick: bool) -> Result:
    """Reads all files of the package, and counts those beside it; the quick version is the same."""
    house = House(Path(netdial.__file__).parent)
    folder, in_folder = house.folders.most_common(1)[0]
    file, in_file = house.lines.most_common(1)[0]
    beside = [
        (name, House(_ROOT / name).folders.most_common(1)[0]) for name in ("benchmarks", "tests")
    ]
    long = sum(count > 350 for count in house.lines.values())
    rows = [
        {"what": "parts", "count": len(house.parts), "which": ""},
        {"what": "floors", "count": house.floors, "which": ""},
        {
            "what": "circles of imports",
            "count": len(house.circles),
            "which": "; ".join(" ".join(ring) for ring in house.circles),
        },
        {
            "what": "arrows upward",
            "count": len(house.upward),
            "which": ", ".join(f"{a} -> {b}" for a, b in house.upward),
        },
        {"what": "largest folder, files", "count": in_folder, "which": folder},
        *(
            {"what": f"largest folder of {name}, files", "count": count, "which": which}
            for name, (which, count) in beside
        ),
        {"what": "largest file, lines", "count": in_file, "which": file},
        {"what": "files over 350 lines", "count": long, "which": ""},
        {
            "what": "public classes of equal name",
            "count": len(house.same_names),
            "which": ", ".join(sorted(house.same_names)),
        },
        {
            "what": "pairs of files that share six lines of one shape",
            "count": len(house.repeats),
            "which": "; ".join(f"{a} ~ {b}" for (a, b), _ in house.repeats.most_common(5)),
        },
        {"what": "lines of source", "count": house.lines.total(), "which": ""},
    ]
    return Result(
        "house",
        {str(row["what"]): float(str(row["count"])) for row in rows},
        "count",
        "lower",
        quick=quick,
        rows=rows,
    )
