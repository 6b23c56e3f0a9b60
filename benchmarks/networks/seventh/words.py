"""Networks of the zoo over words and sound, seventh sample."""

# ruff: noqa: B905, E501, E741, N803, N806, RUF005, RUF059 - names and lines as people write them
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn import init
from torch.nn.utils import weight_norm

from benchmarks.networks.seventh.inputs import INPUTS, SPECTRA


def scripted(function: Any) -> Any:
    """Returns a function or a module as a program of TorchScript; torch says that these are of the past."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(function)


@scripted
def bias_gelu(bias: Tensor, y: Tensor) -> Tensor:
    """Adds a bias and bends, in one kernel."""
    x = bias + y
    return x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


@scripted
def scaled_masked(scores: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Softmax of scaled scores where the mask lets through."""
    return torch.softmax((scores * scale).masked_fill(mask, -10000.0), dim=-1)


class FusedLinear(nn.Module):
    """A linear layer that gives its bias apart, for a kernel that adds it."""

    def __init__(self, input_size: int, output_size: int, skip_bias_add: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(output_size, input_size))
        self.bias = nn.Parameter(torch.empty(output_size))
        init.xavier_normal_(self.weight)
        with torch.no_grad():
            self.bias.normal_()
        self.skip_bias_add = skip_bias_add

    def forward(self, input_: Tensor) -> tuple[Tensor, Tensor | None]:
        bias = self.bias if not self.skip_bias_add else None
        return F.linear(input_, self.weight, bias), self.bias if self.skip_bias_add else None


