"""Networks of the zoo that generate, compare or act, eighth sample."""

# ruff: noqa: B905, N806, RUF059 - names and lines as people write them
from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from benchmarks.networks.eighth.inputs import CAPTIONED, INPUTS, LABELS, PAIR, TIMES


class Embed(nn.Module):
    """Times by sines, fixed random or by a table of exponents."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, time: Tensor) -> Tensor:
        half_dim = self.dim // 2
        embeddings = math.log(10000) / (half_dim - 1)
        embeddings = torch.exp(torch.arange(half_dim, device=time.device) * -embeddings)
        embeddings = time[:, None] * embeddings[None, :]
        return torch.cat((embeddings.sin(), embeddings.cos()), dim=-1)


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose weight is standardised at each call."""

    def forward(self, x: Tensor) -> Tensor:
        eps = 1e-5
        weight = self.weight
        mean = weight.mean(dim=(1, 2, 3), keepdim=True)
        var = weight.flatten(1).var(dim=1, unbiased=False).view(-1, 1, 1, 1)
        normalized_weight = (weight - mean) * (var + eps).rsqrt()
        return F.conv2d(
            x, normalized_weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class AnnotatedDiffusion(nn.Module):
    """The U-Net of an annotated diffusion model: blocks with scale and shift of the time, linear attention, lists of lists."""

    class Block(nn.Module):
        def __init__(self, dim: int, dim_out: int, groups: int = 4) -> None:
            super().__init__()
            self.proj, self.norm, self.act = (
                StandardizedConv2d(dim, dim_out, 3, padding=1),
                nn.GroupNorm(groups, dim_out),
                nn.SiLU(),
            )

        def forward(self, x: Tensor, scale_shift: Any = None) -> Tensor:
            x = self.norm(self.proj(x))
            if scale_shift is not None:
                scale, shift = scale_shift
                x = x * (scale + 1) + shift
            return self.act(x)

    class ResnetBlock(nn.Module):
        def __init__(self, dim: int, dim_out: int, *, time_emb_dim: int | None = None) -> None:
            super().__init__()
            self.mlp = (
                nn.Sequential(nn.SiLU(), nn.Linear(time_emb_dim, dim_out * 2))
                if time_emb_dim is not None
                else None
            )
            self.block1, self.block2 = (
                AnnotatedDiffusion.Block(dim, dim_out),
                AnnotatedDiffusion.Block(dim_out, dim_out),
            )
            self.res_conv = nn.Conv2d(dim, dim_out, 1) if dim != dim_out else nn.Identity()

        def forward(self, x: Tensor, time_emb: Tensor | None = None) -> Tensor:
            scale_shift = None
            if self.mlp is not None and time_emb is not None:
                scale_shift = self.mlp(time_emb)[:, :, None, None].chunk(2, dim=1)
            h = self.block2(self.block1(x, scale_shift=scale_shift))
            return h + self.res_conv(x)

    class LinearAttention(nn.Module):
        def __init__(self, dim: int, heads: int = 2, dim_head: int = 4) -> None:
            super().__init__()
            self.scale, self.heads = dim_head**-0.5, heads
            self.to_qkv = nn.Conv2d(dim, dim_head * heads * 3, 1, bias=False)
            self.to_out = nn.Sequential(nn.Conv2d(dim_head * heads, dim, 1), nn.GroupNorm(1, dim))

        def forward(self, x: Tensor) -> Tensor:
            b, c, h, w = x.shape
            q, k, v = (t.reshape(b, self.heads, -1, h * w) for t in self.to_qkv(x).chunk(3, dim=1))
            q, k = q.softmax(dim=-2) * self.scale, k.softmax(dim=-1)
            context = torch.einsum("b h d n, b h e n -> b h d e", k, v)
            out = torch.einsum("b h d e, b h d n -> b h e n", context, q)
            return self.to_out(out.reshape(b, -1, h, w))

    class Residual(nn.Module):
        def __init__(self, fn: nn.Module) -> None:
            super().__init__()
            self.fn = fn

        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            return self.fn(x, *args, **kwargs) + x

    def __init__(self, dim: int = 8, dim_mults: tuple = (1, 2), channels: int = 1) -> None:
        super().__init__()
        self.init_conv = nn.Conv2d(channels, dim, 1, padding=0)
        dims = [dim, *[dim * m for m in dim_mults]]
        in_out = list(itertools.pairwise(dims))
        time_dim = dim * 2
        block = partial(self.ResnetBlock, time_emb_dim=time_dim)
        self.time_mlp = nn.Sequential(
            Embed(dim), nn.Linear(dim, time_dim), nn.GELU(), nn.Linear(time_dim, time_dim)
        )
        self.downs, self.ups = nn.ModuleList([]), nn.ModuleList([])
        for ind, (dim_in, dim_out) in enumerate(in_out):
            is_last = ind >= (len(in_out) - 1)
            self.downs.append(
                nn.ModuleList(
                    [
                        block(dim_in, dim_in),
                        self.Residual(self.LinearAttention(dim_in)),
                        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(dim_in * 4, dim_out, 1))
                        if not is_last
                        else nn.Conv2d(dim_in, dim_out, 3, padding=1),
                    ]
                )
            )
        self.mid_block1, self.mid_block2 = block(dims[-1], dims[-1]), block(dims[-1], dims[-1])
        for ind, (dim_in, dim_out) in enumerate(reversed(in_out)):
            is_last = ind == (len(in_out) - 1)
            self.ups.append(
                nn.ModuleList(
                    [
                        block(dim_out + dim_in, dim_out),
                        self.Residual(self.LinearAttention(dim_out)),
                        nn.Sequential(
                            nn.Upsample(scale_factor=2, mode="nearest"),
                            nn.Conv2d(dim_out, dim_in, 3, padding=1),
                        )
                        if not is_last
                        else nn.Conv2d(dim_out, dim_in, 3, padding=1),
                    ]
                )
            )
        self.final_res_block, self.final_conv = block(dim * 2, dim), nn.Conv2d(dim, channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        x = self.init_conv(x)
        r = x.clone()
        t = self.time_mlp(time)
        h = []
        for block1, attn, downsample in self.downs:
            x = block1(x, t)
            x = attn(x)
            h.append(x)
            x = downsample(x)
        x = self.mid_block2(self.mid_block1(x, t), t)
        for block1, attn, upsample in self.ups:
            x = torch.cat((x, h.pop()), dim=1)
            x = block1(x, t)
            x = attn(x)
            x = upsample(x)
        x = torch.cat((x, r), dim=1)
        return self.final_conv(self.final_res_block(x, t))


class PreconditionedDenoiser(nn.Module):
    """A denoiser whose input, output and noise level are scaled by functions of the level; classes may be dropped."""

    def __init__(self, sigma_data: float = 0.5, classes: int = 6) -> None:
        super().__init__()
        self.sigma_data = sigma_data
        self.register_buffer("freqs", torch.randn(4, generator=torch.Generator().manual_seed(2)))
        self.map_label, self.map_layer = nn.Linear(classes, 8, bias=False), nn.Linear(8, 12)
        self.enc, self.affine, self.norm = (
            nn.Conv2d(1, 8, 3, padding=1),
            nn.Linear(12, 16),
            nn.GroupNorm(2, 8, eps=1e-6),
        )
        self.conv1, self.conv0 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.qkv, self.proj = nn.Conv2d(8, 24, 1), nn.Conv2d(8, 8, 1)
        self.out, self.classes = nn.Conv2d(8, 1, 3, padding=1), classes

    def inner(self, x: Tensor, noise: Tensor, label: Tensor) -> Tensor:
        emb = noise.ger((2 * torch.pi * self.freqs).to(noise.dtype))
        emb = torch.cat([emb.cos(), emb.sin()], dim=1) + self.map_label(
            label * math.sqrt(self.classes)
        )
        emb = F.silu(self.map_layer(emb))
        x = self.enc(x)
        h = self.conv0(F.silu(x))
        scale, shift = self.affine(emb).unsqueeze(2).unsqueeze(3).chunk(chunks=2, dim=1)
        h = F.silu(torch.addcmul(shift, self.norm(h), scale + 1))
        x = self.conv1(F.dropout(h, p=0.1, training=self.training)).add_(x) * math.sqrt(0.5)
        q, k, v = self.qkv(x).reshape(x.shape[0] * 2, x.shape[1] // 2, 3, -1).unbind(2)
        w = torch.einsum("ncq,nck->nqk", q, k / math.sqrt(k.shape[1])).softmax(dim=2)
        a = torch.einsum("nqk,nck->ncq", w, v)
        return self.out(self.proj(a.reshape(*x.shape)).add_(x))

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        sigma = sigma.reshape(-1, 1, 1, 1)
        labels = F.one_hot(labels, self.classes).to(x.dtype)
        c_skip = self.sigma_data**2 / (sigma**2 + self.sigma_data**2)
        c_out = sigma * self.sigma_data / (sigma**2 + self.sigma_data**2).sqrt()
        c_in = 1 / (self.sigma_data**2 + sigma**2).sqrt()
        c_noise = sigma.log() / 4
        return c_skip * x + c_out * self.inner(c_in * x, c_noise.flatten(), labels)


class FlowMatching(nn.Module):
    """A velocity over points and times with residual blocks in a list of pairs, classes by a table with a null row."""

    def __init__(self, d: int = 6, h: int = 14) -> None:
        super().__init__()
        self.in_proj, self.null = nn.Linear(d, h), 6
        self.label = nn.Embedding(7, h)
        self.time = nn.Sequential(nn.Linear(1, h), nn.SiLU(), nn.Linear(h, h))
        self.blocks = nn.ModuleList(
            (nn.Linear(h, 20), nn.Linear(20, h))[i] for _ in range(2) for i in range(2)
        )
        self.out = nn.Linear(h, d)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if t.dim() == 0:
            t = t.expand(x.shape[0])
        y = torch.full((x.shape[0],), self.null, dtype=torch.long, device=x.device)
        h = self.in_proj(x) + self.time(t.view(-1, 1)) + self.label(y)
        for up, down in zip(self.blocks[::2], self.blocks[1::2]):
            h = h + down(F.silu(up(h)))
        return self.out(h)


class StarTranslator(nn.Module):
    """A translator between domains: labels are repeated over places; its critic has two outputs."""

    class ResidualBlock(nn.Module):
        def __init__(self, i: int, o: int) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(i, o, 3, 1, 1, bias=False),
                nn.InstanceNorm2d(o, affine=True, track_running_stats=True),
                nn.ReLU(inplace=True),
                nn.Conv2d(o, o, 3, 1, 1, bias=False),
                nn.InstanceNorm2d(o, affine=True, track_running_stats=True),
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.main(x)

    def __init__(self, conv_dim: int = 6, c_dim: int = 3) -> None:
        super().__init__()
        layers = [
            nn.Conv2d(3 + c_dim, conv_dim, 7, 1, 3, bias=False),
            nn.InstanceNorm2d(conv_dim, affine=True, track_running_stats=True),
            nn.ReLU(inplace=True),
        ]
        curr_dim = conv_dim
        layers += [
            nn.Conv2d(curr_dim, curr_dim * 2, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(curr_dim * 2, affine=True),
            nn.ReLU(inplace=True),
        ]
        curr_dim = curr_dim * 2
        layers.append(self.ResidualBlock(curr_dim, curr_dim))
        layers += [
            nn.ConvTranspose2d(curr_dim, curr_dim // 2, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(curr_dim // 2, affine=True),
            nn.ReLU(inplace=True),
        ]
        layers += [nn.Conv2d(curr_dim // 2, 3, 7, 1, 3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)
        critic, c = [nn.Conv2d(3, 6, 4, 2, 1), nn.LeakyReLU(0.01)], 6
        for _ in range(2):
            critic += [nn.Conv2d(c, c * 2, 4, 2, 1), nn.LeakyReLU(0.01)]
            c = c * 2
        self.critic, kernel_size = nn.Sequential(*critic), int(32 / 2**3)
        self.conv1, self.conv2 = (
            nn.Conv2d(c, 1, 3, 1, 1, bias=False),
            nn.Conv2d(c, c_dim, kernel_size, bias=False),
        )

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c = c.view(c.size(0), c.size(1), 1, 1)
        c = c.repeat(1, 1, x.size(2), x.size(3))
        fake = self.main(torch.cat([x, c], dim=1))
        h = self.critic(fake)
        out_cls = self.conv2(h)
        return fake, self.conv1(h), out_cls.view(out_cls.size(0), out_cls.size(1))


class InfoCritic(nn.Module):
    """A critic that also reads the codes, its noise layer, and minibatch statistics as one more channel."""

    def __init__(self, group: int = 2) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 4, 2, 1), nn.Conv2d(9, 12, 4, 2, 1, bias=False)
        self.bn2, self.group = nn.BatchNorm2d(12), group
        self.conv_disc, self.conv_q = nn.Conv2d(12, 1, 4), nn.Conv2d(12, 10, 4, bias=False)
        self.bn_q, self.conv_mu, self.conv_var = (
            nn.BatchNorm2d(10),
            nn.Conv2d(10, 2, 1),
            nn.Conv2d(10, 2, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = F.leaky_relu(
            self.conv1(x + 0.05 * torch.randn_like(x) if self.training else x), 0.1, inplace=True
        )
        s = x.shape
        y = x.view(self.group, -1, 1, s[1], s[2], s[3])
        y = y - y.mean(dim=0, keepdim=True)
        y = (y.pow(2).mean(0) + 1e-8).sqrt().mean(dim=[2, 3, 4], keepdim=True).squeeze(2)
        y = y.repeat(self.group, 1, s[2], s[3])
        x = torch.cat([x, y], dim=1)
        x = F.leaky_relu(self.bn2(self.conv2(x)), 0.1)
        q = F.leaky_relu(self.bn_q(self.conv_q(x)), 0.1, inplace=True)
        return (
            torch.sigmoid(self.conv_disc(x)).flatten(),
            self.conv_mu(q).squeeze(),
            torch.exp(self.conv_var(q).squeeze()),
        )


class TwoLevelCodes(nn.Module):
    """Codes at two levels: the lower is quantised given what the upper decodes to; running means of codes in training."""

    class Quantize(nn.Module):
        def __init__(self, dim: int, n_embed: int, decay: float = 0.99, eps: float = 1e-5) -> None:
            super().__init__()
            self.dim, self.n_embed, self.decay, self.eps = dim, n_embed, decay, eps
            embed = torch.randn(dim, n_embed)
            self.register_buffer("embed", embed)
            self.register_buffer("cluster_size", torch.zeros(n_embed))
            self.register_buffer("embed_avg", embed.clone())

        def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            flatten = input.reshape(-1, self.dim)
            dist = (
                flatten.pow(2).sum(1, keepdim=True)
                - 2 * flatten @ self.embed
                + self.embed.pow(2).sum(0, keepdim=True)
            )
            _, embed_ind = (-dist).max(1)
            embed_onehot = F.one_hot(embed_ind, self.n_embed).type(flatten.dtype)
            embed_ind = embed_ind.view(*input.shape[:-1])
            quantize = F.embedding(embed_ind, self.embed.transpose(0, 1))
            if self.training:
                embed_sum = flatten.transpose(0, 1) @ embed_onehot
                self.cluster_size.data.mul_(self.decay).add_(
                    embed_onehot.sum(0), alpha=1 - self.decay
                )
                self.embed_avg.data.mul_(self.decay).add_(embed_sum, alpha=1 - self.decay)
                n = self.cluster_size.sum()
                cluster_size = (self.cluster_size + self.eps) / (n + self.n_embed * self.eps) * n
                self.embed.data.copy_(self.embed_avg / cluster_size.unsqueeze(0))
            diff = (quantize.detach() - input).pow(2).mean()
            quantize = input + (quantize - input).detach()
            return quantize, diff, embed_ind

    def __init__(self) -> None:
        super().__init__()
        self.enc_b = nn.Sequential(
            nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 10, 3, padding=1)
        )
        self.enc_t = nn.Sequential(
            nn.Conv2d(10, 8, 4, 2, 1), nn.ReLU(inplace=True), nn.Conv2d(8, 10, 3, padding=1)
        )
        self.quantize_conv_t, self.quantize_t = nn.Conv2d(10, 5, 1), self.Quantize(5, 11)
        self.dec_t = nn.Sequential(
            nn.Conv2d(5, 9, 3, padding=1), nn.ReLU(inplace=True), nn.ConvTranspose2d(9, 5, 4, 2, 1)
        )
        self.quantize_conv_b, self.quantize_b = nn.Conv2d(5 + 10, 5, 1), self.Quantize(5, 11)
        self.upsample_t = nn.ConvTranspose2d(5, 5, 4, 2, 1)
        self.dec = nn.Sequential(
            nn.Conv2d(10, 9, 3, padding=1), nn.ReLU(inplace=True), nn.ConvTranspose2d(9, 1, 4, 2, 1)
        )

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
        enc_b = self.enc_b(input)
        enc_t = self.enc_t(enc_b)
        quant_t = self.quantize_conv_t(enc_t).permute(0, 2, 3, 1)
        quant_t, diff_t, _ = self.quantize_t(quant_t)
        quant_t = quant_t.permute(0, 3, 1, 2)
        dec_t = self.dec_t(quant_t)
        enc_b = torch.cat([dec_t, enc_b], 1)
        quant_b = self.quantize_conv_b(enc_b).permute(0, 2, 3, 1)
        quant_b, diff_b, _ = self.quantize_b(quant_b)
        quant_b = quant_b.permute(0, 3, 1, 2)
        quant = torch.cat([self.upsample_t(quant_t), quant_b], 1)
        return self.dec(quant), (diff_t.unsqueeze(0) + diff_b.unsqueeze(0)).mean()


class LadderVAE(nn.Module):
    """Posteriors of two layers joined by their precisions; a mean in evaluation, a sample in training."""

    def __init__(self, d: int = 6) -> None:
        super().__init__()
        self.up1 = nn.Sequential(nn.Linear(d, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.1))
        self.up2 = nn.Sequential(nn.Linear(16, 12), nn.BatchNorm1d(12), nn.LeakyReLU(0.1))
        self.mu1, self.var1, self.mu2, self.var2 = (
            nn.Linear(16, 4),
            nn.Linear(16, 4),
            nn.Linear(12, 3),
            nn.Linear(12, 3),
        )
        self.down = nn.Sequential(nn.Linear(3, 10), nn.LeakyReLU(0.1))
        self.p_mu, self.p_var = nn.Linear(10, 4), nn.Linear(10, 4)
        self.generate = nn.Sequential(nn.Linear(4, 14), nn.LeakyReLU(0.1), nn.Linear(14, d))

    def draw(self, mu: Tensor, var: Tensor) -> Tensor:
        return mu + torch.randn_like(mu) * var.sqrt() if self.training else mu

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d1 = self.up1(x)
        d2 = self.up2(d1)
        q_mu2, q_var2 = self.mu2(d2), F.softplus(self.var2(d2))
        z2 = self.draw(q_mu2, q_var2)
        h = self.down(z2)
        p_mu1, p_var1 = self.p_mu(h), F.softplus(self.p_var(h))
        e_mu, e_var = self.mu1(d1), F.softplus(self.var1(d1))
        precision1, precision2 = e_var**-1, p_var1**-1
        q_mu1 = (e_mu * precision1 + p_mu1 * precision2) / (precision1 + precision2)
        q_var1 = 1.0 / (precision1 + precision2)
        z1 = self.draw(q_mu1, q_var1)
        kl = torch.distributions.kl_divergence(
            Normal(q_mu1, q_var1.sqrt()), Normal(p_mu1, p_var1.sqrt())
        ).sum(-1)
        return self.generate(z1), kl


class BootstrapLatent(nn.Module):
    """Two views: a learner with a predictor, and a deep copy as target without gradients; losses are given."""

    def __init__(self) -> None:
        super().__init__()
        self.online_encoder = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 16),
            nn.BatchNorm1d(16),
            nn.ReLU(inplace=True),
            nn.Linear(16, 8),
        )
        self.target_encoder = copy.deepcopy(self.online_encoder)
        for p in self.target_encoder.parameters():
            p.requires_grad_(False)
        self.online_predictor = nn.Sequential(
            nn.Linear(8, 12), nn.BatchNorm1d(12), nn.ReLU(inplace=True), nn.Linear(12, 8)
        )

    @staticmethod
    def loss_fn(x: Tensor, y: Tensor) -> Tensor:
        x, y = F.normalize(x, dim=-1, p=2), F.normalize(y, dim=-1, p=2)
        return 2 - 2 * (x * y).sum(dim=-1)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        images = torch.cat((one, two), dim=0)
        preds = self.online_predictor(self.online_encoder(images))
        first, second = preds.chunk(2, dim=0)
        with torch.no_grad():
            target_one, target_two = self.target_encoder(images).detach().chunk(2, dim=0)
        return self.loss_fn(first, target_two.detach()) + self.loss_fn(second, target_one.detach())


class PictureWords(nn.Module):
    """Images and sentences in one space: the end of a sentence is its largest token, a learned temperature."""

    class QuickGELU(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(1.702 * x)

    class ResidualAttentionBlock(nn.Module):
        def __init__(self, d_model: int, n_head: int, attn_mask: Tensor | None = None) -> None:
            super().__init__()
            self.attn, self.ln_1, self.ln_2 = (
                nn.MultiheadAttention(d_model, n_head),
                nn.LayerNorm(d_model),
                nn.LayerNorm(d_model),
            )
            self.mlp = nn.Sequential(
                nn.Linear(d_model, d_model * 2),
                PictureWords.QuickGELU(),
                nn.Linear(d_model * 2, d_model),
            )
            self.attn_mask = attn_mask

        def attention(self, x: Tensor) -> Tensor:
            self.attn_mask = (
                self.attn_mask.to(dtype=x.dtype, device=x.device)
                if self.attn_mask is not None
                else None
            )
            return self.attn(x, x, x, need_weights=False, attn_mask=self.attn_mask)[0]

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.attention(self.ln_1(x))
            return x + self.mlp(self.ln_2(x))

    def __init__(self, width: int = 16, length: int = 8) -> None:
        super().__init__()
        mask = torch.empty(length, length)
        mask.fill_(float("-inf"))
        mask.triu_(1)
        self.conv1, self.class_embedding = (
            nn.Conv2d(3, width, 8, 8, bias=False),
            nn.Parameter(torch.randn(width)),
        )
        self.v_pos, self.ln_pre, self.ln_post = (
            nn.Parameter(torch.randn(17, width)),
            nn.LayerNorm(width),
            nn.LayerNorm(width),
        )
        self.visual = nn.Sequential(self.ResidualAttentionBlock(width, 4))
        self.proj, self.text_projection = (
            nn.Parameter(torch.randn(width, 8)),
            nn.Parameter(torch.randn(width, 8)),
        )
        self.token_embedding, self.t_pos = (
            nn.Embedding(30, width),
            nn.Parameter(torch.randn(length, width)),
        )
        self.transformer, self.ln_final = (
            nn.Sequential(self.ResidualAttentionBlock(width, 4, mask)),
            nn.LayerNorm(width),
        )
        self.logit_scale = nn.Parameter(torch.ones([]) * math.log(1 / 0.07))

    @property
    def dtype(self) -> torch.dtype:
        return self.conv1.weight.dtype

    def encode_image(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = x.reshape(x.shape[0], x.shape[1], -1).permute(0, 2, 1)
        x = torch.cat(
            [
                self.class_embedding.to(x.dtype)
                + torch.zeros(x.shape[0], 1, x.shape[-1], dtype=x.dtype, device=x.device),
                x,
            ],
            dim=1,
        )
        x = self.ln_pre(x + self.v_pos.to(x.dtype)).permute(1, 0, 2)
        x = self.visual(x).permute(1, 0, 2)
        return self.ln_post(x[:, 0, :]) @ self.proj

    def encode_text(self, text: Tensor) -> Tensor:
        x = self.token_embedding(text).type(self.dtype) + self.t_pos.type(self.dtype)
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)
        x = self.ln_final(x).type(self.dtype)
        return x[torch.arange(x.shape[0]), text.argmax(dim=-1)] @ self.text_projection

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        image_features, text_features = self.encode_image(image), self.encode_text(text)
        image_features = image_features / image_features.norm(dim=-1, keepdim=True)
        text_features = text_features / text_features.norm(dim=-1, keepdim=True)
        logits_per_image = self.logit_scale.exp() * image_features @ text_features.t()
        return logits_per_image, logits_per_image.t()


class CategoricalValues(nn.Module):
    """Values as distributions over atoms: logits viewed by actions, a softmax, the expectation over a support."""

    def __init__(self, n_actions: int = 3, n_atoms: int = 7, noisy: bool = True) -> None:
        super().__init__()
        self.register_buffer("atoms", torch.linspace(-5, 5, steps=n_atoms))
        self.n, self.n_atoms = n_actions, n_atoms
        self.network = nn.Sequential(
            nn.Conv2d(3, 8, 8, stride=4),
            nn.ReLU(),
            nn.Conv2d(8, 10, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(90, 20),
            nn.ReLU(),
            nn.Linear(20, n_actions * n_atoms),
        )

    def forward(self, x: Tensor, action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        logits = self.network(x / 255.0)
        pmfs = torch.softmax(logits.view(len(x), self.n, self.n_atoms), dim=2)
        q_values = (pmfs * self.atoms).sum(2)
        if action is None:
            action = torch.argmax(q_values, 1)
        return action, pmfs[torch.arange(len(x)), action]


def layer_init(layer: nn.Module, std: float = math.sqrt(2), bias_const: float = 0.0) -> nn.Module:
    nn.init.orthogonal_(layer.weight, std)
    nn.init.constant_(layer.bias, bias_const)
    return layer


class ProximalAgent(nn.Module):
    """An agent of one file: an actor and a critic, with logits, log probabilities, entropy and value."""

    def __init__(self, obs: int = 6, actions: int = 3) -> None:
        super().__init__()
        self.critic = nn.Sequential(
            layer_init(nn.Linear(obs, 16)),
            nn.Tanh(),
            layer_init(nn.Linear(16, 12)),
            nn.Tanh(),
            layer_init(nn.Linear(12, 1), std=1.0),
        )
        self.actor = nn.Sequential(
            layer_init(nn.Linear(obs, 16)),
            nn.Tanh(),
            layer_init(nn.Linear(16, 12)),
            nn.Tanh(),
            layer_init(nn.Linear(12, actions), std=0.01),
        )

    def get_value(self, x: Tensor) -> Tensor:
        return self.critic(x)

    def get_action_and_value(self, x: Tensor, action: Tensor | None = None) -> tuple[Tensor, ...]:
        logits = self.actor(x)
        probs = Categorical(logits=logits)
        if action is None:
            action = probs.probs.argmax(-1)
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.get_action_and_value(x)


class AsynchronousAgent(nn.Module):
    """Frames through strides into a cell whose state comes with the inputs and goes with the outputs."""

    def __init__(self, num_inputs: int = 3, num_outputs: int = 4) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_inputs, 8, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.lstm = nn.LSTMCell(8 * 4 * 4, 12)
        self.critic_linear, self.actor_linear = nn.Linear(12, 1), nn.Linear(12, num_outputs)

    def forward(
        self, inputs: Tensor, hx: Tensor, cx: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        x = F.elu(self.conv3(F.elu(self.conv2(F.elu(self.conv1(inputs))))))
        x = x.view(-1, 8 * 4 * 4)
        hx, cx = self.lstm(x, (hx, cx))
        x = hx
        return self.critic_linear(x), self.actor_linear(x), (hx, cx)


@dataclass
class Dreamt:
    stoch: Tensor
    deter: Tensor
    reward: Tensor
    image: Tensor


class Dreamer(nn.Module):
    """A world model over clips: a cell normalised by layers, mixed logits, straight-through samples, rewards by bins."""

    def __init__(self, deter: int = 12, stoch: int = 3, classes: int = 4, bins: int = 7) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 6, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(6, 8, 4, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(128, 14),
        )
        self.img_in = nn.Sequential(
            nn.Linear(stoch * classes, 10, bias=False), nn.LayerNorm(10, eps=1e-3), nn.SiLU()
        )
        self.gru, self.gru_norm = (
            nn.Linear(10 + deter, 3 * deter, bias=False),
            nn.LayerNorm(3 * deter, eps=1e-3),
        )
        self.obs_out = nn.Sequential(
            nn.Linear(deter + 14, 12, bias=False),
            nn.LayerNorm(12),
            nn.SiLU(),
            nn.Linear(12, stoch * classes),
        )
        self.reward = nn.Sequential(
            nn.Linear(deter + stoch * classes, 10), nn.SiLU(), nn.Linear(10, bins)
        )
        self.decoder = nn.Sequential(
            nn.Linear(deter + stoch * classes, 8 * 4 * 4),
            nn.Unflatten(-1, (8, 4, 4)),
            nn.SiLU(),
            nn.ConvTranspose2d(8, 6, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(6, 3, 4, 2, 1),
        )
        self.register_buffer("bins", torch.linspace(-3, 3, bins))
        self.deter, self.stoch, self.classes = deter, stoch, classes

    def cell(self, x: Tensor, state: Tensor) -> Tensor:
        parts = self.gru_norm(self.gru(torch.cat([x, state], -1)))
        reset, cand, update = torch.split(parts, [self.deter] * 3, -1)
        cand = torch.tanh(torch.sigmoid(reset) * cand)
        update = torch.sigmoid(update - 1)
        return update * cand + (1 - update) * state

    def forward(self, clips: Tensor) -> Dreamt:
        B, C, T, H, W = clips.shape
        embed = self.encoder(clips.transpose(1, 2).reshape(B * T, C, H, W)).reshape(B, T, -1)
        deter, stoch = clips.new_zeros(B, self.deter), clips.new_zeros(B, self.stoch * self.classes)
        deters, stochs = [], []
        for e in torch.unbind(embed, dim=1):
            deter = self.cell(self.img_in(stoch), deter)
            logit = self.obs_out(torch.cat([deter, e], -1)).reshape(B, self.stoch, self.classes)
            probs = F.softmax(logit, dim=-1) * 0.99 + 0.01 / self.classes
            sample = F.one_hot(probs.argmax(-1), self.classes).to(probs.dtype)
            stoch = (sample + probs - probs.detach()).flatten(1)
            deters.append(deter)
            stochs.append(stoch)
        deter, stoch = torch.stack(deters, 1), torch.stack(stochs, 1)
        feat = torch.cat([deter, stoch], -1)
        reward = (F.softmax(self.reward(feat), -1) * self.bins).sum(-1)
        reward = torch.sign(reward) * (torch.exp(torch.abs(reward)) - 1)
        image = self.decoder(feat.flatten(0, 1)).reshape(B, T, C, H, W)
        return Dreamt(stoch, deter, reward, image)


class DeterministicTwins(nn.Module):
    """The critics of a deterministic agent in one module, with the agent as a part and a target by deepcopy."""

    def __init__(self, obs: int = 6, act: int = 2, max_action: float = 2.0) -> None:
        super().__init__()
        self.l1, self.l2, self.l3 = nn.Linear(obs, 14), nn.Linear(14, 12), nn.Linear(12, act)
        self.max_action = max_action
        self.q1 = nn.ModuleList([nn.Linear(obs + act, 14), nn.Linear(14, 12), nn.Linear(12, 1)])
        self.q2 = nn.ModuleList([nn.Linear(obs + act, 14), nn.Linear(14, 12), nn.Linear(12, 1)])
        self.q_target = copy.deepcopy(self.q1)

    def run(self, layers: nn.ModuleList, sa: Tensor) -> Tensor:
        q = sa
        for i, layer in enumerate(layers):
            q = layer(q)
            if i < len(layers) - 1:
                q = F.relu(q)
        return q

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = self.max_action * torch.tanh(self.l3(F.relu(self.l2(F.relu(self.l1(state))))))
        sa = torch.cat([state, a], 1)
        with torch.no_grad():
            target = self.run(self.q_target, sa)
        return (
            self.run(self.q1, sa),
            self.run(self.q2, sa),
            torch.min(target, self.run(self.q1, sa)),
        )


class AugmentedODE(nn.Module):
    """An ordinary differential equation with zeros beside its state, solved by midpoints whose field has a time channel."""

    def __init__(self, d: int = 6, augment: int = 2, h: int = 14, steps: int = 4) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = (
            nn.Linear(d + augment + 1, h),
            nn.Linear(h, h),
            nn.Linear(h, d + augment),
        )
        self.augment_dim, self.steps, self.linear_layer, self.nfe = (
            augment,
            steps,
            nn.Linear(d + augment, 2),
            0,
        )

    def field(self, t: float, x: Tensor) -> Tensor:
        self.nfe += 1
        t_vec = torch.ones(x.shape[0], 1).to(x) * t
        out = torch.cat([t_vec, x], 1)
        out = F.softplus(self.fc1(out))
        out = F.softplus(self.fc2(out))
        return self.fc3(out)

    def forward(self, x: Tensor) -> Tensor:
        aug = torch.zeros(x.shape[0], self.augment_dim).to(x)
        x = torch.cat([x, aug], 1)
        times = torch.linspace(0, 1, self.steps + 1)
        for t0, t1 in itertools.pairwise(times):
            dt = (t1 - t0).item()
            k = x + self.field(t0.item(), x) * dt / 2
            x = x + dt * self.field(t0.item() + dt / 2, k)
        return self.linear_layer(x)


class ChebyshevNet(nn.Module):
    """Kolmogorov-Arnold layers by Chebyshev polynomials: arccos, a power of exponents and einsum; normalised between."""

    class Layer(nn.Module):
        def __init__(self, input_dim: int, output_dim: int, degree: int) -> None:
            super().__init__()
            self.inputdim, self.outdim, self.degree = input_dim, output_dim, degree
            self.cheby_coeffs = nn.Parameter(torch.empty(input_dim, output_dim, degree + 1))
            nn.init.normal_(self.cheby_coeffs, mean=0.0, std=1 / (input_dim * (degree + 1)))
            self.register_buffer("arange", torch.arange(0, degree + 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = torch.reshape(x, (-1, self.inputdim))
            x = torch.tanh(x)
            x = x.view((-1, self.inputdim, 1)).expand(-1, -1, self.degree + 1)
            x = x.acos()
            x = x * self.arange
            x = x.cos()
            y = torch.einsum("bid,iod->bo", x, self.cheby_coeffs)
            return y.view(-1, self.outdim)

    def __init__(self) -> None:
        super().__init__()
        self.chebykan1, self.ln1 = self.Layer(6, 12, 3), nn.LayerNorm(12)
        self.chebykan2, self.ln2 = self.Layer(12, 8, 3), nn.LayerNorm(8)
        self.chebykan3 = self.Layer(8, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 6)
        x = self.ln1(self.chebykan1(x))
        x = self.ln2(self.chebykan2(x))
        return self.chebykan3(x)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "annotated_diffusion": lambda: (AnnotatedDiffusion(), (INPUTS.grey, TIMES)),
    "preconditioned_denoiser": lambda: (
        PreconditionedDenoiser(),
        (INPUTS.grey, torch.tensor([0.7, 2.1]), LABELS),
    ),
    "flow_matching": lambda: (FlowMatching(), (INPUTS.numbers, torch.tensor([0.1, 0.4, 0.6, 0.9]))),
    "star_translator": lambda: (
        StarTranslator(),
        (INPUTS.images, torch.tensor([[1.0, 0, 1], [0, 1, 0]])),
    ),
    "info_critic": lambda: (InfoCritic(), INPUTS.grey),
    "two_level_codes": lambda: (TwoLevelCodes(), INPUTS.grey),
    "ladder_vae": lambda: (LadderVAE(), INPUTS.numbers),
    "bootstrap_latent": lambda: (BootstrapLatent(), PAIR),
    "picture_words": lambda: (PictureWords(), CAPTIONED),
    "categorical_values": lambda: (CategoricalValues(), INPUTS.images),
    "proximal_agent": lambda: (ProximalAgent(), INPUTS.numbers),
    "asynchronous_agent": lambda: (
        AsynchronousAgent(),
        (INPUTS.images, torch.zeros(2, 12), torch.zeros(2, 12)),
    ),
    "dreamer": lambda: (Dreamer(), INPUTS.clips),
    "deterministic_twins": lambda: (DeterministicTwins(), INPUTS.numbers),
    "augmented_ode": lambda: (AugmentedODE(), INPUTS.numbers),
    "chebyshev_kan": lambda: (ChebyshevNet(), INPUTS.numbers),
}
