"""Networks of the zoo that learn in other ways, make pictures or mend them, seventh sample."""

# ruff: noqa: B905, C417, E731, E741, N803, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, einsum, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrizations, parametrize

from benchmarks.networks.seventh.inputs import INPUTS, WORDS_SEEN


class Moco(nn.Module):
    """A key encoder that follows by momentum without gradients, and a queue of its keys."""

    def __init__(self, dim: int = 8, K: int = 12, m: float = 0.99, T: float = 0.2) -> None:
        super().__init__()
        self.K, self.m, self.T = K, m, T
        mk = lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 14),
            nn.ReLU(),
            nn.Linear(14, dim),
        )
        self.encoder_q, self.encoder_k = mk(), mk()
        for param_q, param_k in zip(self.encoder_q.parameters(), self.encoder_k.parameters()):
            param_k.data.copy_(param_q.data)
            param_k.requires_grad = False
        self.register_buffer("queue", nn.functional.normalize(torch.randn(dim, K), dim=0))

    def forward(self, im_q: Tensor) -> tuple[Tensor, Tensor]:
        q = nn.functional.normalize(self.encoder_q(im_q), dim=1)
        with torch.no_grad():
            k = nn.functional.normalize(self.encoder_k(im_q.flip(-1)), dim=1)
        l_pos = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        l_neg = torch.einsum("nc,ck->nk", [q, self.queue.clone().detach()])
        logits = torch.cat([l_pos, l_neg], dim=1) / self.T
        return logits, torch.zeros(logits.shape[0], dtype=torch.long)


class DinoHead(nn.Module):
    """A bottleneck of unit length before prototypes of unit length."""

    def __init__(
        self, in_dim: int = 6, out_dim: int = 9, hidden: int = 12, bottleneck: int = 7
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = parametrizations.weight_norm(nn.Linear(bottleneck, out_dim, bias=False))
        self.last_layer.parametrizations.weight.original0.data.fill_(1)
        self.last_layer.parametrizations.weight.original0.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1, p=2))


class SlimConv(nn.Conv2d):
    """A convolution that uses the first of its channels, as many as a multiplier says."""

    def __init__(
        self, i: int, o: int, k: int, width: float = 0.75, first: bool = False, **kw: Any
    ) -> None:
        super().__init__(i, o, k, **kw)
        self.width_mult, self.first = width, first

    def forward(self, input: Tensor) -> Tensor:
        i = self.in_channels if self.first else int(self.in_channels * self.width_mult)
        o = int(self.out_channels * self.width_mult)
        bias = self.bias[:o] if self.bias is not None else None
        return nn.functional.conv2d(
            input, self.weight[:o, :i, :, :], bias, self.stride, self.padding
        )


class Slimmable(nn.Module):
    """Convolutions of a smaller width, with a normalisation to each width."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            SlimConv(3, 8, 3, first=True, stride=2, padding=1),
            SlimConv(8, 16, 3, stride=2, padding=1),
        )
        self.bn1 = nn.ModuleDict(
            {str(w).replace(".", "_"): nn.BatchNorm2d(int(8 * w)) for w in (0.5, 0.75, 1.0)}
        )
        self.bn2 = nn.ModuleDict(
            {str(w).replace(".", "_"): nn.BatchNorm2d(int(16 * w)) for w in (0.5, 0.75, 1.0)}
        )
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1["0_75"](self.conv1(x)))
        x = F.relu(self.bn2["0_75"](self.conv2(x))).mean((2, 3))
        return F.linear(x, self.fc.weight[:, : x.size(1)], self.fc.bias)


class GetSubnet(torch.autograd.Function):
    """Keeps the greatest scores, passes gradients through."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, k: float) -> Tensor:
        out = scores.clone()
        _, idx = scores.flatten().sort()
        j = int((1 - k) * scores.numel())
        flat_out = out.flatten()
        flat_out[idx[:j]] = 0
        flat_out[idx[j:]] = 1
        return flat_out.view_as(scores)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return g, None


class SupermaskLinear(nn.Linear):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scores = nn.Parameter(torch.Tensor(self.weight.size()))
        nn.init.kaiming_uniform_(self.scores, a=math.sqrt(5))
        self.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        subnet = GetSubnet.apply(self.scores.abs(), 0.5)
        return F.linear(x, self.weight * subnet, self.bias)


