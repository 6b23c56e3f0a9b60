"""Networks of the zoo over points, atoms, sound and rows, fifteenth sample: neighbours, edges of a flat batch, splines."""

# ruff: noqa: UP031 - lines as people write them
from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fifteenth.inputs import ATOMS, INPUTS, MASKED_WAVE


class SharedMLP(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, *, bn: bool = True, act: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, (1, 1))
        self.batch_norm = nn.BatchNorm2d(out_channels, eps=1e-6, momentum=0.99) if bn else None
        self.activation_fn = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.batch_norm:
            x = self.batch_norm(x)
        if self.activation_fn:
            x = self.activation_fn(x)
        return x


def gather_neighbours(features: Tensor, index: Tensor) -> Tensor:
    b, n, c = features.shape
    extended = index.reshape(b, -1, 1).expand(-1, -1, c)
    return torch.gather(features, 1, extended).reshape(b, n, -1, c)


class LocalSpatialEncoding(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.mlp = SharedMLP(10, d, act=nn.ReLU())

    def forward(self, coords: Tensor, features: Tensor, index: Tensor) -> Tensor:
        neighbours = gather_neighbours(coords, index)
        extended = coords.unsqueeze(2).expand_as(neighbours)
        relative = extended - neighbours
        distance = relative.norm(dim=-1, keepdim=True)
        concat = torch.cat((extended, neighbours, relative, distance), -1).permute(0, 3, 1, 2)
        spread = gather_neighbours(features.squeeze(-1).transpose(1, 2), index)
        return torch.cat([self.mlp(concat), spread.permute(0, 3, 1, 2)], dim=1)


class AttentivePooling(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.score_fn = nn.Sequential(
            nn.Linear(in_channels, in_channels, bias=False), nn.Softmax(dim=-2)
        )
        self.mlp = SharedMLP(in_channels, out_channels, act=nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        scores = self.score_fn(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.mlp(torch.sum(scores * x, dim=-1, keepdim=True))


class RandLa(nn.Module):
    """Points with what lies around them: attentive pooling over neighbours, twice, beside a shortcut."""

    def __init__(self, n_neighbours: int = 4, n_classes: int = 5) -> None:
        super().__init__()
        self.n_neighbours = n_neighbours
        self.fc_start = nn.Linear(3, 8)
        self.bn_start = nn.Sequential(nn.BatchNorm2d(8, eps=1e-6), nn.LeakyReLU(0.2))
        self.mlp1, self.mlp2 = SharedMLP(8, 6, act=nn.LeakyReLU(0.2)), SharedMLP(12, 24)
        self.lse1, self.lse2 = LocalSpatialEncoding(6), LocalSpatialEncoding(8)
        self.pool1, self.pool2 = AttentivePooling(12, 8), AttentivePooling(16, 12)
        self.shortcut, self.lrelu = SharedMLP(8, 24), nn.LeakyReLU()
        self.fc_end = nn.Sequential(
            SharedMLP(24, 16, act=nn.ReLU()), nn.Dropout(), SharedMLP(16, n_classes, bn=False)
        )

    def forward(self, coords: Tensor) -> Tensor:
        _, index = torch.topk(torch.cdist(coords, coords), self.n_neighbours, dim=-1, largest=False)
        x = self.bn_start(self.fc_start(coords).transpose(-2, -1).unsqueeze(-1))
        f = self.pool1(self.lse1(coords, self.mlp1(x), index))
        f = self.pool2(self.lse2(coords, f, index))
        return self.fc_end(self.lrelu(self.mlp2(f) + self.shortcut(x))).squeeze(-1)


class EquivariantConv(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.edge_mlp = nn.Sequential(
            nn.Linear(2 * hidden + 1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()
        )
        self.att_mlp = nn.Sequential(nn.Linear(hidden, 1), nn.Sigmoid())
        self.coord_mlp = nn.Sequential(
            nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1, bias=False)
        )
        self.node_mlp = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )

    def forward(self, h: Tensor, x: Tensor, row: Tensor, col: Tensor) -> tuple[Tensor, Tensor]:
        difference = x[row] - x[col]
        radial = (difference**2).sum(1, keepdim=True)
        m = self.edge_mlp(torch.cat([h[row], h[col], radial], 1))
        m = m * self.att_mlp(m)
        x = x + torch.zeros_like(x).index_add_(0, row, difference * self.coord_mlp(m)) / 3
        agg = h.new_zeros(h.size(0), m.size(1))
        agg = agg.scatter_add_(0, row.unsqueeze(-1).expand(-1, m.size(1)), m)
        return h + self.node_mlp(torch.cat([h, agg], 1)), x


class Egnn(nn.Module):
    """Atoms of all molecules of a batch as one graph, whose edges are counted on from molecule to molecule."""

    def __init__(self, features: int = 4, hidden: int = 16, n_layers: int = 2) -> None:
        super().__init__()
        self.embedding_in, self.n_layers = nn.Linear(features, hidden), n_layers
        for i in range(n_layers):
            self.add_module("gcl_%d" % i, EquivariantConv(hidden))
        self.node_dec = nn.Linear(hidden, hidden)
        self.graph_dec = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 2))

    def forward(self, h0: Tensor, x: Tensor) -> Tensor:
        b, n, _ = h0.shape
        rows, cols = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        keep = (rows != cols).reshape(-1)
        row, col = rows.reshape(-1)[keep], cols.reshape(-1)[keep]
        offset = (torch.arange(b, device=h0.device) * n)[:, None]
        row, col = (row[None] + offset).reshape(-1), (col[None] + offset).reshape(-1)
        h, x = self.embedding_in(h0.reshape(b * n, -1)), x.reshape(b * n, 3)
        for i in range(self.n_layers):
            h, x = self._modules["gcl_%d" % i](h, x, row, col)
        h = self.node_dec(h)
        return self.graph_dec(h.view(b, n, -1).sum(1))


class MaskedWave(nn.Module):
    """Sound by convolutions, with a vector of its own where it is masked, and places by a convolution under weight norm."""

    def __init__(self, c: int = 12, d: int = 16) -> None:
        super().__init__()
        sizes = [(1, c, 10, 5), (c, c, 3, 2), (c, c, 2, 2)]
        self.feature_extractor = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(i, o, k, s, bias=False),
                nn.GroupNorm(o, o) if place == 0 else nn.Identity(),
                nn.GELU(),
            )
            for place, (i, o, k, s) in enumerate(sizes)
        )
        self.layer_norm, self.post_extract_proj = nn.LayerNorm(c), nn.Linear(c, d)
        self.mask_emb = nn.Parameter(torch.rand(d))
        self.pos_conv = nn.utils.parametrizations.weight_norm(
            nn.Conv1d(d, d, 8, padding=4, groups=4), name="weight", dim=2
        )
        layer = nn.TransformerEncoderLayer(d, 2, 24, 0.1, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.final_proj = nn.Linear(d, 6)

    def forward(self, wave: Tensor, mask: Tensor) -> Tensor:
        x = wave.unsqueeze(1)
        for conv in self.feature_extractor:
            x = conv(x)
        x = self.post_extract_proj(self.layer_norm(x.transpose(1, 2)))
        x = torch.where(mask.unsqueeze(-1), self.mask_emb, x)
        places = self.pos_conv(x.transpose(1, 2))
        places = places[:, :, :-1] if places.size(2) > x.size(1) else places
        return self.final_proj(self.encoder(x + F.gelu(places).transpose(1, 2)))


class KanLinear(nn.Module):
    """Splines on a grid of each input beside a base weight, the splines scaled by a weight of their own."""

    def __init__(self, in_features: int, out_features: int, grid_size: int = 4, order: int = 3):
        super().__init__()
        self.in_features, self.out_features, self.order = in_features, out_features, order
        grid = torch.arange(-order, grid_size + order + 1) * (2 / grid_size) - 1
        self.register_buffer("grid", grid.expand(in_features, -1).contiguous())
        self.base_weight = nn.Parameter(torch.randn(out_features, in_features) * 0.3)
        self.spline_weight = nn.Parameter(
            torch.randn(out_features, in_features, grid_size + order) * 0.1
        )
        self.spline_scaler = nn.Parameter(torch.ones(out_features, in_features))
        self.base_activation = nn.SiLU()

    def b_splines(self, x: Tensor) -> Tensor:
        assert x.dim() == 2 and x.size(1) == self.in_features
        grid: Any = self.grid
        x = x.unsqueeze(-1)
        bases = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            bases = (x - grid[:, : -(k + 1)]) / (grid[:, k:-1] - grid[:, : -(k + 1)]) * bases[
                :, :, :-1
            ] + (grid[:, k + 1 :] - x) / (grid[:, k + 1 :] - grid[:, 1:(-k)]) * bases[:, :, 1:]
        return bases.contiguous()

    @property
    def scaled_spline_weight(self) -> Tensor:
        return self.spline_weight * self.spline_scaler.unsqueeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        base_output = F.linear(self.base_activation(x), self.base_weight)
        spline_output = F.linear(
            self.b_splines(x).view(x.size(0), -1),
            self.scaled_spline_weight.view(self.out_features, -1),
        )
        return base_output + spline_output


class EfficientKan(nn.Module):
    def __init__(self, layers_hidden: Sequence[int] = (6, 12, 10, 3)) -> None:
        super().__init__()
        self.layers = nn.ModuleList(KanLinear(i, o) for i, o in pairwise(layers_hidden))

    def forward(self, x: Tensor, update_grid: bool = False) -> Tensor:
        for layer in self.layers:
            if update_grid:
                layer.update_grid(x)
            x = layer(x)
        return x


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "attentive_neighbours": lambda: (RandLa(), INPUTS.points),
    "equivariant_atoms": lambda: (Egnn(), ATOMS),
    "masked_wave": lambda: (MaskedWave(), MASKED_WAVE),
    "scaled_splines": lambda: (EfficientKan(), INPUTS.numbers / 3),
}
