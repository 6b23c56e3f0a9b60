"""Networks of the zoo over series and sound, twelfth sample: padded residuals, written cells, cropped spectra, dense gates."""

# ruff: noqa: B905, N806, RUF005, RUF059 - names and lines as people write them
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.networks.twelfth.inputs import ECG, FRAMES, INPUTS, SERIES_STAMPED, STATIC, STEREO


class PaddedBeats(nn.Module):
    """A residual network of heart beats: sides padded for each length, channels padded by turning the tensor round."""

    class SamePad(nn.Module):
        def __init__(self, i: int, o: int, k: int, s: int, conv: bool = True) -> None:
            super().__init__()
            self.kernel_size, self.stride = k, s
            self.op = nn.Conv1d(i, o, k, s) if conv else nn.MaxPool1d(k)

        def forward(self, x: Tensor) -> Tensor:
            net = x
            in_dim = net.shape[-1]
            out_dim = (in_dim + self.stride - 1) // self.stride
            p = max(0, (out_dim - 1) * self.stride + self.kernel_size - in_dim)
            pad_left = p // 2
            net = F.pad(net, (pad_left, p - pad_left), "constant", 0)
            return self.op(net)

    class Block(nn.Module):
        def __init__(self, i: int, o: int, k: int, downsample: bool, is_first: bool) -> None:
            super().__init__()
            self.out_channels, self.in_channels, self.downsample = o, i, downsample
            stride, self.is_first_block, P = 2 if downsample else 1, is_first, PaddedBeats.SamePad
            self.bn1, self.relu1, self.do1 = nn.BatchNorm1d(i), nn.ReLU(), nn.Dropout(p=0.5)
            self.conv1 = P(i, o, k, stride)
            self.bn2, self.relu2, self.do2 = nn.BatchNorm1d(o), nn.ReLU(), nn.Dropout(p=0.5)
            self.conv2, self.max_pool = P(o, o, k, 1), P(0, 0, stride, stride, conv=False)

        def forward(self, x: Tensor) -> Tensor:
            identity = x
            out = x
            if not self.is_first_block:
                out = self.do1(self.relu1(self.bn1(out)))
            out = self.conv2(self.do2(self.relu2(self.bn2(self.conv1(out)))))
            if self.downsample:
                identity = self.max_pool(identity)
            if self.out_channels != self.in_channels:
                identity = identity.transpose(-1, -2)
                ch1 = (self.out_channels - self.in_channels) // 2
                ch2 = self.out_channels - self.in_channels - ch1
                identity = F.pad(identity, (ch1, ch2), "constant", 0)
                identity = identity.transpose(-1, -2)
            out += identity
            return out

    def __init__(
        self, base: int = 8, n_block: int = 4, n_classes: int = 3, verbose: bool = False
    ) -> None:
        super().__init__()
        self.verbose, self.n_block = verbose, n_block
        self.first_block_conv = self.SamePad(1, base, 8, 1)
        self.first_block_bn, self.first_block_relu = nn.BatchNorm1d(base), nn.ReLU()
        self.basicblock_list, out = nn.ModuleList(), base
        for i_block in range(n_block):
            inp, out = out, int(base * 2 ** (i_block // 2))
            self.basicblock_list.append(self.Block(inp, out, 8, i_block % 2 == 1, i_block == 0))
        self.final_bn, self.final_relu, self.dense = (
            nn.BatchNorm1d(out),
            nn.ReLU(inplace=True),
            nn.Linear(out, n_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        out = x
        if self.verbose:
            print("input shape", out.shape)
        out = self.first_block_relu(self.first_block_bn(self.first_block_conv(out)))
        for i_block in range(self.n_block):
            net = self.basicblock_list[i_block]
            if self.verbose:
                print(f"i_block: {i_block}, in_channels: {net.in_channels}")
            out = net(out)
        out = self.final_relu(self.final_bn(out))
        out = out.mean(-1)
        return self.dense(out)


class LiquidTimeConstant(nn.Module):
    """Cells of synapses whose conductances open by sigmoids, solved in fused steps, over the sequence in a loop."""

    def __init__(
        self, in_features: int = 4, units: int = 8, unfolds: int = 3, out: int = 2
    ) -> None:
        super().__init__()
        self._ode_unfolds, self._epsilon, self.state_size, self.motor = unfolds, 1e-8, units, out
        self._params = nn.ParameterDict()
        for name, shape, low, high in (
            ("gleak", (units,), 0.001, 1.0),
            ("vleak", (units,), -0.2, 0.2),
            ("cm", (units,), 0.4, 0.6),
            ("sigma", (units, units), 3, 8),
            ("mu", (units, units), 0.3, 0.8),
            ("w", (units, units), 0.001, 1.0),
            ("erev", (units, units), -1, 1),
            ("sensory_sigma", (in_features, units), 3, 8),
            ("sensory_mu", (in_features, units), 0.3, 0.8),
            ("sensory_w", (in_features, units), 0.001, 1.0),
            ("sensory_erev", (in_features, units), -1, 1),
            ("input_w", (in_features,), 0.9, 1.1),
            ("input_b", (in_features,), -0.1, 0.1),
            ("output_w", (out,), 0.9, 1.1),
            ("output_b", (out,), -0.1, 0.1),
        ):
            self._params[name] = nn.Parameter(torch.rand(*shape) * (high - low) + low)
        self.fc = nn.Linear(out, 3)

    def _sigmoid(self, v_pre: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
        v_pre = torch.unsqueeze(v_pre, -1)
        return torch.sigmoid(sigma * (v_pre - mu))

    def _ode_solver(self, inputs: Tensor, state: Tensor, elapsed_time: float) -> Tensor:
        v_pre, p = state, self._params
        sensory = F.softplus(p["sensory_w"]) * self._sigmoid(
            inputs, p["sensory_mu"], p["sensory_sigma"]
        )
        w_numerator_sensory = torch.sum(sensory * p["sensory_erev"], dim=1)
        w_denominator_sensory = torch.sum(sensory, dim=1)
        cm_t = F.softplus(p["cm"]) / (elapsed_time / self._ode_unfolds)
        w_param = F.softplus(p["w"])
        for _t in range(self._ode_unfolds):
            w_activation = w_param * self._sigmoid(v_pre, p["mu"], p["sigma"])
            w_numerator = torch.sum(w_activation * p["erev"], dim=1) + w_numerator_sensory
            w_denominator = torch.sum(w_activation, dim=1) + w_denominator_sensory
            gleak = F.softplus(p["gleak"])
            numerator = cm_t * v_pre + gleak * p["vleak"] + w_numerator
            v_pre = numerator / (cm_t + gleak + w_denominator + self._epsilon)
        return v_pre

    def forward(
        self, input: Tensor, hx: Tensor | None = None, timespans: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        batch_size, seq_len = input.size(0), input.size(1)
        h_state = (
            torch.zeros((batch_size, self.state_size), device=input.device) if hx is None else hx
        )
        output_sequence = []
        for t in range(seq_len):
            ts = 1.0 if timespans is None else timespans[:, t].squeeze()
            inputs = input[:, t] * self._params["input_w"] + self._params["input_b"]
            h_state = self._ode_solver(inputs, h_state.to(inputs.dtype), ts)
            out = h_state[:, : self.motor] * self._params["output_w"] + self._params["output_b"]
            output_sequence.append(self.fc(out))
        return torch.stack(output_sequence, dim=1), h_state


class DilatedRecurrent(nn.Module):
    """Recurrent layers that see every d-th step: the sequence is padded, folded into the batch, and unfolded after."""

    def __init__(
        self, n_input: int = 4, n_hidden: int = 10, dilations: tuple[int, ...] = (1, 2, 5)
    ) -> None:
        super().__init__()
        self.dilations, self.cells = dilations, nn.Sequential()
        for i in range(len(dilations)):
            self.cells.append(nn.GRU(n_input if i == 0 else n_hidden, n_hidden, dropout=0.0))
        self.adapter = nn.Linear(n_hidden, n_hidden)
        self.mlp = nn.Sequential(nn.Linear(n_hidden, 16), nn.ReLU(), nn.Linear(16, 6))

    def drnn_layer(self, cell: nn.Module, inputs: Tensor, rate: int) -> Tensor:
        n_steps = len(inputs)
        if n_steps % rate != 0:
            dilated_steps = n_steps // rate + 1
            zeros_ = torch.zeros(
                dilated_steps * rate - inputs.size(0),
                inputs.size(1),
                inputs.size(2),
                dtype=inputs.dtype,
                device=inputs.device,
            )
            inputs = torch.cat((inputs, zeros_))
        else:
            dilated_steps = n_steps // rate
        dilated_inputs = torch.cat([inputs[j::rate, :, :] for j in range(rate)], 1)
        dilated_outputs, _ = cell(dilated_inputs)
        batchsize = dilated_outputs.size(1) // rate
        blocks = [dilated_outputs[:, i * batchsize : (i + 1) * batchsize, :] for i in range(rate)]
        interleaved = torch.stack(blocks).transpose(1, 0).contiguous()
        splitted = interleaved.view(
            dilated_outputs.size(0) * rate, batchsize, dilated_outputs.size(2)
        )
        return splitted[:n_steps]

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        for layer_num, (cell, dilation) in enumerate(zip(self.cells, self.dilations)):
            res = x
            x = self.drnn_layer(cell, x, dilation)
            if layer_num > 0:
                x = x + res
        return self.mlp(torch.tanh(self.adapter(x.transpose(0, 1)[:, -1])))


class EntityAware(nn.Module):
    """An LSTM written by hand whose input gate comes from static attributes, with weights multiplied from the right."""

    def __init__(
        self, input_size_dyn: int = 4, input_size_stat: int = 3, hidden_size: int = 10
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.FloatTensor(input_size_dyn, 3 * hidden_size))
        self.weight_hh = nn.Parameter(torch.FloatTensor(hidden_size, 3 * hidden_size))
        self.weight_sh = nn.Parameter(torch.FloatTensor(input_size_stat, hidden_size))
        self.bias, self.bias_s = (
            nn.Parameter(torch.FloatTensor(3 * hidden_size)),
            nn.Parameter(torch.FloatTensor(hidden_size)),
        )
        self.reset_parameters()
        self.dropout, self.fc = nn.Dropout(p=0.4), nn.Linear(hidden_size, 1)

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.weight_ih.data)
        nn.init.orthogonal_(self.weight_sh)
        weight_hh_data = torch.eye(self.hidden_size).repeat(1, 3)
        self.weight_hh.data = weight_hh_data
        nn.init.constant_(self.bias.data, val=0)
        nn.init.constant_(self.bias_s.data, val=0)
        self.bias.data[: self.hidden_size] = 3

    def forward(self, x_d: Tensor, x_s: Tensor) -> tuple[Tensor, Tensor]:
        x_d = x_d.transpose(0, 1)
        seq_len, batch_size, _ = x_d.size()
        h_0 = x_d.data.new(batch_size, self.hidden_size).zero_()
        c_0 = x_d.data.new(batch_size, self.hidden_size).zero_()
        h_x = (h_0, c_0)
        h_n = []
        bias_batch = self.bias.unsqueeze(0).expand(batch_size, *self.bias.size())
        bias_s_batch = self.bias_s.unsqueeze(0).expand(batch_size, *self.bias_s.size())
        i = torch.sigmoid(torch.addmm(bias_s_batch, x_s, self.weight_sh))
        for t in range(seq_len):
            h_0, c_0 = h_x
            gates = torch.addmm(bias_batch, h_0, self.weight_hh) + torch.mm(x_d[t], self.weight_ih)
            f, o, g = gates.chunk(3, 1)
            c_1 = torch.sigmoid(f) * c_0 + i * torch.tanh(g)
            h_1 = torch.sigmoid(o) * torch.tanh(c_1)
            h_n.append(h_1)
            h_x = (h_1, c_1)
        h_n = torch.stack(h_n, 0).transpose(0, 1)
        return self.fc(self.dropout(h_n[:, -1, :])), h_n


class IdentityTraffic(nn.Module):
    """Series with who and when they are as vectors beside them, and residual layers of one width over all of it."""

    def __init__(
        self,
        num_nodes: int = 6,
        input_len: int = 12,
        d: int = 8,
        output_len: int = 4,
        layers: int = 2,
    ) -> None:
        super().__init__()
        self.node_emb = nn.Parameter(torch.empty(num_nodes, d))
        nn.init.xavier_uniform_(self.node_emb)
        self.time_in_day_emb, self.day_in_week_emb = (
            nn.Parameter(torch.randn(24, d)),
            nn.Parameter(torch.randn(7, d)),
        )
        self.time_series_emb_layer = nn.Conv2d(input_len, d, kernel_size=(1, 1), bias=True)
        hidden = 4 * d
        self.encoder = nn.Sequential(
            *[
                nn.ModuleDict(
                    {"fc1": nn.Conv2d(hidden, hidden, 1), "fc2": nn.Conv2d(hidden, hidden, 1)}
                )
                for _ in range(layers)
            ]
        )
        self.act, self.drop = nn.ReLU(), nn.Dropout(p=0.15)
        self.regression_layer = nn.Conv2d(hidden, output_len, kernel_size=(1, 1), bias=True)

    def forward(self, history: Tensor, tod: Tensor, dow: Tensor) -> Tensor:
        batch_size, _, num_nodes = history.shape
        time_in_day_emb = self.time_in_day_emb[tod[:, -1].type(torch.LongTensor)]
        day_in_week_emb = self.day_in_week_emb[dow[:, -1].type(torch.LongTensor)]
        time_series_emb = self.time_series_emb_layer(history.unsqueeze(-1))
        node_emb = [
            self.node_emb.unsqueeze(0).expand(batch_size, -1, -1).transpose(1, 2).unsqueeze(-1)
        ]
        tem_emb = [
            e[:, :, None].expand(-1, -1, num_nodes).unsqueeze(-1)
            for e in (time_in_day_emb, day_in_week_emb)
        ]
        hidden = torch.cat([time_series_emb, *node_emb, *tem_emb], dim=1)
        for block in self.encoder:
            hidden = block["fc2"](self.drop(self.act(block["fc1"](hidden)))) + hidden
        return self.regression_layer(hidden).squeeze(-1)


class CroppedSpectra(nn.Module):
    """A mask for a spectrogram that is cropped in frequency, scaled by learnt means, read by LSTMs and put on the whole."""

    def __init__(
        self, nb_bins: int = 17, nb_channels: int = 2, hidden_size: int = 12, max_bin: int = 13
    ) -> None:
        super().__init__()
        self.nb_output_bins, self.nb_bins, self.hidden_size, self.max_bin = (
            nb_bins,
            max_bin,
            hidden_size,
            max_bin,
        )
        self.register_buffer("window", torch.hann_window(32))
        self.fc1, self.bn1 = (
            nn.Linear(self.nb_bins * nb_channels, hidden_size, bias=False),
            nn.BatchNorm1d(hidden_size),
        )
        self.lstm = nn.LSTM(
            hidden_size,
            hidden_size // 2,
            num_layers=2,
            bidirectional=True,
            batch_first=False,
            dropout=0.4,
        )
        self.fc2, self.bn2 = (
            nn.Linear(hidden_size * 2, hidden_size, bias=False),
            nn.BatchNorm1d(hidden_size),
        )
        self.fc3 = nn.Linear(hidden_size, self.nb_output_bins * nb_channels, bias=False)
        self.bn3 = nn.BatchNorm1d(self.nb_output_bins * nb_channels)
        self.input_mean, self.input_scale = (
            nn.Parameter(torch.zeros(self.nb_bins)),
            nn.Parameter(torch.ones(self.nb_bins)),
        )
        self.output_scale, self.output_mean = (
            nn.Parameter(torch.ones(nb_bins).float()),
            nn.Parameter(torch.ones(nb_bins).float()),
        )

    def forward(self, wav: Tensor) -> Tensor:
        shape = wav.size()
        spec = torch.stft(
            wav.view(-1, shape[-1]),
            32,
            16,
            window=self.window.to(wav),
            return_complex=True,
            center=True,
        )
        x = spec.abs().view(*shape[:-1], *spec.shape[-2:])
        x = x.permute(3, 0, 1, 2)
        nb_frames, nb_samples, nb_channels, nb_bins = x.data.shape
        mix = x.detach().clone()
        x = x[..., : self.nb_bins]
        x = x + self.input_mean
        x = x * self.input_scale
        x = self.fc1(x.reshape(-1, nb_channels * self.nb_bins))
        x = self.bn1(x)
        x = x.reshape(nb_frames, nb_samples, self.hidden_size)
        x = torch.tanh(x)
        lstm_out = self.lstm(x)
        x = torch.cat([x, lstm_out[0]], -1)
        x = F.relu(self.bn2(self.fc2(x.reshape(-1, x.shape[-1]))))
        x = self.bn3(self.fc3(x))
        x = x.reshape(nb_frames, nb_samples, nb_channels, self.nb_output_bins)
        x *= self.output_scale
        x += self.output_mean
        x = F.relu(x) * mix
        return x.permute(1, 2, 3, 0)


class NoiseGates(nn.Module):
    """Three recurrent layers that feed each other, gains of bands and whether somebody speaks; states come back."""

    def __init__(
        self, input_dim: int = 12, cond_size: int = 10, gru_size: int = 8, output_dim: int = 6
    ) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv1d(input_dim, cond_size, kernel_size=3, padding="valid"),
            nn.Conv1d(cond_size, gru_size, kernel_size=3, padding="valid"),
        )
        self.gru1, self.gru2, self.gru3 = (
            nn.GRU(gru_size, gru_size, batch_first=True) for _ in range(3)
        )
        self.gru_size = gru_size
        self.dense_out, self.vad_dense = (
            nn.Linear(4 * gru_size, output_dim),
            nn.Linear(4 * gru_size, 1),
        )

    def forward(
        self, features: Tensor, states: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        device, batch_size = features.device, features.size(0)
        if states is None:
            gru1_state = torch.zeros(
                (1, batch_size, self.gru_size), device=device, dtype=features.dtype
            )
            gru2_state = torch.zeros(
                (1, batch_size, self.gru_size), device=device, dtype=features.dtype
            )
            gru3_state = torch.zeros(
                (1, batch_size, self.gru_size), device=device, dtype=features.dtype
            )
        else:
            gru1_state, gru2_state, gru3_state = states
        x = features.permute([0, 2, 1])
        x = torch.tanh(self.conv1(x))
        x = torch.tanh(self.conv2(x)).permute([0, 2, 1])
        gru1_out, gru1_state = self.gru1(x, gru1_state)
        gru2_out, gru2_state = self.gru2(gru1_out, gru2_state)
        gru3_out, gru3_state = self.gru3(gru2_out, gru3_state)
        out_cat = torch.cat([x, gru1_out, gru2_out, gru3_out], dim=-1)
        gain = torch.sigmoid(self.dense_out(out_cat))
        return gain, torch.sigmoid(self.vad_dense(out_cat)), [gru1_state, gru2_state, gru3_state]


class GroupedEinsum(nn.Module):
    """Bands through linear layers in groups by einsum, a recurrent layer, and convolutions as paths to a decoder."""

    class GroupedLinear(nn.Module):
        def __init__(self, input_size: int, hidden_size: int, groups: int = 1) -> None:
            super().__init__()
            assert input_size % groups == 0, f"Input size {input_size} not divisible by {groups}"
            self.groups, self.ws = groups, input_size // groups
            self.weight = nn.Parameter(
                torch.randn(groups, input_size // groups, hidden_size // groups) * 0.4
            )

        def forward(self, x: Tensor) -> Tensor:
            b, t, _ = x.shape
            new_shape = list(x.shape)[:-1] + [self.groups, self.ws]
            x = x.view(new_shape)
            x = torch.einsum("btgi,gih->btgh", x, self.weight)
            return x.flatten(2, 3)

    @staticmethod
    def block(i: int, o: int, f: int = 1, up: bool = False) -> nn.Sequential:
        layers: list[nn.Module] = [nn.ConstantPad2d((0, 0, 2, 0), 0.0)]
        groups = math.gcd(i, o)
        kw: dict[str, Any] = {"stride": (1, f), "groups": groups, "bias": False}
        if up:
            layers.append(
                nn.ConvTranspose2d(i, o, (3, 3), padding=(2, 1), output_padding=(0, f - 1), **kw)
            )
        else:
            layers.append(nn.Conv2d(i, o, (3, 3), padding=(0, 1), **kw))
        layers += [nn.Conv2d(o, o, kernel_size=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]
        return nn.Sequential(*layers)

    def __init__(self, bands: int = 12, ch: int = 6, hidden: int = 16, groups: int = 2) -> None:
        super().__init__()
        self.erb_conv0, self.erb_conv1 = self.block(1, ch), self.block(ch, ch, 2)
        self.linear_in, self.gru = (
            self.GroupedLinear(bands // 2 * ch, hidden, groups),
            nn.GRU(hidden, hidden, batch_first=True),
        )
        self.linear_out = self.GroupedLinear(hidden, bands // 2 * ch, groups)
        self.conv1p = nn.Sequential(nn.Conv2d(ch, ch, 1, bias=False), nn.BatchNorm2d(ch), nn.ReLU())
        self.convt1 = self.block(ch, ch, 2, up=True)
        self.conv0p = nn.Sequential(nn.Conv2d(ch, ch, 1, bias=False), nn.BatchNorm2d(ch), nn.ReLU())
        self.conv0_out = nn.Sequential(nn.Conv2d(ch, 1, (1, 3), padding=(0, 1)), nn.Sigmoid())

    def forward(self, feat_erb: Tensor) -> Tensor:
        e0 = self.erb_conv0(feat_erb.unsqueeze(1))
        e1 = self.erb_conv1(e0)
        emb = e1.permute(0, 2, 3, 1).flatten(2)
        emb, _ = self.gru(F.relu(self.linear_in(emb)))
        b, _, t, f8 = e1.shape
        emb = F.relu(self.linear_out(emb)).view(b, t, f8, -1).permute(0, 3, 1, 2)
        e = self.convt1(self.conv1p(e1) + emb)
        return self.conv0_out(self.conv0p(e0) + e).squeeze(1)


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "padded_beats": lambda: (PaddedBeats(), ECG),
    "liquid_time_constant": lambda: (LiquidTimeConstant(), INPUTS.series),
    "dilated_recurrent": lambda: (DilatedRecurrent(), INPUTS.series),
    "entity_aware": lambda: (EntityAware(), STATIC),
    "identity_traffic": lambda: (IdentityTraffic(), SERIES_STAMPED),
    "cropped_spectra": lambda: (CroppedSpectra(), STEREO),
    "noise_gates": lambda: (NoiseGates(), FRAMES),
    "grouped_einsum": lambda: (GroupedEinsum(), FRAMES),
}