class L0Linear(nn.Module):
    """Hard concrete gates, one to an input."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.weights, self.qz_loga, self.bias = (
            nn.Parameter(torch.randn(i, o) * 0.3),
            nn.Parameter(torch.randn(i)),
            nn.Parameter(torch.zeros(o)),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            eps = torch.empty(x.size(0), self.qz_loga.size(0)).to(x).uniform_(1e-6, 1 - 1e-6)
            s = torch.sigmoid((torch.log(eps) - torch.log(1 - eps) + self.qz_loga) / (2 / 3))
        else:
            s = torch.sigmoid(self.qz_loga).view(1, -1)
        z = F.hardtanh(s * 1.2 - 0.1, min_val=0, max_val=1)
        return x.mul(z).mm(self.weights) + self.bias


class HyperComplex(nn.Module):
    """Weights as sums of Kronecker products."""

    def __init__(self, n: int, i: int, o: int) -> None:
        super().__init__()
        self.n, self.bias = n, nn.Parameter(torch.zeros(o))
        self.A, self.S = (
            nn.Parameter(torch.randn(n, n, n) * 0.5),
            nn.Parameter(torch.randn(n, o // n, i // n) * 0.5),
        )

    def kronecker_product1(self, a: Tensor, b: Tensor) -> Tensor:
        siz1 = torch.Size(torch.tensor(a.shape[-2:]) * torch.tensor(b.shape[-2:]))
        res = a.unsqueeze(-1).unsqueeze(-3) * b.unsqueeze(-2).unsqueeze(-4)
        siz0 = res.shape[:-4]
        return res.reshape(siz0 + siz1)

    def forward(self, x: Tensor) -> Tensor:
        H = torch.sum(self.kronecker_product1(self.A, self.S), dim=0)
        return F.linear(x, H, self.bias)


class Monarch(nn.Module):
    """Two block-diagonal products with a shuffle between."""

    def __init__(self, blocks: int = 2, i: int = 6, mid: int = 4, o: int = 6) -> None:
        super().__init__()
        self.blkdiag1 = nn.Parameter(torch.randn(blocks, mid, i // blocks) * 0.4)
        self.blkdiag2 = nn.Parameter(torch.randn(mid, o // mid + 1, blocks) * 0.4)

    def forward(self, x: Tensor) -> Tensor:
        batch, n = x.shape
        k, q, p = self.blkdiag1.shape
        l, s, r = self.blkdiag2.shape
        x_reshaped = x.reshape(batch, k, p).transpose(0, 1)
        out1 = torch.bmm(x_reshaped, self.blkdiag1.transpose(-1, -2))
        out1 = (
            out1.transpose(0, 1).reshape(batch, r, l).transpose(-1, -2).contiguous().transpose(0, 1)
        )
        out2 = torch.bmm(out1, self.blkdiag2.transpose(-1, -2))
        return out2.permute(1, 2, 0).reshape(batch, s * l)


class Symmetric(nn.Module):
    """A parametrisation that makes a weight symmetric."""

    def forward(self, X: Tensor) -> Tensor:
        return X.triu() + X.triu(1).transpose(-1, -2)


class Parametrised(nn.Module):
    """Weights that are symmetric, orthogonal, low in rank and products, each made from what is learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.sym = nn.Linear(6, 8), nn.Linear(8, 8)
        parametrize.register_parametrization(self.sym, "weight", Symmetric())
        self.orth = parametrizations.orthogonal(nn.Linear(8, 10, bias=False))
        self.U, self.V = (
            nn.Parameter(torch.randn(12, 3) * 0.4),
            nn.Parameter(torch.randn(3, 10) * 0.4),
        )
        self.phm, self.gates, self.mask = (
            HyperComplex(2, 12, 8),
            L0Linear(8, 6),
            SupermaskLinear(6, 7),
        )
        self.monarch, self.out = Monarch(), nn.Linear(8, 3)
        self.pre = nn.Linear(7, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.sym(F.relu(self.inp(x))))
        x = F.relu(self.orth(x))
        x = F.relu(x @ (self.U @ self.V).t())
        x = F.relu(self.gates(F.relu(self.phm(x))))
        x = F.relu(self.pre(F.relu(self.mask(x))))
        return self.out(self.monarch(x))


class Ensemble(nn.Module):
    """Members of one architecture in one call, their weights stacked."""

    def __init__(self, n: int = 3) -> None:
        super().__init__()
        members = [nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2)) for _ in range(n)]
        params, _ = stack_module_state(members)
        self.names = list(params)
        self.stacked = nn.ParameterList([nn.Parameter(p.detach()) for p in params.values()])
        self.base = [members[0].to("meta")]
        self.pre = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        def fmodel(params: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.base[0], params, (x,))

        out = vmap(fmodel, in_dims=(0, None))(
            dict(zip(self.names, self.stacked)), torch.relu(self.pre(x))
        )
        return torch.cat([out.mean(0), out.var(0)], -1)


