"""Networks of the zoo over graphs, functions and actions, fourth sample: kinds that none of the earlier samples has."""

# ruff: noqa: N806 - names as in the papers
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.fourth.sequences import EDGES, NODES, ROWS, SERIES


class GatV2(nn.Module):
    """Attention along dense edges, the nonlinearity before the score; a second matrix of inputs."""

    def __init__(self, i: int = 5, d: int = 4, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.d = heads, d
        self.left, self.right, self.a = (
            nn.Linear(i, heads * d, bias=False),
            nn.Linear(i, heads * d, bias=False),
            nn.Parameter(torch.randn(heads, d)),
        )
        self.lin, self.out = nn.Linear(heads * d, 9), nn.Linear(9, 3)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        b, n, _ = x.shape
        gl, gr = (
            self.left(x).view(b, n, self.heads, self.d),
            self.right(x).view(b, n, self.heads, self.d),
        )
        e = (F.leaky_relu(gl.unsqueeze(2) + gr.unsqueeze(1), 0.2) * self.a).sum(-1)
        adj = adj + torch.eye(n, dtype=x.dtype)
        e = e.masked_fill(adj.unsqueeze(-1) == 0, float("-inf"))
        h = torch.einsum("bijh,bjhf->bihf", F.softmax(e, dim=2), gr).reshape(b, n, -1)
        return self.out(F.elu(self.lin(F.elu(h))).mean(1))


class DiffPool(nn.Module):
    """Nodes pooled into clusters by a learned assignment; the graph of clusters goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.assign = nn.Linear(5, 10), nn.Linear(5, 3)
        self.post, self.fc = nn.Linear(10, 12), nn.Linear(12, 2)

    def forward(self, x: Tensor, adj: Tensor) -> Tensor:
        adj = adj / adj.sum(-1, keepdim=True).clamp(min=1)
        z = F.relu(self.embed(adj @ x))
        s = torch.softmax(self.assign(adj @ x), dim=-1)
        x, adj = torch.bmm(s.transpose(1, 2), z), s.transpose(1, 2) @ adj @ s
        return self.fc(F.relu(self.post(torch.bmm(adj, x))).max(dim=1)[0])


class EquivariantLayer(nn.Module):
    """EGNN: messages of pairs from states and squared distances; coordinates move."""

    def __init__(self, h: int = 6, m: int = 8) -> None:
        super().__init__()
        self.node, self.phi_e = (
            nn.Linear(5, h),
            nn.Sequential(nn.Linear(2 * h + 1, m), nn.SiLU(), nn.Linear(m, m), nn.SiLU()),
        )
        self.phi_x, self.phi_h = (
            nn.Sequential(nn.Linear(m, 7), nn.SiLU(), nn.Linear(7, 1, bias=False)),
            nn.Sequential(nn.Linear(h + m, 9), nn.SiLU(), nn.Linear(9, h)),
        )
        self.out = nn.Linear(h, 1)

    def forward(self, x: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
        h = self.node(x)
        n = h.shape[1]
        for _ in range(2):
            rel = pos[:, :, None, :] - pos[:, None, :, :]
            dist = (rel**2).sum(-1, keepdim=True)
            pair = torch.cat(
                [h[:, :, None].expand(-1, -1, n, -1), h[:, None].expand(-1, n, -1, -1), dist], -1
            )
            msg = self.phi_e(pair) * (1 - torch.eye(n, dtype=x.dtype))[None, :, :, None]
            pos = pos + (rel / (1 + dist.sqrt().detach()) * self.phi_x(msg)).sum(2) / (n - 1)
            h = h + self.phi_h(torch.cat([h, msg.sum(2)], -1))
        return self.out(h.sum(1)), pos


class ContinuousFilter(nn.Module):
    """SchNet: filters from radial functions of distances, as products of elements."""

    def __init__(self, d: int = 8, k: int = 6) -> None:
        super().__init__()
        self.emb, self.filters = (
            nn.Linear(5, d),
            nn.Sequential(nn.Linear(k, 9), nn.Softplus(), nn.Linear(9, d)),
        )
        self.in2f, self.f2out, self.dense = (
            nn.Linear(d, d, bias=False),
            nn.Linear(d, 10),
            nn.Linear(10, d),
        )
        self.register_buffer("centers", torch.linspace(0, 4, k))
        self.atom = nn.Sequential(nn.Linear(d, 5), nn.Softplus(), nn.Linear(5, 1))

    def forward(self, x: Tensor, pos: Tensor) -> Tensor:
        h = self.emb(x)
        dist = torch.cdist(pos, pos)
        rbf = torch.exp(-((dist.unsqueeze(-1) - self.centers) ** 2))
        cut = 0.5 * (torch.cos(dist * math.pi / 5) + 1) * (dist < 5).to(x.dtype)
        W = self.filters(rbf) * cut.unsqueeze(-1)
        y = (self.in2f(h).unsqueeze(1) * W).sum(2)
        h = h + self.dense(F.softplus(self.f2out(y)) - math.log(2.0))
        return self.atom(h).sum(dim=1)


class SoftMoe(nn.Module):
    """Slots of experts filled by weighted means of tokens, weights of experts in one tensor."""

    def __init__(self, d: int = 8, experts: int = 3, slots: int = 2) -> None:
        super().__init__()
        self.inp, self.phi = nn.Linear(3, d), nn.Parameter(torch.randn(d, experts, slots))
        self.w1, self.w2 = (
            nn.Parameter(0.3 * torch.randn(experts, d, 11)),
            nn.Parameter(0.3 * torch.randn(experts, 11, d)),
        )
        self.b1, self.out = nn.Parameter(torch.zeros(experts, 1, 11)), nn.Linear(d, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        logits = torch.einsum("bnd,des->bnes", x, self.phi)
        dispatch = logits.softmax(dim=1)
        combine = logits.flatten(2).softmax(dim=-1).view(logits.shape)
        xs = torch.einsum("bnd,bnes->besd", x, dispatch)
        ys = F.gelu(torch.einsum("besd,edh->besh", xs, self.w1) + self.b1)
        ys = torch.einsum("besh,ehd->besd", ys, self.w2)
        return self.out(torch.einsum("besd,bnes->bnd", ys, combine).mean(1))


class DeepONet(nn.Module):
    """A branch reads a function, a trunk reads places; their product is the function that comes out."""

    def __init__(self, p: int = 9) -> None:
        super().__init__()
        self.branch, self.trunk = (
            nn.Sequential(nn.Linear(24, 14), nn.Tanh(), nn.Linear(14, p)),
            nn.Sequential(nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, p), nn.Tanh()),
        )
        self.b = nn.Parameter(torch.zeros(1))

    def forward(self, u: Tensor) -> Tensor:
        y = torch.linspace(0, 1, 10, dtype=u.dtype).unsqueeze(-1)
        return torch.einsum("bp,np->bn", self.branch(u[..., 0]), self.trunk(y)) + self.b


class Fourier1d(nn.Module):
    """A Fourier neural operator: the lowest modes multiplied by complex weights, written into zeros."""

    def __init__(self, width: int = 8, modes: int = 4) -> None:
        super().__init__()
        self.fc0, self.w, self.modes, self.width = (
            nn.Linear(3, width),
            nn.Conv1d(width, width, 1),
            modes,
            width,
        )
        self.weights = nn.Parameter(torch.rand(width, width, modes, 2) / width**2)
        self.fc1, self.fc2 = nn.Linear(width, 12), nn.Linear(12, 1)

    def spectral(self, x: Tensor) -> Tensor:
        x_ft = torch.fft.rfft(x)
        out_ft = torch.zeros(
            x.shape[0], self.width, x.size(-1) // 2 + 1, dtype=x_ft.dtype, device=x.device
        )
        out_ft[:, :, : self.modes] = torch.einsum(
            "bix,iox->box", x_ft[:, :, : self.modes], torch.view_as_complex(self.weights)
        )
        return torch.fft.irfft(out_ft, n=x.size(-1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc0(x).permute(0, 2, 1)
        x = F.gelu(self.spectral(x) + self.w(x)).permute(0, 2, 1)
        return self.fc2(F.gelu(self.fc1(x)))


class Nerf(nn.Module):
    """Positions as sines, a skip in the middle, density and colour apart."""

    def __init__(self, w: int = 12, freqs: int = 3) -> None:
        super().__init__()
        self.freqs, i = freqs, 3 + 6 * freqs
        self.layers, self.skips = (
            nn.ModuleList([nn.Linear(i, w), nn.Linear(w, w), nn.Linear(w + i, w)]),
            [1],
        )
        self.alpha, self.feature, self.views, self.rgb = (
            nn.Linear(w, 1),
            nn.Linear(w, w),
            nn.Linear(w + 3, w // 2),
            nn.Linear(w // 2, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        pts, views = x, F.normalize(x, dim=-1)
        embedded = torch.cat(
            [pts] + [fn(pts * 2.0**i) for i in range(self.freqs) for fn in (torch.sin, torch.cos)],
            -1,
        )
        h = embedded
        for i, layer in enumerate(self.layers):
            h = F.relu(layer(h))
            if i in self.skips:
                h = torch.cat([embedded, h], -1)
        alpha = self.alpha(h)
        h = F.relu(self.views(torch.cat([self.feature(h), views], -1)))
        return torch.cat([self.rgb(h), alpha], -1)


class SacActor(nn.Module):
    """A policy of means and log standard deviations, squashed, with its log density."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.mean, self.log_std = (
            nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU()),
            nn.Linear(12, 2),
            nn.Linear(12, 2),
        )
        self.register_buffer("action_scale", torch.tensor([1.0, 2.0]))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        h = self.net(obs)
        mean, log_std = self.mean(h), torch.clamp(self.log_std(h), -5, 2)
        normal = torch.distributions.Normal(mean, log_std.exp(), validate_args=False)
        x_t = normal.rsample() if self.training else mean
        y_t = torch.tanh(x_t)
        log_prob = normal.log_prob(x_t) - torch.log(self.action_scale * (1 - y_t.pow(2)) + 1e-6)
        return y_t * self.action_scale, log_prob.sum(1, keepdim=True)


