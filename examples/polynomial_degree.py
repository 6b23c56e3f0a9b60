"""Two levels of Bayesian inference: the weights of a polynomial, and above them its degree.

Given the degree, the posterior of the weights is the first level. The evidence p(D | degree), with the weights integrated out,
is the second: it falls again once a higher degree explains nothing more, so it chooses without a validation set. Three ways
to it:

    exact        the closed form of Bayesian linear regression
    Laplace      from the curvature of the loss at the trained mean weights; exact here, for the loss is quadratic
    variational  the bound of a trained family at λ = 1; below the exact one by what correlations of the weights are worth

    python examples/polynomial_degree.py degree.html
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go  # type: ignore[import-untyped]
import torch
from plotly.subplots import make_subplots  # type: ignore[import-untyped]
from torch import Tensor, nn

import netdial as nd
from netdial.core.storage.files import write_text
from netdial.evidence.estimators import linear
from netdial.evidence.estimators.laplace import laplace

TRUE_WEIGHTS = (1.0, -3.0, 4.0, 6.0)
"""Of the Legendre polynomials; targets are in units of the noise's standard deviation."""
DEGREES = range(1, 10)
PRIOR_VAR = 10.0
COLOURS = {"exact": "#2f7fd8", "laplace": "#d9660a", "variational": "#0e9384"}


class Polynomial(nn.Module):
    """Σ_k w_k P_k(x) with Legendre polynomials P_0 ... P_degree, from ``[B, 1]`` to ``[B, 1]``."""

    def __init__(self, degree: int) -> None:
        super().__init__()
        self.degree = degree
        self.weights = nn.Linear(degree + 1, 1, bias=False)

    def features(self, x: Tensor) -> Tensor:
        """Returns P_0 ... P_degree ``[B, degree + 1]``."""
        columns = [torch.ones_like(x), x]
        for k in range(1, self.degree):
            columns.append(((2 * k + 1) * x * columns[k] - k * columns[k - 1]) / (k + 1))
        return torch.cat(columns[: self.degree + 1], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the values of the polynomial."""
        out: Tensor = self.weights(self.features(x))
        return out


@dataclass(frozen=True)
class Evidence:
    """Log evidence of one degree in nats, three ways, and the member that two of them come from."""

    degree: int
    exact: float
    laplace: float
    variational: float
    net: nn.Module


def draw(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Returns x in [-1, 1] and noisy values of the true polynomial, ``[N, 1]`` each."""
    source = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(count, 1, dtype=torch.float64, generator=source) - 1
    true = Polynomial(len(TRUE_WEIGHTS) - 1)
    weights = torch.tensor(TRUE_WEIGHTS, dtype=torch.float64)[:, None]
    noise = torch.randn(count, 1, dtype=torch.float64, generator=source)
    return x, true.features(x) @ weights + noise


def infer(degree: int, x: Tensor, y: Tensor, epochs: int) -> Evidence:
    """Trains a family of polynomials of one degree and returns its evidence three ways."""
    net = Polynomial(degree).double()
    features = net.features(x)
    family = nd.fit(
        net,
        (x, y),
        kind="regression",
        objective="scaled-kl",
        lam=(0.5, 2.0),
        regions=2,
        prior_var=PRIOR_VAR,
        epochs=epochs,
        batch_size=len(x),
        groups=4,
        sampling="whole",
        lr=0.1,
        precision="64-true",
        accelerator="cpu",
    )
    fields = family.fields_at([1.0])
    assert fields.var is not None
    mean, var = fields.mean[0].detach(), fields.var[0].detach()
    member = family.export(1.0)
    near = laplace(
        member,
        (x, y),
        kind="regression",
        structure="full",
        prior_var=PRIOR_VAR,
        first_order=True,  # training ends near the mode, not at it
    )
    return Evidence(
        degree=degree,
        exact=linear.log_evidence(features, y, prior_var=PRIOR_VAR, noise_var=1.0),
        laplace=near.log_evidence,
        variational=linear.bound(mean, var, features, y, prior_var=PRIOR_VAR, noise_var=1.0),
        net=member,
    )


def chosen(found: list[Evidence], way: str) -> int:
    """Returns the degree with the largest evidence."""
    return max(found, key=lambda one: float(getattr(one, way))).degree


def draw_figure(found: list[Evidence], x: Tensor, y: Tensor) -> go.Figure:
    """Returns the evidence over degrees, and the polynomials of three degrees beside the data."""
    figure = make_subplots(
        cols=2, subplot_titles=["Log evidence · nats", "Mean of the posterior, by degree"]
    )
    degrees = [one.degree for one in found]
    for way, colour in COLOURS.items():
        values = [getattr(one, way) for one in found]
        best = chosen(found, way)
        figure.add_scatter(
            x=degrees,
            y=values,
            name=f"{way}: degree {best}",
            mode="markers" if way == "laplace" else "lines",
            line={"color": colour, "dash": "dot" if way == "variational" else "solid"},
            marker={"color": colour, "size": 9, "symbol": "circle-open", "line": {"width": 2}},
            row=1,
            col=1,
        )
    grid = torch.linspace(-1, 1, 200, dtype=torch.float64)[:, None]
    best = chosen(found, "exact")
    for one in (found[0], found[best - found[0].degree], found[-1]):
        with torch.no_grad():
            values = one.net(grid)[:, 0].tolist()
        figure.add_scatter(
            x=grid[:, 0].tolist(), y=values, name=f"degree {one.degree}", row=1, col=2
        )
    figure.add_scatter(
        x=x[:, 0].tolist(),
        y=y[:, 0].tolist(),
        mode="markers",
        name="data",
        marker={"color": "#7d8590"},
        row=1,
        col=2,
    )
    top = max(one.exact for one in found)
    figure.update_yaxes(range=[top - 12, top + 1], row=1, col=1)  # too low degrees lie far below
    figure.update_xaxes(title_text="degree", dtick=1, row=1, col=1)
    figure.update_xaxes(title_text="x", row=1, col=2)
    figure.update_layout(
        title="Which degree? Exact evidence, Laplace and the variational bound",
        template="plotly_white",
    )
    return figure


def main() -> None:
    """Reads the arguments, infers every degree, prints a table and writes the picture."""
    parser = argparse.ArgumentParser(description="Choose the degree of a polynomial by evidence.")
    parser.add_argument("path", type=Path, nargs="?", default=Path("polynomial_degree.html"))
    parser.add_argument("--epochs", type=int, default=600)
    arguments = parser.parse_args()
    x, y = draw()
    found = [infer(degree, x, y, arguments.epochs) for degree in DEGREES]
    print("degree      exact    Laplace  variational   nats")
    for one in found:
        print(f"{one.degree:6} {one.exact:10.3f} {one.laplace:10.3f} {one.variational:12.3f}")
    print(", ".join(f"{way}: degree {chosen(found, way)}" for way in COLOURS))
    write_text(arguments.path, draw_figure(found, x, y).to_html())
    print(arguments.path)


if __name__ == "__main__":
    main()