class MamlNet(nn.Module):
    """Runs on a list of weights of its own, layer by layer, as a learner that adapts does."""

    def __init__(self) -> None:
        super().__init__()
        self.config: list[tuple[str, list[int]]] = [
            ("conv2d", [8, 1, 3, 3]),
            ("bn", [8]),
            ("relu", []),
            ("max_pool2d", []),
            ("conv2d", [10, 8, 3, 3]),
            ("bn", [10]),
            ("relu", []),
            ("flatten", []),
            ("linear", [5, 10 * 25]),
        ]
        self.vars, self.vars_bn = nn.ParameterList(), nn.ParameterList()
        for name, param in self.config:
            if name in ("conv2d", "linear"):
                w = nn.Parameter(torch.ones(*param))
                torch.nn.init.kaiming_normal_(w)
                self.vars.append(w)
                self.vars.append(nn.Parameter(torch.zeros(param[0])))
            elif name == "bn":
                self.vars.append(nn.Parameter(torch.ones(param[0])))
                self.vars.append(nn.Parameter(torch.zeros(param[0])))
                running_mean = nn.Parameter(torch.zeros(param[0]), requires_grad=False)
                running_var = nn.Parameter(torch.ones(param[0]), requires_grad=False)
                self.vars_bn.extend([running_mean, running_var])

    def forward(
        self, x: Tensor, vars: list[Tensor] | None = None, bn_training: bool = False
    ) -> Tensor:
        if vars is None:
            vars = self.vars
        idx, bn_idx = 0, 0
        for name, _ in self.config:
            if name == "conv2d":
                w, b = vars[idx], vars[idx + 1]
                x = F.conv2d(x, w, b, stride=1, padding=0)
                idx += 2
            elif name == "linear":
                x = F.linear(x, vars[idx], vars[idx + 1])
                idx += 2
            elif name == "bn":
                w, b = vars[idx], vars[idx + 1]
                x = F.batch_norm(
                    x,
                    self.vars_bn[bn_idx],
                    self.vars_bn[bn_idx + 1],
                    weight=w,
                    bias=b,
                    training=bn_training,
                )
                idx, bn_idx = idx + 2, bn_idx + 2
            elif name == "flatten":
                x = x.view(x.size(0), -1)
            elif name == "relu":
                x = F.relu(x, inplace=True)
            elif name == "max_pool2d":
                x = F.max_pool2d(x, 2, 2)
        assert idx == len(vars)
        return x