class NoisyLinear(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.i, self.o = i, o
        self.weight_mu, self.weight_sigma = (
            nn.Parameter(torch.randn(o, i) / math.sqrt(i)),
            nn.Parameter(torch.full((o, i), 0.1)),
        )
        self.bias_mu, self.bias_sigma = (
            nn.Parameter(torch.zeros(o)),
            nn.Parameter(torch.full((o,), 0.1)),
        )
        self.register_buffer("weight_epsilon", torch.randn(o, i))
        self.register_buffer("bias_epsilon", torch.randn(o))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return F.linear(
                x,
                self.weight_mu + self.weight_sigma * self.weight_epsilon,
                self.bias_mu + self.bias_sigma * self.bias_epsilon,
            )
        return F.linear(x, self.weight_mu, self.bias_mu)


class Rainbow(nn.Module):
    """Noisy layers, values and advantages, and a distribution over atoms for each action."""

    def __init__(self, actions: int = 3, atoms: int = 5) -> None:
        super().__init__()
        self.actions, self.atoms = actions, atoms
        self.register_buffer("support", torch.linspace(-1, 1, atoms))
        self.feature = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.adv_hidden, self.adv, self.val_hidden, self.val = (
            NoisyLinear(16, 10),
            NoisyLinear(10, actions * atoms),
            NoisyLinear(16, 8),
            NoisyLinear(8, atoms),
        )

    def forward(self, x: Tensor) -> Tensor:
        f = self.feature(x)
        a = self.adv(F.relu(self.adv_hidden(f))).view(-1, self.actions, self.atoms)
        v = self.val(F.relu(self.val_hidden(f))).view(-1, 1, self.atoms)
        dist = F.softmax(v + a - a.mean(dim=1, keepdim=True), dim=-1).clamp(min=1e-3)
        return torch.sum(dist * self.support, dim=2)


class DecisionTransformer(nn.Module):
    """Returns, states and actions interleaved, and taken apart again behind a causal transformer."""

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.hidden_size = d
        self.embed_timestep, self.embed_return, self.embed_state, self.embed_action = (
            nn.Embedding(30, d),
            nn.Linear(1, d),
            nn.Linear(1, d),
            nn.Linear(1, d),
        )
        self.ln, self.qkv, self.proj, self.mlp = (
            nn.LayerNorm(d),
            nn.Linear(d, 3 * d),
            nn.Linear(d, d),
            nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d)),
        )
        self.predict_action = nn.Sequential(nn.Linear(d, 2), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        b, length = x.shape[0], x.shape[1]
        time = self.embed_timestep(torch.arange(length, device=x.device))
        r, s, a = (
            self.embed_return(x[..., :1]) + time,
            self.embed_state(x[..., 1:2]) + time,
            self.embed_action(x[..., 2:]) + time,
        )
        h = (
            torch.stack((r, s, a), dim=1)
            .permute(0, 2, 1, 3)
            .reshape(b, 3 * length, self.hidden_size)
        )
        q, k, v = self.qkv(self.ln(h)).view(b, 3 * length, 3, 2, -1).permute(2, 0, 3, 1, 4)
        h = h + self.proj(
            F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        )
        h = h + self.mlp(h)
        h = h.reshape(b, length, 3, self.hidden_size).permute(0, 2, 1, 3)
        return self.predict_action(h[:, 1])


class Rssm(nn.Module):
    """A world model: a deterministic and a random state, rolled out in a loop over a dict."""

    def __init__(self, deter: int = 10, stoch: int = 4) -> None:
        super().__init__()
        self.deter, self.stoch = deter, stoch
        self.inp, self.cell = nn.Linear(stoch + 1, 8), nn.GRUCell(8, deter)
        self.prior, self.post, self.dec = (
            nn.Linear(deter, 2 * stoch),
            nn.Linear(deter + 2, 2 * stoch),
            nn.Linear(deter + stoch, 3),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state = {
            "deter": x.new_zeros(x.size(0), self.deter),
            "stoch": x.new_zeros(x.size(0), self.stoch),
        }
        recon, kl = [], []
        for t in range(4):
            h = F.elu(self.inp(torch.cat([state["stoch"], x[:, t, :1]], -1)))
            deter = self.cell(h, state["deter"])
            pm, ps = self.prior(deter).chunk(2, -1)
            qm, qs = self.post(torch.cat([deter, x[:, t, 1:]], -1)).chunk(2, -1)
            ps, qs = F.softplus(ps) + 0.1, F.softplus(qs) + 0.1
            stoch = qm + qs * torch.randn_like(qs) if self.training else qm
            state = {"deter": deter, "stoch": stoch}
            recon.append(self.dec(torch.cat([deter, stoch], -1)))
            kl.append((torch.log(ps / qs) + (qs**2 + (qm - pm) ** 2) / (2 * ps**2) - 0.5).sum(-1))
        return torch.stack(recon, 1), torch.stack(kl, 1)


class OdeRk4(nn.Module):
    """A field of velocities that is told the time, four evaluations a step."""

    def __init__(self, d: int = 5) -> None:
        super().__init__()
        self.down, self.l1, self.l2, self.fc = (
            nn.Linear(6, d),
            nn.Linear(d + 1, 12),
            nn.Linear(13, d),
            nn.Linear(d, 2),
        )

    def f(self, t: float, x: Tensor) -> Tensor:
        tt = torch.ones_like(x[:, :1]) * t
        return self.l2(torch.cat([tt, torch.tanh(self.l1(torch.cat([tt, x], 1)))], 1))

    def forward(self, x: Tensor) -> Tensor:
        x, h = self.down(x), 0.5
        for i in range(2):
            t = i * h
            k1 = self.f(t, x)
            k2 = self.f(t + h / 2, x + h / 2 * k1)
            k3 = self.f(t + h / 2, x + h / 2 * k2)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + self.f(t + h, x + h * k3))
        return self.fc(x)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "gat_v2": lambda: (GatV2(), (NODES, EDGES)),
    "diff_pool": lambda: (DiffPool(), (NODES, EDGES)),
    "egnn": lambda: (EquivariantLayer(), (NODES, NODES[..., :3])),
    "schnet": lambda: (ContinuousFilter(), (NODES, NODES[..., :3])),
    "soft_moe": lambda: (SoftMoe(), SERIES),
    "deep_onet": lambda: (DeepONet(), SERIES),
    "fourier_operator": lambda: (Fourier1d(), SERIES),
    "nerf": lambda: (Nerf(), SERIES),
    "sac_actor": lambda: (SacActor(), ROWS),
    "rainbow": lambda: (Rainbow(), ROWS),
    "decision_transformer": lambda: (DecisionTransformer(), SERIES),
    "rssm": lambda: (Rssm(), SERIES),
    "ode_rk4": lambda: (OdeRk4(), ROWS),
}
