"""Agents and fields of the zoo, twelfth sample: ensembles in one tensor, dictionaries of observations, gates, rays, spectra."""

# ruff: noqa: B007, B905, N803, N806, RUF007, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from benchmarks.networks.twelfth.inputs import ACTED, COORDINATES, INPUTS, OBSERVED, PIXELS, RAYS


class DynamicsEnsemble(nn.Module):
    """Models of what follows an action, stacked in one tensor of weights; means and variances between learnt bounds."""

    class EnsembleFC(nn.Module):
        __constants__ = ("in_features", "out_features")

        def __init__(
            self, in_features: int, out_features: int, ensemble_size: int, weight_decay: float = 0.0
        ) -> None:
            super().__init__()
            self.in_features, self.out_features, self.ensemble_size = (
                in_features,
                out_features,
                ensemble_size,
            )
            self.weight = nn.Parameter(torch.empty(ensemble_size, in_features, out_features))
            self.weight_decay, self.bias = (
                weight_decay,
                nn.Parameter(torch.zeros(ensemble_size, out_features)),
            )
            nn.init.trunc_normal_(self.weight, std=1.0 / (2 * math.sqrt(in_features)))

        def forward(self, input: Tensor) -> Tensor:
            w_times_x = torch.bmm(input, self.weight)
            return torch.add(w_times_x, self.bias[:, None, :])

    def __init__(
        self, state: int = 6, action: int = 2, ensemble: int = 3, hidden: int = 14
    ) -> None:
        super().__init__()
        E, self.ensemble_size, self.output_dim = self.EnsembleFC, ensemble, state + 1
        self.nn1, self.nn2 = (
            E(state + action, hidden, ensemble, 0.000025),
            E(hidden, hidden, ensemble, 0.00005),
        )
        self.nn3 = E(hidden, self.output_dim * 2, ensemble, 0.0001)
        self.max_logvar = nn.Parameter(
            (torch.ones((1, self.output_dim)).float() / 2), requires_grad=False
        )
        self.min_logvar = nn.Parameter(
            (-torch.ones((1, self.output_dim)).float() * 10), requires_grad=False
        )

    @staticmethod
    def swish(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)

    def forward(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([state, action], dim=-1)
        x = x[None, :, :].repeat([self.ensemble_size, 1, 1])
        nn1_output = self.swish(self.nn1(x))
        nn2_output = self.swish(self.nn2(nn1_output))
        nn3_output = self.nn3(nn2_output)
        mean = nn3_output[:, :, : self.output_dim]
        logvar = self.max_logvar - F.softplus(self.max_logvar - nn3_output[:, :, self.output_dim :])
        logvar = self.min_logvar + F.softplus(logvar - self.min_logvar)
        return mean.transpose(0, 1), torch.exp(logvar).transpose(0, 1)


class ObservationDict(nn.Module):
    """Extractors by the name of each observation, joined; a policy and a value of their own towers, and a normal of actions."""

    class NatureCNN(nn.Module):
        def __init__(self, size: int = 36, features_dim: int = 20) -> None:
            super().__init__()
            self.cnn = nn.Sequential(
                nn.Conv2d(3, 8, 8, stride=4, padding=0),
                nn.ReLU(),
                nn.Conv2d(8, 12, 4, stride=2),
                nn.ReLU(),
                nn.Conv2d(12, 10, 2),
                nn.ReLU(),
                nn.Flatten(),
            )
            with torch.no_grad():
                n_flatten = self.cnn(torch.zeros(1, 3, size, size)).shape[1]
            self.linear = nn.Sequential(nn.Linear(n_flatten, features_dim), nn.ReLU())

        def forward(self, observations: Tensor) -> Tensor:
            return self.linear(self.cnn(observations))

    def __init__(self, actions: int = 2) -> None:
        super().__init__()
        self.extractors = nn.ModuleDict({"image": self.NatureCNN(), "vector": nn.Flatten()})
        self.policy_net = nn.Sequential(nn.Linear(25, 16), nn.Tanh(), nn.Linear(16, 12), nn.Tanh())
        self.value_net = nn.Sequential(nn.Linear(25, 16), nn.Tanh(), nn.Linear(16, 12), nn.Tanh())
        self.action_net, self.value = nn.Linear(12, actions), nn.Linear(12, 1)
        self.log_std = nn.Parameter(torch.ones(actions) * -0.5, requires_grad=True)

    def forward(
        self, image: Tensor, vector: Tensor, deterministic: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        observations = {"image": image / 255.0, "vector": vector}
        encoded = []
        for key, extractor in self.extractors.items():
            encoded.append(extractor(observations[key]))
        features = torch.cat(encoded, dim=1)
        latent_pi, latent_vf = self.policy_net(features), self.value_net(features)
        mean_actions = self.action_net(latent_pi)
        action_std = torch.ones_like(mean_actions) * self.log_std.exp()
        distribution = Normal(mean_actions, action_std)
        actions = distribution.mean if deterministic else distribution.rsample()
        log_prob = distribution.log_prob(actions)
        log_prob = log_prob.sum(dim=1) if len(log_prob.shape) > 1 else log_prob.sum()
        return actions, self.value(latent_vf), log_prob


class PixelActor(nn.Module):
    """Pixels shifted at random in training, convolutions, a trunk with a norm and tanh, and two critics on its features."""

    class RandomShiftsAug(nn.Module):
        def __init__(self, pad: int) -> None:
            super().__init__()
            self.pad = pad

        def forward(self, x: Tensor) -> Tensor:
            n, c, h, w = x.size()
            assert h == w
            x = F.pad(x, tuple([self.pad] * 4), "replicate")
            eps = 1.0 / (h + 2 * self.pad)
            arange = torch.linspace(
                -1.0 + eps, 1.0 - eps, h + 2 * self.pad, device=x.device, dtype=x.dtype
            )[:h]
            arange = arange.unsqueeze(0).repeat(h, 1).unsqueeze(2)
            base_grid = torch.cat([arange, arange.transpose(1, 0)], dim=2)
            base_grid = base_grid.unsqueeze(0).repeat(n, 1, 1, 1)
            shift = torch.randint(0, 2 * self.pad + 1, size=(n, 1, 1, 2), device=x.device).to(
                x.dtype
            )
            shift *= 2.0 / (h + 2 * self.pad)
            return F.grid_sample(x, base_grid + shift, padding_mode="zeros", align_corners=False)

    def __init__(self, feature_dim: int = 10, hidden_dim: int = 16, actions: int = 2) -> None:
        super().__init__()
        self.aug = self.RandomShiftsAug(pad=2)
        convnet = [
            nn.Conv2d(3, 8, 3, stride=2),
            nn.ReLU(),
            *(m for _ in range(3) for m in (nn.Conv2d(8, 8, 3, stride=1), nn.ReLU())),
        ]
        self.convnet, self.repr_dim = nn.Sequential(*convnet), 8 * 11 * 11
        self.trunk = nn.Sequential(
            nn.Linear(self.repr_dim, feature_dim), nn.LayerNorm(feature_dim), nn.Tanh()
        )
        self.policy = nn.Sequential(
            nn.Linear(feature_dim, hidden_dim),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_dim, actions),
        )
        self.Q1, self.Q2 = (
            nn.Sequential(
                nn.Linear(feature_dim + actions, hidden_dim),
                nn.ReLU(inplace=True),
                nn.Linear(hidden_dim, 1),
            )
            for _ in range(2)
        )

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            obs = self.aug(obs)
        obs = obs / 255.0 - 0.5
        h = self.convnet(obs)
        h = self.trunk(h.view(h.shape[0], -1))
        mu = torch.tanh(self.policy(h))
        h_action = torch.cat([h, mu], dim=-1)
        return mu, torch.min(self.Q1(h_action), self.Q2(h_action))


class GatedMemory(nn.Module):
    """A transformer of agents: norms first, and gates like those of recurrent cells in place of sums."""

    class GRUGate(nn.Module):
        def __init__(self, input_dim: int, bg: float = 0.0) -> None:
            super().__init__()
            for name in ("Wr", "Ur", "Wz", "Uz", "Wg", "Ug"):
                setattr(self, name, nn.Linear(input_dim, input_dim, bias=False))
            self.bg = nn.Parameter(torch.full([input_dim], bg))
            self.sigmoid, self.tanh = nn.Sigmoid(), nn.Tanh()

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            r = self.sigmoid(self.Wr(y) + self.Ur(x))
            z = self.sigmoid(self.Wz(y) + self.Uz(x) - self.bg)
            h = self.tanh(self.Wg(y) + self.Ug(torch.mul(r, x)))
            return torch.mul(1 - z, x) + torch.mul(z, h)

    class Layer(nn.Module):
        def __init__(self, dim: int, heads: int) -> None:
            super().__init__()
            self.values, self.keys, self.queries = (
                nn.Linear(dim, dim, bias=False) for _ in range(3)
            )
            self.fc_out, self.heads, self.head_size, self.embed_dim = (
                nn.Linear(dim, dim),
                heads,
                dim // heads,
                dim,
            )
            self.norm1, self.norm2, self.norm_kv = (
                nn.LayerNorm(dim),
                nn.LayerNorm(dim),
                nn.LayerNorm(dim),
            )
            self.fc = nn.Sequential(nn.Linear(dim, dim), nn.ReLU())
            self.gate1, self.gate2 = GatedMemory.GRUGate(dim, 2.0), GatedMemory.GRUGate(dim, 2.0)

        def attention(self, values: Tensor, keys: Tensor, query: Tensor) -> Tensor:
            N, value_len, query_len = query.shape[0], values.shape[1], query.shape[1]
            values = self.values(values).reshape(N, value_len, self.heads, self.head_size)
            keys = self.keys(keys).reshape(N, value_len, self.heads, self.head_size)
            query = self.queries(query).reshape(N, query_len, self.heads, self.head_size)
            energy = torch.einsum("nqhd,nkhd->nhqk", [query, keys])
            attention = torch.softmax(energy / (self.embed_dim ** (1 / 2)), dim=3)
            out = torch.einsum("nhql,nlhd->nqhd", [attention, values]).reshape(
                N, query_len, self.heads * self.head_size
            )
            return self.fc_out(out)

        def forward(self, memory: Tensor, h: Tensor) -> Tensor:
            value = self.norm_kv(memory)
            out = self.gate1(h, F.relu(self.attention(value, value, self.norm1(h))))
            return self.gate2(out, self.fc(self.norm2(out)))

    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.linear_embedding = nn.Linear(4, d)
        self.blocks = nn.ModuleList([self.Layer(d, 3) for _ in range(2)])
        self.lin_policy, self.policy, self.value = (
            nn.Linear(d, 16),
            nn.Linear(16, 4),
            nn.Linear(16, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu(self.linear_embedding(x))
        memory, h, out_memories = h[:, :-1], h[:, -1], []
        for block in self.blocks:
            out_memories.append(h.detach())
            h = block(memory, h.unsqueeze(1)).squeeze()
            if len(h.shape) == 1:
                h = h.unsqueeze(0)
        h = F.relu(self.lin_policy(h))
        return self.policy(h), self.value(h).reshape(-1)


class MixtureDreams(nn.Module):
    """A recurrent model of the world that gives a mixture for each latent number, from one layer that is split by hand."""

    def __init__(self, latents: int = 4, hiddens: int = 12, gaussians: int = 3) -> None:
        super().__init__()
        self.latents, self.hiddens, self.gaussians = latents, hiddens, gaussians
        self.gmm_linear, self.rnn = (
            nn.Linear(hiddens, (2 * latents + 1) * gaussians + 2),
            nn.LSTM(latents, hiddens),
        )

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        latents = latents.transpose(0, 1)
        seq_len, bs = latents.size(0), latents.size(1)
        outs, _ = self.rnn(latents)
        gmm_outs = self.gmm_linear(outs)
        stride = self.gaussians * self.latents
        mus = gmm_outs[:, :, :stride].view(seq_len, bs, self.gaussians, self.latents)
        sigmas = torch.exp(
            gmm_outs[:, :, stride : 2 * stride].view(seq_len, bs, self.gaussians, self.latents)
        )
        pi = gmm_outs[:, :, 2 * stride : 2 * stride + self.gaussians].view(
            seq_len, bs, self.gaussians
        )
        logpi = F.log_softmax(pi, dim=-1)
        rs, ds = gmm_outs[:, :, -2], gmm_outs[:, :, -1]
        return tuple(t.transpose(0, 1) for t in (mus, sigmas, logpi, rs, ds))


class RayMarcher(nn.Module):
    """Points along rays, their density and colour by two heads, and an image by products of what light is left."""

    def __init__(self, W: int = 16, samples: int = 6, skips: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.embed_fns, self.skips, self.N_samples = [], list(skips), samples
        for freq in 2.0 ** torch.linspace(0.0, 2, steps=3):
            for p_fn in [torch.sin, torch.cos]:
                self.embed_fns.append(lambda x, p_fn=p_fn, freq=freq: p_fn(x * freq))
        self.pts_linears = nn.ModuleList(
            [nn.Linear(21, W)]
            + [nn.Linear(W, W) if i not in self.skips else nn.Linear(W + 21, W) for i in range(2)]
        )
        self.views_linears, self.feature_linear = (
            nn.ModuleList([nn.Linear(3 + W, W // 2)]),
            nn.Linear(W, W),
        )
        self.alpha_linear, self.rgb_linear = nn.Linear(W, 1), nn.Linear(W // 2, 3)

    def query(self, pts: Tensor, dirs: Tensor) -> Tensor:
        input_pts = torch.cat([pts] + [fn(pts) for fn in self.embed_fns], -1)
        h = input_pts
        for i, l in enumerate(self.pts_linears):  # noqa: E741
            h = self.pts_linears[i](h)
            h = F.relu(h)
            if i in self.skips:
                h = torch.cat([input_pts, h], -1)
        alpha, feature = self.alpha_linear(h), self.feature_linear(h)
        h = torch.cat([feature, dirs], -1)
        for i, l in enumerate(self.views_linears):  # noqa: E741
            h = F.relu(self.views_linears[i](h))
        return torch.cat([self.rgb_linear(h), alpha], -1)

    def forward(self, rays_o: Tensor, rays_d: Tensor) -> dict[str, Tensor]:
        N_rays = rays_o.shape[0]
        t_vals = torch.linspace(0.0, 1.0, steps=self.N_samples).to(rays_o)
        z_vals = 2.0 * (1.0 - t_vals) + 6.0 * t_vals
        z_vals = z_vals.expand([N_rays, self.N_samples])
        viewdirs = rays_d / torch.norm(rays_d, dim=-1, keepdim=True)
        pts = rays_o[..., None, :] + rays_d[..., None, :] * z_vals[..., :, None]
        dirs = viewdirs[:, None].expand(pts.shape)
        flat = self.query(torch.reshape(pts, [-1, pts.shape[-1]]), torch.reshape(dirs, [-1, 3]))
        raw = torch.reshape(flat, [*pts.shape[:-1], flat.shape[-1]])
        dists = z_vals[..., 1:] - z_vals[..., :-1]
        dists = torch.cat([dists, torch.Tensor([1e10]).to(dists).expand(dists[..., :1].shape)], -1)
        rgb = torch.sigmoid(raw[..., :3])
        alpha = 1.0 - torch.exp(-F.relu(raw[..., 3]) * dists)
        weights = (
            alpha
            * torch.cumprod(
                torch.cat([torch.ones((alpha.shape[0], 1)).to(alpha), 1.0 - alpha + 1e-10], -1), -1
            )[:, :-1]
        )
        rgb_map, depth_map = (
            torch.sum(weights[..., None] * rgb, -2),
            torch.sum(weights * z_vals, -1),
        )
        return {"rgb_map": rgb_map, "depth_map": depth_map, "acc_map": torch.sum(weights, -1)}


class SpectralBlocks(nn.Module):
    """Complex perceptrons of blocks on the spectrum of tokens, written as pairs of real products, with a soft threshold."""

    class AFNO2D(nn.Module):
        def __init__(self, hidden_size: int, num_blocks: int = 4, factor: int = 2) -> None:
            super().__init__()
            self.num_blocks, self.block_size, self.factor, scale = (
                num_blocks,
                hidden_size // num_blocks,
                factor,
                0.3,
            )
            bs = self.block_size
            self.w1, self.b1 = (
                nn.Parameter(scale * torch.randn(2, num_blocks, bs, bs * factor)),
                nn.Parameter(scale * torch.randn(2, num_blocks, bs * factor)),
            )
            self.w2, self.b2 = (
                nn.Parameter(scale * torch.randn(2, num_blocks, bs * factor, bs)),
                nn.Parameter(scale * torch.randn(2, num_blocks, bs)),
            )

        def forward(self, x: Tensor) -> Tensor:
            bias, dtype = x, x.dtype
            B, H, W, C = x.shape
            x = torch.fft.rfft2(x, dim=(1, 2), norm="ortho")
            x = x.reshape(B, H, W // 2 + 1, self.num_blocks, self.block_size)
            o1_shape = [B, H, W // 2 + 1, self.num_blocks, self.block_size * self.factor]
            o1_real, o1_imag = (
                torch.zeros(o1_shape, dtype=dtype),
                torch.zeros(o1_shape, dtype=dtype),
            )
            o2_real, o2_imag = torch.zeros(x.shape, dtype=dtype), torch.zeros(x.shape, dtype=dtype)
            total_modes = H // 2 + 1
            kept = int(total_modes * 1.0)
            rows = slice(total_modes - kept, total_modes + kept)
            mul = "...bi,bio->...bo"
            o1_real[:, rows, :kept] = F.relu(
                torch.einsum(mul, x[:, rows, :kept].real, self.w1[0])
                - torch.einsum(mul, x[:, rows, :kept].imag, self.w1[1])
                + self.b1[0]
            )
            o1_imag[:, rows, :kept] = F.relu(
                torch.einsum(mul, x[:, rows, :kept].imag, self.w1[0])
                + torch.einsum(mul, x[:, rows, :kept].real, self.w1[1])
                + self.b1[1]
            )
            o2_real[:, rows, :kept] = (
                torch.einsum(mul, o1_real[:, rows, :kept], self.w2[0])
                - torch.einsum(mul, o1_imag[:, rows, :kept], self.w2[1])
                + self.b2[0]
            )
            o2_imag[:, rows, :kept] = (
                torch.einsum(mul, o1_imag[:, rows, :kept], self.w2[0])
                + torch.einsum(mul, o1_real[:, rows, :kept], self.w2[1])
                + self.b2[1]
            )
            x = F.softshrink(torch.stack([o2_real, o2_imag], dim=-1), lambd=0.01)
            x = torch.view_as_complex(x).reshape(B, H, W // 2 + 1, C)
            return torch.fft.irfft2(x, s=(H, W), dim=(1, 2), norm="ortho").type(dtype) + bias

    def __init__(self, dim: int = 16, out: int = 2) -> None:
        super().__init__()
        self.patch_embed, self.pos_embed = (
            nn.Conv2d(3, dim, 4, 4),
            nn.Parameter(torch.randn(1, 64, dim) * 0.1),
        )
        self.norm1, self.filter, self.norm2 = nn.LayerNorm(dim), self.AFNO2D(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            OrderedDict(
                [("fc1", nn.Linear(dim, 40)), ("act", nn.GELU()), ("fc2", nn.Linear(40, dim))]
            )
        )
        self.head = nn.Linear(dim, out * 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        B = x.shape[0]
        x = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        x = x.reshape(B, 8, 8, -1)
        residual = x
        x = self.filter(self.norm1(x)) + residual
        x = self.mlp(self.norm2(x)) + x
        x = self.head(x).view(B, 8, 8, 4, 4, -1)
        return x.permute(0, 5, 1, 3, 2, 4).reshape(B, -1, 32, 32)


class EquationLearner(nn.Module):
    """Layers whose units have different functions, some of two inputs that are multiplied, written into one tensor."""

    def __init__(self, inp: int = 2, layers: int = 2, single: int = 6, double: int = 3) -> None:
        super().__init__()
        self.funcs = [
            torch.sin,
            torch.cos,
            lambda x: x,
            torch.square,
            torch.sigmoid,
            torch.ones_like,
        ]
        self.single, self.double, self.hidden_layers = single, double, nn.ModuleList()
        for i in range(layers):
            self.hidden_layers.append(
                nn.Linear(inp if i == 0 else single + double, single + 2 * double)
            )
        self.output_weight = nn.Parameter(torch.rand(single + double, 1))

    def symbolic(self, g: Tensor) -> Tensor:
        out = []
        in_i = out_i = 0
        while out_i < self.single:
            out.append(self.funcs[out_i](g[:, in_i]))
            in_i += 1
            out_i += 1
        while out_i < self.single + self.double:
            out.append(g[:, in_i] * g[:, in_i + 1])
            in_i += 2
            out_i += 1
        return torch.stack(out, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.hidden_layers:
            h = self.symbolic(layer(h))
        return torch.matmul(h, self.output_weight)


class FastBasis(nn.Module):
    """Layers of Gaussian bumps of normalised inputs, read by a subclass of a linear layer, beside a plain path."""

    class SplineLinear(nn.Linear):
        def __init__(
            self, in_features: int, out_features: int, init_scale: float = 0.3, **kw: Any
        ) -> None:
            self.init_scale = init_scale
            super().__init__(in_features, out_features, bias=False, **kw)

        def reset_parameters(self) -> None:
            nn.init.trunc_normal_(self.weight, mean=0, std=self.init_scale)

    class Layer(nn.Module):
        def __init__(self, i: int, o: int, num_grids: int = 5) -> None:
            super().__init__()
            self.layernorm = nn.LayerNorm(i) if i > 1 else None
            self.grid, self.denominator = (
                nn.Parameter(torch.linspace(-2, 2, num_grids), requires_grad=False),
                4 / (num_grids - 1),
            )
            self.spline_linear, self.base_linear, self.base_activation = (
                FastBasis.SplineLinear(i * num_grids, o),
                nn.Linear(i, o),
                F.silu,
            )

        def forward(self, x: Tensor, use_layernorm: bool = True) -> Tensor:
            spline_basis = self.layernorm(x) if self.layernorm is not None and use_layernorm else x
            spline_basis = torch.exp(
                -(((spline_basis[..., None] - self.grid) / self.denominator) ** 2)
            )
            ret = self.spline_linear(spline_basis.view(*spline_basis.shape[:-2], -1))
            return ret + self.base_linear(self.base_activation(x))

    def __init__(self, layers_hidden: tuple[int, ...] = (6, 10, 8, 3)) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [self.Layer(i, o) for i, o in zip(layers_hidden[:-1], layers_hidden[1:])]
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "dynamics_ensemble": lambda: (DynamicsEnsemble(), ACTED),
    "observation_dict": lambda: (ObservationDict(), OBSERVED),
    "pixel_actor": lambda: (PixelActor(), PIXELS),
    "gated_memory": lambda: (GatedMemory(), INPUTS.series),
    "mixture_dreams": lambda: (MixtureDreams(), INPUTS.series),
    "ray_marcher": lambda: (RayMarcher(), RAYS),
    "spectral_blocks": lambda: (SpectralBlocks(), INPUTS.images),
    "equation_learner": lambda: (EquationLearner(), COORDINATES),
    "fast_basis": lambda: (FastBasis(), INPUTS.numbers),
}