class HookedFeatures(nn.Module):
    """Reads features of a backbone by hooks, and scripts its head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()
        )
        self.features: dict[str, Tensor] = {}
        for name in ("0", "2"):
            self.backbone.get_submodule(name).register_forward_hook(self.save_outputs_hook(name))
        self.head = torch.jit.script(nn.Sequential(nn.Linear(20, 14), nn.ReLU(), nn.Linear(14, 4)))

    def save_outputs_hook(self, name: str) -> Callable[..., None]:
        def fn(_: Any, __: Any, output: Tensor) -> None:
            self.features[name] = output

        return fn

    def forward(self, x: Tensor) -> Tensor:
        _ = self.backbone(x)
        pooled = [f.mean((2, 3)) for f in self.features.values()]
        return self.head(torch.cat(pooled, 1))


class TuringMachine(nn.Module):
    """A controller that addresses a memory by content, then by shift, and sharpens."""

    def __init__(self, N: int = 6, M: int = 5, hid: int = 9, inp: int = 6) -> None:
        super().__init__()
        self.N, self.M, self.embed = N, M, nn.Embedding(30, inp)
        self.lstm = nn.LSTMCell(inp + M, hid)
        self.read_lengths, self.write_lengths = [M, 1, 1, 3, 1], [M, 1, 1, 3, 1, M, M]
        self.fc_read, self.fc_write = (
            nn.Linear(hid, sum(self.read_lengths)),
            nn.Linear(hid, sum(self.write_lengths)),
        )
        self.register_buffer("mem_bias", torch.randn(N, M))
        self.h_bias, self.c_bias = (
            nn.Parameter(torch.randn(1, hid) * 0.05),
            nn.Parameter(torch.randn(1, hid) * 0.05),
        )
        self.fc = nn.Linear(hid + M, 4)

    def split_cols(self, mat: Tensor, lengths: list[int]) -> list[Tensor]:
        results, prev = [], 0
        for length in lengths:
            results += [mat[:, prev : prev + length]]
            prev += length
        return results

    def address(
        self, memory: Tensor, k: Tensor, b: Tensor, g: Tensor, s: Tensor, y: Tensor, w_prev: Tensor
    ) -> Tensor:
        k, b, g, s, y = (
            k.clone(),
            F.softplus(b),
            torch.sigmoid(g),
            F.softmax(s, dim=1),
            1 + F.softplus(y),
        )
        k = k.view(memory.size(0), 1, -1)
        wc = F.softmax(b * F.cosine_similarity(memory + 1e-16, k + 1e-16, dim=-1), dim=1)
        wg = g * wc + (1 - g) * w_prev
        padded = torch.cat([wg[:, -1:], wg, wg[:, :1]], 1)
        w_ = (padded.unfold(1, 3, 1) * s.unsqueeze(1)).sum(-1)
        w = w_**y
        return torch.div(w, torch.sum(w, dim=1).view(-1, 1) + 1e-16)

    def forward(self, ids: Tensor) -> Tensor:
        B = ids.size(0)
        memory, r = self.mem_bias.clone().repeat(B, 1, 1), torch.zeros(B, self.M).to(self.mem_bias)
        wr = ww = torch.zeros(B, self.N).to(self.mem_bias)
        h, c = self.h_bias.clone().repeat(B, 1), self.c_bias.clone().repeat(B, 1)
        for x in self.embed(ids).unbind(1)[:4]:
            h, c = self.lstm(torch.cat([x, r], 1), (h, c))
            wr = self.address(memory, *self.split_cols(self.fc_read(h), self.read_lengths), wr)
            r = torch.bmm(wr.unsqueeze(1), memory).squeeze(1)
            *rest, e, a = self.split_cols(self.fc_write(h), self.write_lengths)
            ww = self.address(memory, *rest, ww)
            e = torch.sigmoid(e)
            erase, add = (
                torch.matmul(ww.unsqueeze(-1), e.unsqueeze(1)),
                torch.matmul(ww.unsqueeze(-1), a.unsqueeze(1)),
            )
            memory = memory * (1 - erase) + add
        return torch.sigmoid(self.fc(torch.cat([h, r], dim=1)))


class Captioner(nn.Module):
    """Attends to places of a picture, word by word, with a gate, over a batch that shrinks."""

    def __init__(
        self,
        encoder_dim: int = 10,
        attention_dim: int = 7,
        embed_dim: int = 8,
        decoder_dim: int = 9,
        vocab: int = 30,
    ) -> None:
        super().__init__()
        self.vocab_size = vocab
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(6, encoder_dim, 3, 2, 1),
            nn.AdaptiveAvgPool2d((4, 4)),
        )
        self.encoder_att, self.decoder_att, self.full_att = (
            nn.Linear(encoder_dim, attention_dim),
            nn.Linear(decoder_dim, attention_dim),
            nn.Linear(attention_dim, 1),
        )
        self.embedding, self.dropout, self.decode_step = (
            nn.Embedding(vocab, embed_dim),
            nn.Dropout(p=0.5),
            nn.LSTMCell(embed_dim + encoder_dim, decoder_dim, bias=True),
        )
        self.init_h, self.init_c, self.f_beta = (
            nn.Linear(encoder_dim, decoder_dim),
            nn.Linear(encoder_dim, decoder_dim),
            nn.Linear(decoder_dim, encoder_dim),
        )
        self.sigmoid, self.fc = nn.Sigmoid(), nn.Linear(decoder_dim, vocab)

    def forward(self, images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        encoder_out = self.encoder(images).permute(0, 2, 3, 1)
        batch_size, encoder_dim = encoder_out.size(0), encoder_out.size(-1)
        encoder_out = encoder_out.view(batch_size, -1, encoder_dim)
        num_pixels = encoder_out.size(1)
        embeddings = self.embedding(captions)
        mean = encoder_out.mean(dim=1)
        h, c = self.init_h(mean), self.init_c(mean)
        decode_lengths = [captions.size(1) - 1 - i for i in range(batch_size)]
        predictions = torch.zeros(batch_size, max(decode_lengths), self.vocab_size).to(h)
        alphas = torch.zeros(batch_size, max(decode_lengths), num_pixels).to(h)
        for t in range(max(decode_lengths)):
            batch_size_t = sum([l > t for l in decode_lengths])
            att1, att2 = (
                self.encoder_att(encoder_out[:batch_size_t]),
                self.decoder_att(h[:batch_size_t]),
            )
            alpha = F.softmax(self.full_att(F.relu(att1 + att2.unsqueeze(1))).squeeze(2), dim=1)
            awe = (encoder_out[:batch_size_t] * alpha.unsqueeze(2)).sum(dim=1)
            awe = self.sigmoid(self.f_beta(h[:batch_size_t])) * awe
            h, c = self.decode_step(
                torch.cat([embeddings[:batch_size_t, t, :], awe], dim=1),
                (h[:batch_size_t], c[:batch_size_t]),
            )
            predictions[:batch_size_t, t, :] = self.fc(self.dropout(h))
            alphas[:batch_size_t, t, :] = alpha
        return predictions, alphas


class GaussianFourierProjection(nn.Module):
    def __init__(self, embed_dim: int, scale: float = 30.0) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(embed_dim // 2) * scale, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x_proj = x[:, None] * self.W[None, :] * 2 * math.pi
        return torch.cat([torch.sin(x_proj), torch.cos(x_proj)], dim=-1)


class Dense(nn.Module):
    """A linear layer whose outputs become maps."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(input_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(x)[..., None, None]