class MegatronLayer(nn.Module):
    def __init__(self, h: int, heads: int) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(h), nn.LayerNorm(h)
        self.query_key_value, self.dense = (
            FusedLinear(h, 3 * h),
            FusedLinear(h, h, skip_bias_add=True),
        )
        self.dense_h_to_4h, self.dense_4h_to_h = (
            FusedLinear(h, 2 * h, skip_bias_add=True),
            FusedLinear(2 * h, h, skip_bias_add=True),
        )
        self.np, self.hn = heads, h // heads

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        ln = self.input_layernorm(hidden)
        mixed, _ = self.query_key_value(ln)
        mixed = mixed.view(*(mixed.size()[:-1] + (self.np, 3 * self.hn)))
        q, k, v = torch.split(mixed, mixed.size(-1) // 3, dim=-1)
        sq, b = q.size(0), q.size(1)
        q, k = q.reshape(sq, b * self.np, -1), k.reshape(sq, b * self.np, -1)
        buffer = torch.empty(b * self.np, sq, sq, dtype=q.dtype)
        scores = torch.baddbmm(
            buffer, q.transpose(0, 1), k.transpose(0, 1).transpose(1, 2), beta=0.0, alpha=1.0
        )
        probs = scaled_masked(scores.view(b, self.np, sq, sq), mask, 1 / math.sqrt(self.hn))
        context = torch.bmm(
            probs.view(b * self.np, sq, sq), v.reshape(sq, b * self.np, -1).transpose(0, 1)
        )
        context = (
            context.view(b, self.np, sq, self.hn).permute(2, 0, 1, 3).contiguous().view(sq, b, -1)
        )
        out, bias = self.dense(context)
        hidden = hidden + F.dropout(out + bias.expand_as(hidden), 0.1, self.training)
        inter, bias = self.dense_h_to_4h(self.post_attention_layernorm(hidden))
        out, bias_out = self.dense_4h_to_h(bias_gelu(bias, inter))
        return hidden + F.dropout(out + bias_out.expand_as(hidden), 0.1, self.training)


class Megatron(nn.Module):
    """Sequence first, scripted kernels, biases given apart, the embedding tied to the logits."""

    def __init__(self, vocab: int = 30, h: int = 12, heads: int = 3) -> None:
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(vocab, h), nn.Embedding(16, h)
        self.layers = nn.ModuleList([MegatronLayer(h, heads) for _ in range(2)])
        self.final_layernorm = nn.LayerNorm(h)

    def forward(self, ids: Tensor) -> Tensor:
        position_ids = (
            torch.arange(ids.size(1), dtype=torch.long, device=ids.device)
            .unsqueeze(0)
            .expand_as(ids)
        )
        x = (
            (self.word_embeddings(ids) + self.position_embeddings(position_ids))
            .transpose(0, 1)
            .contiguous()
        )
        mask = torch.tril(torch.ones((1, 1, ids.size(1), ids.size(1)), device=ids.device)) < 0.5
        for layer in self.layers:
            x = layer(x, mask)
        return (
            F.linear(self.final_layernorm(x), self.word_embeddings.weight)
            .transpose(0, 1)
            .contiguous()
        )


class TextRcnn(nn.Module):
    """Words beside their contexts of both sides, the greatest over time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden = nn.Embedding(30, 9, padding_idx=0), 7
        self.lstm, self.W2, self.fc = (
            nn.LSTM(9, 7, dropout=0.2, bidirectional=True),
            nn.Linear(2 * 7 + 9, 8),
            nn.Linear(8, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.embedding(x).permute(1, 0, 2)
        h0 = torch.zeros(2, x.shape[0], self.hidden).to(embedded)
        c0 = torch.zeros(2, x.shape[0], self.hidden).to(embedded)
        output, _ = self.lstm(embedded, (h0, c0))
        final = torch.cat((output, embedded), 2).permute(1, 0, 2)
        y = torch.tanh(self.W2(final)).permute(0, 2, 1)
        y = F.max_pool1d(y, y.size()[2]).squeeze(2)
        return self.fc(y)


class TreeCell(nn.Module):
    """Sums of children in a binary tree over the words, from the leaves up."""

    def __init__(self, vocab: int = 30, in_dim: int = 8, mem_dim: int = 9) -> None:
        super().__init__()
        self.emb, self.mem_dim = nn.Embedding(vocab, in_dim), mem_dim
        self.ioux, self.iouh = nn.Linear(in_dim, 3 * mem_dim), nn.Linear(mem_dim, 3 * mem_dim)
        self.fx, self.fh, self.out = (
            nn.Linear(in_dim, mem_dim),
            nn.Linear(mem_dim, mem_dim),
            nn.Linear(mem_dim, 5),
        )

    def node_forward(
        self, inputs: Tensor, child_c: Tensor, child_h: Tensor
    ) -> tuple[Tensor, Tensor]:
        child_h_sum = torch.sum(child_h, dim=0, keepdim=True)
        iou = self.ioux(inputs) + self.iouh(child_h_sum)
        i, o, u = torch.split(iou, iou.size(-1) // 3, dim=-1)
        i, o, u = torch.sigmoid(i), torch.sigmoid(o), torch.tanh(u)
        f = torch.sigmoid(self.fh(child_h) + self.fx(inputs).repeat(len(child_h), 1, 1))
        c = torch.mul(i, u) + torch.sum(torch.mul(f, child_c), dim=0, keepdim=True)
        return c, torch.mul(o, torch.tanh(c))

    def forward(self, x: Tensor) -> Tensor:
        e = self.emb(x).transpose(0, 1)
        zero = e.detach().new(1, e.size(1), self.mem_dim).fill_(0.0).requires_grad_()
        states = [self.node_forward(e[i : i + 1], zero, zero) for i in range(len(e))]
        root = e.mean(0, keepdim=True)
        while len(states) > 1:
            pairs = [states[i : i + 2] for i in range(0, len(states), 2)]
            states = [
                self.node_forward(root, *(torch.cat(s, dim=0) for s in zip(*pair)))
                for pair in pairs
            ]
        return F.log_softmax(self.out(states[0][1].squeeze(0)), dim=1)


class ConvSeq2Seq(nn.Module):
    """Gated convolutions both sides, attention to the encoder in every layer, sums scaled by the root of a half."""

    def __init__(self, vocab: int = 30, emb: int = 8, hid: int = 10, k: int = 3) -> None:
        super().__init__()
        self.scale = torch.sqrt(torch.FloatTensor([0.5]))
        self.tok, self.pos = nn.Embedding(vocab, emb), nn.Embedding(16, emb)
        self.tok_d, self.pos_d, self.k = nn.Embedding(vocab, emb), nn.Embedding(16, emb), k
        self.emb2hid, self.hid2emb = nn.Linear(emb, hid), nn.Linear(hid, emb)
        self.emb2hid_d, self.hid2emb_d = nn.Linear(emb, hid), nn.Linear(hid, emb)
        self.attn_hid2emb, self.attn_emb2hid, self.fc_out = (
            nn.Linear(hid, emb),
            nn.Linear(emb, hid),
            nn.Linear(emb, vocab),
        )
        self.convs = nn.ModuleList(
            [nn.Conv1d(hid, 2 * hid, k, padding=(k - 1) // 2) for _ in range(2)]
        )
        self.convs_d = nn.ModuleList([nn.Conv1d(hid, 2 * hid, k) for _ in range(2)])
        self.dropout = nn.Dropout(0.1)

    def attention(
        self, embedded: Tensor, conved: Tensor, enc: Tensor, combined_enc: Tensor
    ) -> tuple[Tensor, Tensor]:
        conved_emb = self.attn_hid2emb(conved.permute(0, 2, 1))
        combined = (conved_emb + embedded) * self.scale
        attention = F.softmax(torch.matmul(combined, enc.permute(0, 2, 1)), dim=2)
        attended = self.attn_emb2hid(torch.matmul(attention, combined_enc))
        return attention, (conved + attended.permute(0, 2, 1)) * self.scale

    def forward(self, src: Tensor, trg: Tensor) -> tuple[Tensor, Tensor]:
        pos = torch.arange(0, src.shape[1]).unsqueeze(0).repeat(src.shape[0], 1).to(src.device)
        embedded = self.dropout(self.tok(src) + self.pos(pos))
        conv_input = self.emb2hid(embedded).permute(0, 2, 1)
        for conv in self.convs:
            conved = F.glu(conv(self.dropout(conv_input)), dim=1)
            conved = (conved + conv_input) * self.scale
            conv_input = conved
        enc = self.hid2emb(conved.permute(0, 2, 1))
        combined_enc = (enc + embedded) * self.scale
        pos = torch.arange(0, trg.shape[1]).unsqueeze(0).repeat(trg.shape[0], 1).to(trg.device)
        embedded = self.dropout(self.tok_d(trg) + self.pos_d(pos))
        conv_input = self.emb2hid_d(embedded).permute(0, 2, 1)
        batch_size, hid_dim = conv_input.shape[0], conv_input.shape[1]
        for conv in self.convs_d:
            padding = torch.zeros(batch_size, hid_dim, self.k - 1).fill_(1).to(conv_input)
            conved = F.glu(conv(torch.cat((padding, self.dropout(conv_input)), dim=2)), dim=1)
            attention, conved = self.attention(embedded, conved, enc, combined_enc)
            conved = (conved + conv_input) * self.scale
            conv_input = conved
        return self.fc_out(self.dropout(self.hid2emb_d(conved.permute(0, 2, 1)))), attention


class MixtureOfDepths(nn.Module):
    """Only the tokens of greatest weight go through a block, and are put back."""

    def __init__(self, d: int = 12, capacity: int = 4) -> None:
        super().__init__()
        self.emb, self.capacity, self.router = (
            nn.Embedding(30, d),
            capacity,
            nn.Linear(d, 1, bias=False),
        )
        self.block = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d))
        self.block2, self.head = (
            nn.TransformerEncoderLayer(d, 3, 16, batch_first=True, norm_first=True),
            nn.Linear(d, 30),
        )

    def forward(self, ids: Tensor) -> Tensor:
        x = self.emb(ids)
        b, s, d = x.shape
        token_weights = self.router(x).squeeze(2)
        top_k_values, top_k_indices = torch.topk(token_weights, self.capacity, dim=1, sorted=True)
        idx = top_k_indices.unsqueeze(-1).expand(-1, -1, d)
        selected = torch.gather(x, 1, idx)
        processed = self.block(selected) * top_k_values.sigmoid().unsqueeze(-1)
        x = x.scatter_add(1, idx, processed)
        x = self.block2(x)
        return self.head(x)


class QuasiRecurrent(nn.Module):
    """Gates by convolutions of the past, then a pooling that forgets."""

    def __init__(self, vocab: int = 30, emb: int = 8, hid: int = 9) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, emb)
        self.convs = nn.ModuleList(
            [nn.Conv1d(emb if n == 0 else hid, 3 * hid, 2) for n in range(2)]
        )
        self.fc = nn.Linear(hid, vocab)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids).transpose(1, 2)
        for conv in self.convs:
            Z, Fg, O = conv(F.pad(x, (1, 0))).chunk(3, dim=1)
            Z, Fg, O = Z.tanh(), Fg.sigmoid(), O.sigmoid()
            hs, c = [], None
            for f, z in zip(Fg.split(1, 2), ((1 - Fg) * Z).split(1, 2)):
                c = z if c is None else f * c + z
                hs.append(c)
            x = O * torch.cat(hs, 2)
        return self.fc(x.transpose(1, 2))


class MatchLstm(nn.Module):
    """Each word of the hypothesis attends to the premise, and a cell reads both."""

    def __init__(self, vocab: int = 30, emb: int = 8, h: int = 9) -> None:
        super().__init__()
        self.word_embed, self.hidden = nn.Embedding(vocab, emb), h
        self.w_e = nn.Parameter(torch.empty(h))
        nn.init.uniform_(self.w_e)
        self.w_s, self.w_t, self.w_m = (nn.Linear(h, h, bias=False) for _ in range(3))
        self.lstm_prem, self.lstm_hypo, self.lstm_match = (
            nn.LSTM(emb, h),
            nn.LSTM(emb, h),
            nn.LSTMCell(2 * h, h),
        )
        self.fc = nn.Linear(h, 3)

    def forward(self, premise: Tensor, hypothesis: Tensor) -> Tensor:
        h_s, _ = self.lstm_prem(self.word_embed(premise.t()))
        h_t, _ = self.lstm_hypo(self.word_embed(hypothesis.t()))
        batch_size = premise.size(0)
        h_m_k = torch.zeros((batch_size, self.hidden), device=h_s.device, dtype=h_s.dtype)
        c_m_k = torch.zeros_like(h_m_k)
        for k in range(hypothesis.size(1)):
            h_t_k = h_t[k]
            e_kj = torch.sum(
                self.w_e * torch.tanh(self.w_s(h_s) + self.w_t(h_t_k) + self.w_m(h_m_k)), -1
            )
            alpha_kj = F.softmax(e_kj, dim=0)
            a_k = torch.bmm(torch.unsqueeze(alpha_kj.t(), 1), h_s.permute(1, 0, 2))
            a_k = torch.squeeze(a_k, 1)
            h_m_k, c_m_k = self.lstm_match(torch.cat((a_k, h_t_k), 1), (h_m_k, c_m_k))
        return self.fc(h_m_k)


class MedusaOut(NamedTuple):
    """Logits of the next word and of those after it."""

    logits: Tensor
    medusa_logits: Tensor


class ResBlock(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear, self.act = nn.Linear(hidden_size, hidden_size), nn.SiLU()
        torch.nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.linear(x))


class Medusa(nn.Module):
    """A recurrent language model with heads that speak of the words after the next, stacked in a named tuple."""

    def __init__(self, vocab: int = 30, h: int = 10, heads: int = 3) -> None:
        super().__init__()
        self.embed, self.rnn, self.lm_head = (
            nn.Embedding(vocab, h),
            nn.GRU(h, h, batch_first=True),
            nn.Linear(h, vocab, bias=False),
        )
        self.medusa_head = nn.ModuleList(
            [
                nn.Sequential(*([ResBlock(h)] * 2), nn.Linear(h, vocab, bias=False))
                for _ in range(heads)
            ]
        )
        for i in range(heads):
            self.medusa_head[i][-1].weight.data[:] = self.lm_head.weight.data[:]

    def forward(self, ids: Tensor) -> MedusaOut:
        hidden_states, _ = self.rnn(self.embed(ids))
        medusa_logits = [head(hidden_states) for head in self.medusa_head]
        return MedusaOut(self.lm_head(hidden_states), torch.stack(medusa_logits, dim=0))


class DisentangledAttention(nn.Module):
    """Content to position and position to content, gathered by relative places."""

    def __init__(self, d: int = 12, heads: int = 3, span: int = 4) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size, self.span = heads, d // heads, span
        self.in_proj = nn.Linear(d, 3 * d, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.randn(d)), nn.Parameter(torch.randn(d))
        self.pos_proj, self.pos_q_proj, self.out = (
            nn.Linear(d, d, bias=False),
            nn.Linear(d, d),
            nn.Linear(d, d),
        )
        self.rel_embeddings = nn.Embedding(2 * span, d)

    def transpose_for_scores(self, x: Tensor) -> Tensor:
        new_x_shape = x.size()[:-1] + (self.num_attention_heads, -1)
        return x.view(*new_x_shape).permute(0, 2, 1, 3)

    def forward(self, hidden_states: Tensor) -> Tensor:
        qp = self.in_proj(hidden_states)
        query_layer, key_layer, value_layer = self.transpose_for_scores(qp).chunk(3, dim=-1)
        query_layer = query_layer + self.transpose_for_scores(self.q_bias[None, None, :])
        value_layer = value_layer + self.transpose_for_scores(self.v_bias[None, None, :])
        scale = torch.sqrt(torch.tensor(query_layer.size(-1), dtype=torch.float) * 3)
        scores = torch.matmul(query_layer / scale, key_layer.transpose(-1, -2))
        L = hidden_states.size(1)
        rel = torch.arange(L)[:, None] - torch.arange(L)[None]
        rel = rel[None, None]
        pos_key = self.transpose_for_scores(self.pos_proj(self.rel_embeddings.weight.unsqueeze(0)))
        c2p_att = torch.matmul(query_layer / scale, pos_key.transpose(-1, -2))
        c2p_pos = torch.clamp(rel + self.span, 0, self.span * 2 - 1)
        c2p_att = torch.gather(
            c2p_att, dim=-1, index=c2p_pos.expand([query_layer.size(0), query_layer.size(1), L, L])
        )
        pos_query = self.transpose_for_scores(
            self.pos_q_proj(self.rel_embeddings.weight.unsqueeze(0))
        )
        p2c_att = torch.matmul(key_layer, (pos_query / scale).transpose(-1, -2))
        p2c_pos = torch.clamp(-rel + self.span, 0, self.span * 2 - 1)
        p2c_att = torch.gather(
            p2c_att, dim=-1, index=p2c_pos.expand([query_layer.size(0), query_layer.size(1), L, L])
        ).transpose(-1, -2)
        probs = torch.softmax(scores + c2p_att + p2c_att, -1)
        context = torch.matmul(probs, value_layer).permute(0, 2, 1, 3).contiguous()
        return self.out(context.view(context.size()[:-2] + (-1,)))


class Deberta(nn.Module):
    def __init__(self, d: int = 12) -> None:
        super().__init__()
        self.word_embeddings, self.attn1, self.attn2 = (
            nn.Embedding(30, d),
            DisentangledAttention(d),
            DisentangledAttention(d),
        )
        self.ln1, self.ln2, self.ln3 = (
            nn.LayerNorm(d, 1e-7),
            nn.LayerNorm(d, 1e-7),
            nn.LayerNorm(d, 1e-7),
        )
        self.ffn, self.pooler = (
            nn.Sequential(nn.Linear(d, 20), nn.GELU(), nn.Linear(20, d)),
            nn.Linear(d, d),
        )
        self.classifier = nn.Linear(d, 3)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.ln1(self.word_embeddings(ids))
        x = self.ln2(x + self.attn1(x))
        x = self.ln3(x + self.ffn(x))
        x = x + self.attn2(x)
        return self.classifier(F.gelu(self.pooler(x[:, 0])))


class SequenceWise(nn.Module):
    """Folds time into the batch around a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        t, n = x.size(0), x.size(1)
        x = x.view(t * n, -1)
        x = self.module(x)
        return x.view(t, n, -1)


class BatchRnn(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, batch_norm: bool = True) -> None:
        super().__init__()
        self.batch_norm = SequenceWise(nn.BatchNorm1d(input_size)) if batch_norm else None
        self.rnn = nn.GRU(input_size, hidden_size, bidirectional=True, bias=True)

    def flatten_parameters(self) -> None:
        self.rnn.flatten_parameters()

    def forward(self, x: Tensor) -> Tensor:
        if self.batch_norm is not None:
            x = self.batch_norm(x)
        x, _ = self.rnn(x)
        return x.view(x.size(0), x.size(1), 2, -1).sum(2).view(x.size(0), x.size(1), -1)


class DeepSpeech2(nn.Module):
    """Two-dimensional convolutions, then recurrent layers whose two ways are added."""

    def __init__(self, mels: int = 10, hidden: int = 9, labels: int = 6) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 6, (5, 3), (2, 2), (2, 1)), nn.BatchNorm2d(6), nn.Hardtanh(0, 20, inplace=True),
                                  nn.Conv2d(6, 6, (5, 3), (2, 1), (2, 1)), nn.BatchNorm2d(6), nn.Hardtanh(0, 20, inplace=True))  # fmt: skip
        size = int(math.floor(mels + 2 * 2 - 5) / 2 + 1)
        size = int(math.floor(size + 2 * 2 - 5) / 2 + 1) * 6
        self.rnns = nn.Sequential(
            BatchRnn(size, hidden, batch_norm=False), BatchRnn(hidden, hidden)
        )
        self.fc = nn.Sequential(
            SequenceWise(
                nn.Sequential(nn.BatchNorm1d(hidden), nn.Linear(hidden, labels, bias=False))
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.unsqueeze(1))
        sizes = x.size()
        x = x.view(sizes[0], sizes[1] * sizes[2], sizes[3])
        x = x.transpose(1, 2).transpose(0, 1).contiguous()
        for rnn in self.rnns:
            x = rnn(x)
        x = self.fc(x).transpose(0, 1)
        return x if self.training else F.softmax(x, dim=-1)


class DualPath(nn.Module):
    """A wave in overlapping chunks, recurrent within and between them, masks for each speaker."""

    def __init__(
        self, N: int = 8, L: int = 8, H: int = 7, chunk: int = 10, speakers: int = 2
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = (
            nn.Conv1d(1, N, L, stride=L // 2, bias=False),
            nn.ConvTranspose1d(N, 1, L, stride=L // 2, bias=False),
        )
        self.norm, self.K, self.spk = nn.GroupNorm(1, N, eps=1e-8), chunk, speakers
        self.intra, self.inter = (
            nn.LSTM(N, H, batch_first=True, bidirectional=True),
            nn.LSTM(N, H, batch_first=True, bidirectional=True),
        )
        self.intra_linear, self.inter_linear = nn.Linear(2 * H, N), nn.Linear(2 * H, N)
        self.intra_norm, self.inter_norm = nn.GroupNorm(1, N), nn.GroupNorm(1, N)
        self.conv2d, self.prelu = nn.Conv2d(N, N * speakers, 1), nn.PReLU()
        self.output, self.output_gate = (
            nn.Sequential(nn.Conv1d(N, N, 1), nn.Tanh()),
            nn.Sequential(nn.Conv1d(N, N, 1), nn.Sigmoid()),
        )

    def forward(self, wave: Tensor) -> Tensor:
        e = F.relu(self.encoder(wave))
        x = self.norm(e)
        B, N, T = x.shape
        P, K = self.K // 2, self.K
        gap = K - (P + T % K) % K
        x = F.pad(x, (P, gap + P))
        input1 = x[:, :, :-P].contiguous().view(B, N, -1, K)
        input2 = x[:, :, P:].contiguous().view(B, N, -1, K)
        x = torch.cat([input1, input2], dim=3).view(B, N, -1, K).transpose(2, 3).contiguous()
        _, _, K, S = x.shape
        y = x.permute(0, 3, 2, 1).contiguous().view(B * S, K, N)
        y = self.intra_linear(self.intra(y)[0]).view(B, S, K, N).permute(0, 3, 2, 1).contiguous()
        x = x + self.intra_norm(y)
        y = x.permute(0, 2, 3, 1).contiguous().view(B * K, S, N)
        y = self.inter_linear(self.inter(y)[0].contiguous().view(B * K * S, -1)).view(B * K, S, -1)
        y = y.view(B, K, S, N).permute(0, 3, 1, 2).contiguous()
        x = self.conv2d(self.prelu(x + self.inter_norm(y)))
        x = (
            x.view(B * self.spk, -1, K, S)
            .transpose(2, 3)
            .contiguous()
            .view(B * self.spk, N, -1, K * 2)
        )
        x = (
            x[:, :, :, :K].contiguous().view(B * self.spk, N, -1)[:, :, P:]
            + x[:, :, :, K:].contiguous().view(B * self.spk, N, -1)[:, :, :-P]
        )[:, :, :-gap]
        x = (self.output(x) * self.output_gate(x)).view(B, self.spk, N, -1)
        masks = F.relu(x.transpose(0, 1))
        out = [masks[i] * e for i in range(self.spk)]
        return torch.stack([self.decoder(out[i]).squeeze(1) for i in range(self.spk)], dim=1)


class AudioTagging(nn.Module):
    """A spectrogram normalised over its bins, pools by mean and greatest, a dictionary of results."""

    def __init__(self, bins: int = 10, classes: int = 5) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(bins)
        for i, (cin, cout) in enumerate([(1, 6), (6, 8)], start=1):
            self.add_module(f"conv_block{i}", nn.ModuleDict({"conv1": nn.Conv2d(cin, cout, (3, 3), padding=(1, 1), bias=False),
                            "conv2": nn.Conv2d(cout, cout, (3, 3), padding=(1, 1), bias=False), "bn1": nn.BatchNorm2d(cout), "bn2": nn.BatchNorm2d(cout)}))  # fmt: skip
        self.fc1, self.fc_audioset = nn.Linear(8, 12, bias=True), nn.Linear(12, classes, bias=True)

    def block(self, name: str, x: Tensor, pool: str) -> Tensor:
        part = getattr(self, name)
        x = F.relu_(part["bn1"](part["conv1"](x)))
        x = F.relu_(part["bn2"](part["conv2"](x)))
        if pool == "avg":
            return F.avg_pool2d(x, kernel_size=(2, 2))
        x1, x2 = F.avg_pool2d(x, kernel_size=(2, 2)), F.max_pool2d(x, kernel_size=(2, 2))
        return x1 + x2

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = x.transpose(1, 3)
        x = self.bn0(x)
        x = x.transpose(1, 3)
        x = F.dropout(self.block("conv_block1", x, "avg"), p=0.2, training=self.training)
        x = F.dropout(self.block("conv_block2", x, "avg+max"), p=0.2, training=self.training)
        x = torch.mean(x, dim=3)
        (x1, _) = torch.max(x, dim=2)
        x2 = torch.mean(x, dim=2)
        x = F.dropout(x1 + x2, p=0.5, training=self.training)
        x = F.relu_(self.fc1(x))
        embedding = F.dropout(x, p=0.5, training=self.training)
        return {"clipwise_output": torch.sigmoid(self.fc_audioset(x)), "embedding": embedding}


class RawNet(nn.Module):
    """Maps scaled and shifted by their own means, after blocks over a raw wave."""

    def __init__(self, first: int = 8, wide: int = 12, gru: int = 10) -> None:
        super().__init__()
        self.ln, self.first = nn.LayerNorm(320), nn.Conv1d(1, first, 3, 3)
        self.first_bn, self.lrelu = nn.BatchNorm1d(first), nn.LeakyReLU(0.3)
        dims = [(first, first), (first, wide)]
        self.convs1 = nn.ModuleList([nn.Conv1d(i, o, 3, padding=1) for i, o in dims])
        self.convs2 = nn.ModuleList([nn.Conv1d(o, o, 3, padding=1) for i, o in dims])
        self.bns = nn.ModuleList([nn.BatchNorm1d(o) for i, o in dims])
        self.down = nn.ModuleList(
            [nn.Conv1d(i, o, 1) if i != o else nn.Identity() for i, o in dims]
        )
        self.fc_attention = nn.ModuleList([nn.Linear(o, o) for i, o in dims])
        self.gru, self.fc1, self.fc2 = (
            nn.GRU(wide, gru, batch_first=True),
            nn.Linear(gru, 9),
            nn.Linear(9, 6, bias=False),
        )

    def forward(self, x: Tensor, is_test: bool = False) -> Tensor:
        nb_samp, len_seq = x.shape[0], x.shape[-1]
        x = self.ln(x.view(nb_samp, len_seq)).view(nb_samp, 1, len_seq)
        x = self.lrelu(self.first_bn(F.max_pool1d(torch.abs(self.first(x)), 3)))
        for conv1, conv2, bn, down, fc in zip(
            self.convs1, self.convs2, self.bns, self.down, self.fc_attention
        ):
            out = conv2(self.lrelu(bn(conv1(x))))
            x = F.max_pool1d(out + down(x), 3)
            y = F.adaptive_avg_pool1d(x, 1).view(x.size(0), -1)
            y = torch.sigmoid(fc(y)).view(y.size(0), y.size(1), -1)
            x = x * y + y
        x = x.permute(0, 2, 1)
        self.gru.flatten_parameters()
        x, _ = self.gru(x)
        x = x[:, -1, :]
        code = self.fc1(x)
        if is_test:
            return code
        code_norm = code.norm(p=2, dim=1, keepdim=True) / 10.0
        code = torch.div(code, code_norm)
        return self.fc2(code)


class Invertible1x1(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(c, c, kernel_size=1, stride=1, padding=0, bias=False)
        W = torch.linalg.qr(torch.randn(c, c, dtype=torch.float))[0]
        if torch.det(W) < 0:
            W[:, 0] = -1 * W[:, 0]
        self.conv.weight.data = W.view(c, c, 1).contiguous()

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        batch_size, _, n_of_groups = z.size()
        log_det_W = batch_size * n_of_groups * torch.logdet(self.conv.weight.squeeze())
        return self.conv(z), log_det_W


class WaveGlow(nn.Module):
    """Squeezed waves through mixing and coupling, with early outputs."""

    def __init__(
        self, flows: int = 3, group: int = 8, channels: int = 6, every: int = 2, size: int = 2
    ) -> None:
        super().__init__()
        self.n_group, self.n_flows, self.n_early_every, self.n_early_size = (
            group,
            flows,
            every,
            size,
        )
        self.WN, self.convinv, half, remaining = nn.ModuleList(), nn.ModuleList(), group // 2, group
        for k in range(flows):
            if k % every == 0 and k > 0:
                half, remaining = half - size // 2, remaining - size
            self.convinv.append(Invertible1x1(remaining))
            end = nn.Conv1d(channels, 2 * half, 1)
            end.weight.data.normal_(0, 0.1)
            self.WN.append(nn.ModuleDict({"start": weight_norm(nn.Conv1d(half, channels, 1), name="weight"),
                "in": weight_norm(nn.Conv1d(channels, 2 * channels, 3, padding=1)),
                "res_skip": weight_norm(nn.Conv1d(channels, channels, 1)), "end": end}))  # fmt: skip

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        audio = audio.squeeze(1).unfold(1, self.n_group, self.n_group).permute(0, 2, 1)
        output_audio, log_s_list, log_det_W_list = [], [], []
        for k in range(self.n_flows):
            if k % self.n_early_every == 0 and k > 0:
                output_audio.append(audio[:, : self.n_early_size, :])
                audio = audio[:, self.n_early_size :, :]
            audio, log_det_W = self.convinv[k](audio)
            log_det_W_list.append(log_det_W)
            n_half = int(audio.size(1) / 2)
            audio_0, audio_1 = audio[:, :n_half, :], audio[:, n_half:, :]
            part = self.WN[k]
            h = part["in"](part["start"](audio_0))
            n_channels_int = h.size(1) // 2
            acts = torch.tanh(h[:, :n_channels_int, :]) * torch.sigmoid(h[:, n_channels_int:, :])
            output = part["end"](part["res_skip"](acts))
            log_s, b = output[:, n_half:, :], output[:, :n_half, :]
            audio_1 = torch.exp(log_s) * audio_1 + b
            log_s_list.append(log_s)
            audio = torch.cat([audio_0, audio_1], 1)
        output_audio.append(audio)
        return torch.cat(output_audio, 1), log_s_list, log_det_W_list


class Vocos(nn.Module):
    """ConvNeXt blocks over mels, then magnitudes and phases, a wave by the inverse Fourier transform."""

    def __init__(self, mels: int = 10, dim: int = 12, n_fft: int = 16, hop: int = 4) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft))
        self.embed, self.norm = nn.Conv1d(mels, dim, 7, padding=3), nn.LayerNorm(dim, eps=1e-6)
        self.dw = nn.ModuleList([nn.Conv1d(dim, dim, 7, padding=3, groups=dim) for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(dim, eps=1e-6) for _ in range(2)])
        self.pw1 = nn.ModuleList([nn.Linear(dim, 20) for _ in range(2)])
        self.pw2 = nn.ModuleList([nn.Linear(20, dim) for _ in range(2)])
        self.gamma = nn.ParameterList([nn.Parameter(0.5 * torch.ones(dim)) for _ in range(2)])
        self.final, self.out = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, n_fft + 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for dw, norm, pw1, pw2, gamma in zip(self.dw, self.norms, self.pw1, self.pw2, self.gamma):
            residual = x
            x = norm(dw(x).transpose(1, 2))
            x = gamma * pw2(F.gelu(pw1(x)))
            x = residual + x.transpose(1, 2)
        x = self.out(self.final(x.transpose(1, 2))).transpose(1, 2)
        mag, p = x.chunk(2, dim=1)
        mag = torch.clip(torch.exp(mag), max=1e2)
        S = mag * (torch.cos(p) + 1j * torch.sin(p))
        return torch.istft(S, self.n_fft, self.hop, self.n_fft, self.window, center=True)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "megatron_scripted": lambda: (Megatron(), INPUTS.tokens),
    "text_rcnn": lambda: (TextRcnn(), INPUTS.tokens),
    "tree_lstm": lambda: (TreeCell(), INPUTS.tokens),
    "conv_seq2seq": lambda: (ConvSeq2Seq(), (INPUTS.tokens, INPUTS.other_tokens)),
    "mixture_of_depths_one_block": lambda: (MixtureOfDepths(), INPUTS.tokens),
    "quasi_recurrent": lambda: (QuasiRecurrent(), INPUTS.tokens),
    "match_lstm": lambda: (MatchLstm(), (INPUTS.tokens, INPUTS.other_tokens)),
    "medusa_named_tuple": lambda: (Medusa(), INPUTS.tokens),
    "deberta_disentangled": lambda: (Deberta(), INPUTS.tokens),
    "deep_speech_2": lambda: (DeepSpeech2(), INPUTS.mels),
    "dual_path_rnn": lambda: (DualPath(), INPUTS.waves),
    "audio_tagging_dict": lambda: (AudioTagging(), SPECTRA),
    "rawnet_scaling": lambda: (RawNet(), INPUTS.waves),
    "waveglow": lambda: (WaveGlow(), INPUTS.waves),
    "vocos_istft": lambda: (Vocos(), INPUTS.mels),
}
