"""Compressed files turned into files that other programs read: safetensors, and a folder as model hubs have them."""

from __future__ import annotations

import json
from pathlib import Path

from netdial.compression.costs import Ledger
from netdial.compression.file import Contents, ledger, read
from netdial.core.errors import ConfigError
from netdial.core.storage.files import write_atomic, write_bytes, write_text

FILE = "model.ndz"
"""Name of the compressed file in a folder."""


def to_safetensors(path: str | Path, out: str | Path, max_bytes: int | None = None) -> int:
    """Writes the dense tensors of a compressed file as safetensors, atomically; returns the bytes written.

    Tensors keep their names and types, so that ``net.load_state_dict(safetensors.torch.load_file(out))`` fills a network. What
    lies in several places of it (tied layers) is there once, by its first name, as ``safetensors.torch.load_model(net, out)``
    expects it; weights that a norm computes are plain, complex numbers are pairs, and buffers of no state are there, too.
    Recipe and plain values stand in the metadata as JSON, under ``recipe`` and ``meta``.

    Args:
        path: the compressed file.
        out: file to write.
        max_bytes: as for ``read``.

    Raises:
        CheckpointError: the file is damaged, or the disk refused the new one.
        ConfigError: it holds a family, which has no one network.
    """
    found = _one_network(path, read(path, max_bytes=max_bytes))
    _write(found, Path(out))
    return Path(out).stat().st_size


def to_folder(path: str | Path, out: str | Path, max_bytes: int | None = None) -> Path:
    """Writes a folder as model hubs have them and returns it: ``README.md`` (a card), ``config.json``, ``model.safetensors``.

    The compressed file lies beside them as ``model.ndz``; the card says how both are opened and what each byte is for.

    Args:
        path: the compressed file.
        out: folder to write into; it is made when missing.
        max_bytes: as for ``read``.

    Raises:
        CheckpointError, ConfigError: as for ``to_safetensors``.
    """
    folder = Path(out)
    found = _one_network(path, read(path, max_bytes=max_bytes))
    folder.mkdir(parents=True, exist_ok=True)
    _write(found, folder / "model.safetensors")
    write_bytes(folder / FILE, Path(path).read_bytes())
    config = {"library_name": "netdial", "recipe": found.recipe, "meta": dict(found.meta)}
    write_text(folder / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", _card(found, ledger(path)))
    return folder


def _one_network(path: str | Path, found: Contents) -> Contents:
    if isinstance(found.recipe, dict) and "family" in found.recipe:
        raise ConfigError(
            f"{path}: holds a family of networks; take a member, nd.save(nd.load_model({str(path)!r}), out, lam=0.1)"
        )
    return found


def _write(found: Contents, out: Path) -> None:
    from safetensors.numpy import save_file

    said = {"format": "pt", "recipe": json.dumps(found.recipe), "meta": json.dumps(found.meta)}
    write_atomic(out, lambda made: save_file(found.dense(), made, metadata=said))


def _card(found: Contents, told: Ledger) -> str:
    """Returns the card: front matter, how the files are opened, and where the bytes go."""
    dense = sum(array.nbytes for array in found.dense().values())
    about = {
        key: value for key, value in found.meta.items() if isinstance(value, str | int | float)
    }
    lines = [
        "---",
        "library_name: netdial",
        "tags: [compressed, pruned, quantized]",
        "---",
        "",
        "# A compressed network",
        "",
        f"{told.size} bytes in `{FILE}`, {dense / max(told.size, 1):.1f} times smaller than its {dense} bytes of numbers.",
        "",
        *(f"- {key}: {value}" for key, value in about.items()),
        "",
        "```python",
        "import netdial as nd",
        "from safetensors.torch import load_file",
        "",
        f'net = nd.load_model("{FILE}")                      # from the few bytes',
        'state = load_file("model.safetensors")              # dense, for a network of the same architecture',
        "```",
        "",
        "| bytes | of |",
        "|---|---|",
        *(f"| {size} | {purpose} |" for purpose, size in told.split.items()),
        "",
        "| tensor | shape | bytes |",
        "|---|---|---|",
        *(
            f"| {row.name} | {' × '.join(map(str, row.shape)) or '1'} | {row.total} |"
            for row in told.rows
        ),
        "",
    ]
    return "\n".join(lines)