class ScoreNet(nn.Module):
    """A U-Net of the score, told the time, divided by the deviation at that time."""

    def __init__(
        self,
        std: Callable[[Tensor], Tensor],
        channels: tuple[int, ...] = (8, 12, 16),
        embed_dim: int = 12,
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            GaussianFourierProjection(embed_dim=embed_dim), nn.Linear(embed_dim, embed_dim)
        )
        c1, c2, c3 = channels
        self.conv1, self.dense1, self.gnorm1 = (
            nn.Conv2d(1, c1, 3, stride=1, bias=False, padding=1),
            Dense(embed_dim, c1),
            nn.GroupNorm(4, num_channels=c1),
        )
        self.conv2, self.dense2, self.gnorm2 = (
            nn.Conv2d(c1, c2, 3, stride=2, bias=False, padding=1),
            Dense(embed_dim, c2),
            nn.GroupNorm(4, num_channels=c2),
        )
        self.conv3, self.dense3, self.gnorm3 = (
            nn.Conv2d(c2, c3, 3, stride=2, bias=False, padding=1),
            Dense(embed_dim, c3),
            nn.GroupNorm(4, num_channels=c3),
        )
        self.tconv3, self.dense6, self.tgnorm3 = (
            nn.ConvTranspose2d(c3, c2, 4, stride=2, bias=False, padding=1),
            Dense(embed_dim, c2),
            nn.GroupNorm(4, num_channels=c2),
        )
        self.tconv2, self.dense7, self.tgnorm2 = (
            nn.ConvTranspose2d(c2 + c2, c1, 4, stride=2, bias=False, padding=1),
            Dense(embed_dim, c1),
            nn.GroupNorm(4, num_channels=c1),
        )
        self.tconv1 = nn.ConvTranspose2d(c1 + c1, 1, 3, stride=1, padding=1)
        self.act, self.marginal_prob_std = (lambda x: x * torch.sigmoid(x)), std

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embed = self.act(self.embed(t))
        h1 = self.conv1(x)
        h1 += self.dense1(embed)
        h1 = self.act(self.gnorm1(h1))
        h2 = self.conv2(h1)
        h2 += self.dense2(embed)
        h2 = self.act(self.gnorm2(h2))
        h3 = self.conv3(h2)
        h3 += self.dense3(embed)
        h3 = self.act(self.gnorm3(h3))
        h = self.tconv3(h3)
        h += self.dense6(embed)
        h = self.act(self.tgnorm3(h))
        h = self.tconv2(torch.cat([h, h2], dim=1))
        h += self.dense7(embed)
        h = self.act(self.tgnorm2(h))
        h = self.tconv1(torch.cat([h, h1], dim=1))
        return h / self.marginal_prob_std(t)[:, None, None, None]


def marginal_prob_std(t: Tensor, sigma: float) -> Tensor:
    t = t.clone().detach()
    return torch.sqrt((sigma ** (2 * t) - 1.0) / 2.0 / math.log(sigma))


def exists(x: Any) -> bool:
    return x is not None


class GEGLU(nn.Module):
    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, dim_out * 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class CrossAttention(nn.Module):
    def __init__(
        self, query_dim: int, context_dim: int | None = None, heads: int = 2, dim_head: int = 5
    ) -> None:
        super().__init__()
        inner_dim = dim_head * heads
        context_dim = context_dim if exists(context_dim) else query_dim
        self.scale, self.heads = dim_head**-0.5, heads
        self.to_q, self.to_k, self.to_v = (
            nn.Linear(query_dim, inner_dim, bias=False),
            nn.Linear(context_dim, inner_dim, bias=False),
            nn.Linear(context_dim, inner_dim, bias=False),
        )
        self.to_out = nn.Sequential(nn.Linear(inner_dim, query_dim), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        h = self.heads
        context = context if exists(context) else x
        b, n, _ = x.shape
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        q, k, v = map(
            lambda t: t.reshape(t.shape[0], t.shape[1], h, -1).permute(0, 2, 1, 3).flatten(0, 1),
            (q, k, v),
        )
        attn = (einsum("b i d, b j d -> b i j", q, k) * self.scale).softmax(dim=-1)
        out = einsum("b i j, b j d -> b i d", attn, v)
        return self.to_out(out.reshape(b, h, n, -1).permute(0, 2, 1, 3).flatten(2))


class SpatialTransformer(nn.Module):
    """Channels as tokens' features: attends to itself, to words, then gates."""

    def __init__(self, in_channels: int = 8, words: int = 6, inner: int = 10) -> None:
        super().__init__()
        self.conv_in, self.conv_out, self.table = (
            nn.Conv2d(1, in_channels, 3, 2, 1),
            nn.Conv2d(in_channels, 3, 3, padding=1),
            nn.Embedding(30, words),
        )
        self.norm = nn.GroupNorm(4, in_channels, eps=1e-6)
        self.proj_in, self.proj_out = (
            nn.Conv2d(in_channels, inner, 1),
            nn.Conv2d(inner, in_channels, 1),
        )
        self.attn1, self.attn2 = CrossAttention(inner), CrossAttention(inner, words)
        self.ff = nn.Sequential(GEGLU(inner, 16), nn.Dropout(0.0), nn.Linear(16, inner))
        self.norm1, self.norm2, self.norm3 = (
            nn.LayerNorm(inner),
            nn.LayerNorm(inner),
            nn.LayerNorm(inner),
        )

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        x, context = self.conv_in(x), self.table(words)
        b, c, h, w = x.shape
        x_in = x
        x = self.proj_in(self.norm(x))
        x = x.permute(0, 2, 3, 1).reshape(b, h * w, -1)
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context=context) + x
        x = self.ff(self.norm3(x)) + x
        x = x.reshape(b, h, w, -1).permute(0, 3, 1, 2).contiguous()
        return self.conv_out(self.proj_out(x) + x_in)


