"""``netdial doctor``: what is installed, what is missing, and what is known to break."""

from __future__ import annotations

import importlib.util
import os
import platform
from typing import Any

import typer

from netdial.cli.options import DataDirOption, JsonOption

CORE = ("numpy", "safetensors", "lightning-fabric", "torchmetrics", "pydantic", "plotly", "jinja2")
EXTRAS = {
    "data": ("scikit-learn", "pandas", "pyarrow", "pillow"),
    "excel": ("openpyxl",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
}
DATA_FILES = {
    "mnist": ("mnist.npz", "train-images-idx3-ubyte*", "*/train-images-idx3-ubyte*", "mnist/*"),
    "cifar10": ("*cifar10*", "cifar-10-batches-*", "*/cifar-10-batches-*"),
}


def doctor(data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Check the installation: Python, torch, extras, data folder."""
    found = examine(data_dir)
    from netdial.cli.output import console, print_json

    if as_json:
        print_json(found)
    else:
        console().print("\n".join(_lines(found)), markup=False, soft_wrap=True)
    if not found["ok"]:
        raise typer.Exit(1)


def examine(data_dir: str | None) -> dict[str, Any]:
    """Returns what there is; ``ok`` is False when a requirement is missing or torch cannot be imported."""
    from netdial.runs.environment import version_of

    core = {name: version_of(name) for name in CORE}
    torch = _torch()
    problems = [f"{name} is missing; pip install netdial" for name, v in core.items() if v is None]
    problems += [torch["problem"]] if "problem" in torch else []
    return {
        "ok": not problems,
        "netdial": version_of("netdial"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch,
        "requirements": core,
        "extras": {
            extra: {name: version_of(name) for name in names} for extra, names in EXTRAS.items()
        },
        "data": _data(data_dir),
        "warnings": _warnings(),
        "problems": problems,
    }


def _torch() -> dict[str, Any]:
    try:
        import torch
    except Exception as error:  # a broken installation raises anything at all
        return {
            "version": None,
            "problem": f"torch cannot be imported ({type(error).__name__}: {error})",
        }
    cuda = torch.cuda.is_available()
    return {
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "compiled": _compiled(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if cuda
        else [],
    }


def _compiled() -> str:
    """Returns whether the compiled step of multilayer perceptrons is there, can be built, or what it lacks."""
    from netdial.family.running.compiled import library

    if library.is_off():
        return f"off ({library.VARIABLE}=0)"
    if library.built_file().exists():
        return "built"
    lack = library.missing()
    return f"not available: {lack}" if lack else "can be built, on first use"


def _data(data_dir: str | None) -> dict[str, Any]:
    from netdial.data.folder import VARIABLE, data_folder

    folder = data_folder(data_dir)
    if folder is None:
        return {"folder": None, "note": f"no data folder; set {VARIABLE} or give --data-dir"}
    if not folder.is_dir():
        return {"folder": str(folder), "note": "the folder does not exist"}
    there = {
        name: any(any(folder.glob(p)) for p in patterns) for name, patterns in DATA_FILES.items()
    }
    return {"folder": str(folder), **there}


def _warnings() -> list[str]:
    warnings = []
    if importlib.util.find_spec("torchvision") is not None:
        warnings.append(
            "torchvision is installed: netdial does not use it, and a build that does not fit torch breaks "
            "torchmetrics; if fitting fails on import, pip uninstall torchvision"
        )
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is None and (os.cpu_count() or 1) > 8:
        warnings.append(
            "OMP_NUM_THREADS is not set: small networks run fastest on one or two threads"
        )
    return warnings


def _lines(found: dict[str, Any]) -> list[str]:
    torch = found["torch"]
    devices = ", ".join(torch.get("devices", [])) or "CPU only"
    lines = [
        f"netdial {found['netdial']}, Python {found['python']}, {found['platform']}",
        f"torch {torch['version']}, {torch.get('threads')} threads, {devices}",
        f"compiled step: {torch.get('compiled', 'needs torch')}",
    ]
    groups = {
        "requirements": found["requirements"],
        **{f"extra {k}": v for k, v in found["extras"].items()},
    }
    for title, packages in groups.items():
        missing = [name for name, version in packages.items() if version is None]
        mend = f" (pip install 'netdial[{title.split()[-1]}]')" if title.startswith("extra") else ""
        state = f"missing {', '.join(missing)}{mend}" if missing else "all there"
        lines.append(f"{title}: {state}")
    data = found["data"]
    files = ", ".join(f"{k} {'found' if data[k] else 'not found'}" for k in DATA_FILES if k in data)
    lines.append(f"data folder: {data['folder'] or 'none'} ({data.get('note', files)})")
    lines += [f"warning: {warning}" for warning in found["warnings"]]
    lines += [f"problem: {problem}" for problem in found["problems"]]
    return [*lines, "ready" if found["ok"] else "not ready"]
