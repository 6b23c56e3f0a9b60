"""What every byte of a compressed file is for; the sum is the size of the file."""

from __future__ import annotations

from dataclasses import dataclass

from netdial.compression.tracks import MOVES


@dataclass(frozen=True)
class Share:
    """Bytes of one tensor.

    Attributes:
        name: its name.
        shape: its shape.
        coder: how it is coded: ``max``, ``fast``, ``huffman`` or ``exact``.
        positions: which numbers are not 0.
        symbols: codes of the values.
        tables: values of the codebook, and what the coder has to know.
        exact: numbers that are kept as they are.
        framing: its entry in the head but for its name.
    """

    name: str
    shape: tuple[int, ...]
    coder: str
    positions: int
    symbols: int
    tables: int
    exact: int
    framing: int

    @property
    def total(self) -> int:
        """All its bytes."""
        return self.positions + self.symbols + self.tables + self.exact + self.framing


@dataclass(frozen=True)
class Ledger:
    """Bytes of a file.

    Attributes:
        size: of the file.
        rows: its tensors.
        header: magic number, version, frames and checksums of the parts and of the whole file.
        text: names, recipe and plain values, packed.
        other: parts that this version does not know and need not.
    """

    size: int
    rows: tuple[Share, ...]
    header: int
    text: int = 0
    other: int = 0

    @property
    def split(self) -> dict[str, int]:
        """Bytes by purpose: they add up to ``size``.

        Biases are all the bytes of tensors with fewer than two dimensions; how the values of a family move is in the tables.
        """
        moves = sum(row.total - row.framing for row in self.rows if row.name == MOVES)
        wide = [row for row in self.rows if len(row.shape) > 1]
        found = {
            part: sum(getattr(row, part) for row in wide)
            for part in ("positions", "symbols", "tables", "exact")
        }
        found["tables"] += moves
        narrow = [row for row in self.rows if len(row.shape) < 2 and row.name != MOVES]
        found["biases"] = sum(row.total - row.framing for row in narrow)
        found["header"] = self.header + sum(row.framing for row in self.rows)
        found["text"] = self.text
        return {**found, "other": self.other} if self.other else found

    @property
    def side(self) -> float:
        """Share of side information in the file: tables and biases."""
        split = self.split
        return (split["tables"] + split["biases"]) / self.size