class FiniteScalar(nn.Module):
    """Codes rounded to a few levels, gradients straight through."""

    def __init__(self, levels: tuple[int, ...] = (5, 4, 3)) -> None:
        super().__init__()
        self.register_buffer("_levels", torch.tensor(levels, dtype=torch.int32), persistent=False)
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, len(levels), 3, padding=1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(len(levels), 10, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(10, 1, 4, 2, 1)
        )

    def bound(self, z: Tensor, eps: float = 1e-3) -> Tensor:
        half_l = (self._levels - 1) * (1 + eps) / 2
        offset = torch.where(self._levels % 2 == 0, 0.5, 0.0)
        shift = (offset / half_l).atanh()
        return (z + shift).tanh() * half_l - offset

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encoder(x).permute(0, 2, 3, 1)
        bounded = self.bound(z)
        codes = bounded + (bounded.round() - bounded).detach()
        codes = codes / (self._levels // 2)
        return self.decoder(codes.permute(0, 3, 1, 2)), codes


class PartialConv(nn.Conv2d):
    """A convolution over what a mask lets through, which widens the mask."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.weight_maskUpdater = torch.ones(1, 1, self.kernel_size[0], self.kernel_size[1])
        self.slide_winsize = self.weight_maskUpdater.shape[2] * self.weight_maskUpdater.shape[3]

    def forward(self, input: Tensor, mask_in: Tensor) -> Any:
        with torch.no_grad():
            if self.weight_maskUpdater.type() != input.type():
                self.weight_maskUpdater = self.weight_maskUpdater.to(input)
            self.update_mask = F.conv2d(
                mask_in,
                self.weight_maskUpdater,
                bias=None,
                stride=self.stride,
                padding=self.padding,
            )
            self.mask_ratio = self.slide_winsize / (self.update_mask + 1e-8)
            self.update_mask = torch.clamp(self.update_mask, 0, 1)
            self.mask_ratio = torch.mul(self.mask_ratio, self.update_mask)
        raw_out = super().forward(torch.mul(input, mask_in))
        bias_view = self.bias.view(1, self.out_channels, 1, 1)
        output = torch.mul(raw_out - bias_view, self.mask_ratio) + bias_view
        return torch.mul(output, self.update_mask), self.update_mask


class Inpainting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc1, self.enc2 = (
            PartialConv(1, 8, 3, stride=2, padding=1),
            PartialConv(8, 12, 3, stride=2, padding=1),
        )
        self.bn, self.dec1, self.dec2 = (
            nn.BatchNorm2d(12),
            PartialConv(20, 8, 3, padding=1),
            PartialConv(9, 1, 3, padding=1),
        )
        for n in (self.dec1, self.dec2):
            nn.init.kaiming_normal_(n.weight, a=0, mode="fan_in")

    def forward(self, x: Tensor) -> Tensor:
        mask = (x > -0.5).to(x.dtype)
        h1, m1 = self.enc1(x, mask)
        h2, m2 = self.enc2(F.relu(h1), m1)
        h, m = F.relu(self.bn(h2)), m2
        up = partial(F.interpolate, scale_factor=2, mode="nearest")
        mask1 = torch.max(up(m), m1)
        h, m = self.dec1(torch.cat([up(h), F.relu(h1)], dim=1), mask1)
        h, m = self.dec2(torch.cat([up(F.leaky_relu(h, 0.2)), x], dim=1), torch.max(up(m), mask))
        return h


class ZeroDce(nn.Module):
    """Curves that brighten a picture, applied again and again."""

    def __init__(self, f: int = 8) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        sizes = [(3, f), (f, f), (f, f), (2 * f, f), (2 * f, 12)]
        for n, (i, o) in enumerate(sizes, 1):
            setattr(self, f"e_conv{n}", nn.Conv2d(i, o, 3, 1, 1, bias=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x1 = self.relu(self.e_conv1(x))
        x2 = self.relu(self.e_conv2(x1))
        x3 = self.relu(self.e_conv3(x2))
        x4 = self.relu(self.e_conv4(torch.cat([x2, x3], 1)))
        x_r = torch.tanh(self.e_conv5(torch.cat([x1, x4], 1)))
        for r in torch.split(x_r, 3, dim=1):
            x = x + r * (torch.pow(x, 2) - x)
        return x, x_r


class KernelFusion(nn.Module):
    """Streams of several resolutions that are weighed against each other, channel by channel."""

    def __init__(self, c: int = 8, height: int = 2) -> None:
        super().__init__()
        self.height, d = height, max(int(c / 4), 4)
        self.stem, self.down, self.body = (
            nn.Conv2d(1, c, 3, 1, 1),
            nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c, c, 1)),
            nn.Conv2d(c, c, 3, 1, 1),
        )
        self.avg_pool, self.conv_du = (
            nn.AdaptiveAvgPool2d(1),
            nn.Sequential(nn.Conv2d(c, d, 1, bias=False), nn.PReLU()),
        )
        self.fcs, self.softmax, self.tail = (
            nn.ModuleList([nn.Conv2d(d, c, 1, bias=False) for _ in range(height)]),
            nn.Softmax(dim=1),
            nn.Conv2d(c, 1, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        f = self.stem(x)
        inp_feats = [
            self.body(f),
            F.interpolate(self.down(f), scale_factor=2, mode="bilinear", align_corners=False),
        ]
        batch_size, n_feats = inp_feats[0].shape[0], inp_feats[0].shape[1]
        feats = torch.cat(inp_feats, dim=1)
        feats = feats.view(batch_size, self.height, n_feats, feats.shape[2], feats.shape[3])
        feats_Z = self.conv_du(self.avg_pool(torch.sum(feats, dim=1)))
        attention_vectors = torch.cat([fc(feats_Z) for fc in self.fcs], dim=1)
        attention_vectors = self.softmax(
            attention_vectors.view(batch_size, self.height, n_feats, 1, 1)
        )
        return self.tail(torch.sum(feats * attention_vectors, dim=1)) + x


class ImplicitZoom(nn.Module):
    """A picture as a function of places, asked through the four nearest features."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.encoder, self.imnet = (
            nn.Conv2d(1, d, 3, padding=1),
            nn.Sequential(nn.Linear(9 * d + 2, 20), nn.ReLU(), nn.Linear(20, 1)),
        )

    def forward(self, inp: Tensor) -> Tensor:
        feat = F.relu(self.encoder(inp))
        g = torch.linspace(-0.9, 0.9, 7).to(inp)
        coord = (
            torch.stack(torch.meshgrid(g, g, indexing="ij"), -1)
            .view(1, -1, 2)
            .expand(inp.shape[0], -1, 2)
        )
        feat = F.unfold(feat, 3, padding=1).view(
            feat.shape[0], feat.shape[1] * 9, feat.shape[2], feat.shape[3]
        )
        rx, ry = 2 / feat.shape[-2] / 2, 2 / feat.shape[-1] / 2
        preds, areas = [], []
        for vx in [-1, 1]:
            for vy in [-1, 1]:
                coord_ = coord.clone()
                coord_[:, :, 0] += vx * rx + 1e-6
                coord_[:, :, 1] += vy * ry + 1e-6
                coord_.clamp_(-1 + 1e-6, 1 - 1e-6)
                q_feat = F.grid_sample(
                    feat, coord_.flip(-1).unsqueeze(1), mode="nearest", align_corners=False
                )[:, :, 0, :].permute(0, 2, 1)
                rel_coord = coord - coord_
                bs, q = coord.shape[:2]
                preds.append(
                    self.imnet(torch.cat([q_feat, rel_coord], dim=-1).view(bs * q, -1)).view(
                        bs, q, -1
                    )
                )
                areas.append(torch.abs(rel_coord[:, :, 0] * rel_coord[:, :, 1]) + 1e-9)
        tot_area = torch.stack(areas).sum(dim=0)
        areas[0], areas[3] = areas[3], areas[0]
        areas[1], areas[2] = areas[2], areas[1]
        ret = 0
        for pred, area in zip(preds, areas):
            ret = ret + pred * (area / tot_area).unsqueeze(-1)
        return ret


class ExpectationSegmenter(nn.Module):
    """Bases found by a few rounds of expectation and maximisation without gradients."""

    def __init__(self, c: int = 10, k: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 4, 1), nn.BatchNorm2d(c), nn.ReLU())
        mu = torch.Tensor(1, c, k)
        mu.normal_(0, math.sqrt(2.0 / k))
        self.register_buffer("mu", mu / (1e-6 + mu.norm(dim=1, keepdim=True)))
        self.conv1, self.conv2, self.head = (
            nn.Conv2d(c, c, 1),
            nn.Sequential(nn.Conv2d(c, c, 1, bias=False), nn.BatchNorm2d(c)),
            nn.Conv2d(c, 4, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        idn = x
        x = self.conv1(x)
        b, c, h, w = x.size()
        x = x.view(b, c, h * w)
        mu = self.mu.repeat(b, 1, 1)
        with torch.no_grad():
            for _ in range(3):
                z = F.softmax(torch.bmm(x.permute(0, 2, 1), mu), dim=2)
                z_ = z / (1e-6 + z.sum(dim=1, keepdim=True))
                mu = torch.bmm(x, z_)
                mu = mu / (1e-6 + mu.norm(dim=1, keepdim=True))
        x = F.relu(mu.matmul(z.permute(0, 2, 1)).view(b, c, h, w), inplace=True)
        x = F.relu(self.conv2(x) + idn, inplace=True)
        return self.head(x), mu


class CrissCross(nn.Module):
    """Attention over the row and the column of a place, together."""

    def __init__(self, c: int = 8) -> None:
        super().__init__()
        self.stem, self.query_conv, self.key_conv, self.value_conv = (
            nn.Conv2d(3, c, 3, 4, 1),
            nn.Conv2d(c, 6, 1),
            nn.Conv2d(c, 6, 1),
            nn.Conv2d(c, c, 1),
        )
        self.gamma, self.head = nn.Parameter(torch.ones(1) * 0.5), nn.Conv2d(c, 4, 1)

    def criss_cross(self, x: Tensor) -> Tensor:
        m, _, height, width = x.size()
        q, k, v = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        q_H = q.permute(0, 3, 1, 2).contiguous().view(m * width, -1, height).permute(0, 2, 1)
        q_W = q.permute(0, 2, 1, 3).contiguous().view(m * height, -1, width).permute(0, 2, 1)
        k_H = k.permute(0, 3, 1, 2).contiguous().view(m * width, -1, height)
        k_W = k.permute(0, 2, 1, 3).contiguous().view(m * height, -1, width)
        v_H = v.permute(0, 3, 1, 2).contiguous().view(m * width, -1, height)
        v_W = v.permute(0, 2, 1, 3).contiguous().view(m * height, -1, width)
        inf = (
            -torch.diag(torch.tensor(1e4).repeat(height), 0)
            .unsqueeze(0)
            .repeat(m * width, 1, 1)
            .to(x)
        )
        energy_H = (torch.bmm(q_H, k_H) + inf).view(m, width, height, height).permute(0, 2, 1, 3)
        energy_W = torch.bmm(q_W, k_W).view(m, height, width, width)
        concate = F.softmax(torch.cat([energy_H, energy_W], 3), dim=3)
        att_H = (
            concate[:, :, :, 0:height]
            .permute(0, 2, 1, 3)
            .contiguous()
            .view(m * width, height, height)
        )
        att_W = (
            concate[:, :, :, height : height + width].contiguous().view(m * height, width, width)
        )
        out_H = (
            torch.bmm(v_H, att_H.permute(0, 2, 1)).view(m, width, -1, height).permute(0, 2, 3, 1)
        )
        out_W = (
            torch.bmm(v_W, att_W.permute(0, 2, 1)).view(m, height, -1, width).permute(0, 2, 1, 3)
        )
        return self.gamma * (out_H + out_W) + x

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        x = self.stem(x)
        for _ in range(2):
            x = self.criss_cross(x)
        return F.interpolate(self.head(x), size=size, mode="bilinear", align_corners=True)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "moco_queue": lambda: (Moco(), INPUTS.images),
    "dino_head": lambda: (DinoHead(), INPUTS.numbers),
    "slimmable": lambda: (Slimmable(), INPUTS.images),
    "parametrised_weights": lambda: (Parametrised(), INPUTS.numbers),
    "vmap_ensemble": lambda: (Ensemble(), INPUTS.numbers),
    "maml_variables": lambda: (MamlNet(), INPUTS.grey),
    "hooked_features": lambda: (HookedFeatures(), INPUTS.images),
    "neural_turing": lambda: (TuringMachine(), INPUTS.tokens),
    "show_attend_tell": lambda: (Captioner(), WORDS_SEEN),
    "score_network": lambda: (ScoreNet(partial(marginal_prob_std, sigma=25.0)), (INPUTS.grey, torch.tensor([0.3, 0.7]))),
    "latent_diffusion_words": lambda: (SpatialTransformer(), (INPUTS.grey, INPUTS.tokens)),
    "finite_scalar_codes": lambda: (FiniteScalar(), INPUTS.grey),
    "partial_convolutions": lambda: (Inpainting(), INPUTS.grey),
    "zero_dce_curves": lambda: (ZeroDce(), INPUTS.images),
    "kernel_fusion": lambda: (KernelFusion(), INPUTS.grey),
    "implicit_zoom": lambda: (ImplicitZoom(), INPUTS.grey),
    "expectation_segmenter": lambda: (ExpectationSegmenter(), INPUTS.images),
    "criss_cross": lambda: (CrissCross(), INPUTS.images),
}  # fmt: skip
