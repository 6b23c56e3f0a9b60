"""Lowering: the same numbers under the same names, traceable, and with heads that can be cut."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations

from netdial.channels.graph import Graph
from netdial.channels.layers.attention import Attention
from netdial.channels.trace.lower import lower
from netdial.core.errors import ConfigError, ShapeError, TraceError
from netdial.core.outputs import without_fast_path

B, T, S, E, H = 2, 5, 3, 8, 4
COMMON: dict[str, Any] = {"dropout": 0.0, "dtype": torch.float64}
ACTIVATIONS = [
    "relu",
    "gelu",
    pytest.param(torch.tanh, id="tanh"),
    pytest.param(nn.SiLU(), id="silu"),
]


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for leaf in module.parameters():
            leaf.copy_(torch.randn(leaf.shape, generator=source, dtype=torch.float64) / 2)
    return module


def sequence(length: int, *, batch_first: bool = True, seed: int = 0) -> Tensor:
    shape = (B, length, E) if batch_first else (length, B, E)
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def padding(length: int) -> Tensor:
    """Hides the last step of the last example."""
    found = torch.zeros(B, length, dtype=torch.bool)
    found[-1, -1] = True
    return found


def later(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def close(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


def traced(net: nn.Module) -> fx.GraphModule:
    class Tracer(fx.Tracer):
        def is_leaf_module(self, module: nn.Module, name: str) -> bool:
            return isinstance(module, Attention) or super().is_leaf_module(module, name)

    return fx.GraphModule(net, Tracer().trace(net))


def encoder(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(E, H, 6, **(COMMON | {"batch_first": True} | options))
    return randomised(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


@given(
    batch_first=st.booleans(),
    bias=st.booleans(),
    inputs=st.sampled_from(["self", "memory", "three"]),
    masked=st.sampled_from([None, "bool", "float", "heads"]),
    padded=st.booleans(),
    weights=st.sampled_from([None, "mean", "heads"]),
    training=st.booleans(),
)
def test_attention_is_that_of_torch(
    batch_first: bool,
    bias: bool,
    inputs: str,
    masked: str | None,
    padded: bool,
    weights: str | None,
    training: bool,
) -> None:
    old = nn.MultiheadAttention(E, H, bias=bias, batch_first=batch_first, dtype=torch.float64)
    randomised(old).train(training)
    new = lower(old)
    assert isinstance(new, Attention) and new.training == training
    query = sequence(T, batch_first=batch_first)
    length = T if inputs == "self" else S
    key = query if inputs == "self" else sequence(S, batch_first=batch_first, seed=1)
    value = sequence(S, batch_first=batch_first, seed=2) if inputs == "three" else key
    mask = later(max(T, S))[:T, :length]
    added = torch.randn(T, length, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    options: dict[str, Any] = {
        "attn_mask": {
            None: None,
            "bool": mask,
            "float": added,
            "heads": torch.stack([added * i for i in range(B * H)]),
        }[masked],
        "key_padding_mask": None,
        "need_weights": weights is not None,
        "average_attn_weights": weights == "mean",
    }
    if padded:
        hidden = padding(length)
        options["key_padding_mask"] = (
            hidden if masked in (None, "bool") else hidden.double().mul(-9)
        )
    wanted, wanted_weights = old(query, key, value, **options)
    got, got_weights = new(query, key, value, **options)
    close(got, wanted)
    if weights is None:
        assert got_weights is None
    else:
        close(got_weights, wanted_weights)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_a_causal_hint_changes_nothing(weights: bool, padded: bool) -> None:
    new = lower(randomised(nn.MultiheadAttention(E, H, dtype=torch.float64, batch_first=True)))
    x, mask = sequence(T), later(T)
    options = {"key_padding_mask": padding(T) if padded else None, "need_weights": weights}
    plain = new(x, x, x, attn_mask=mask, **options)
    hinted = new(x, x, x, attn_mask=mask, is_causal=True, **options)
    close(hinted[0], plain[0])
    with pytest.raises(ConfigError, match="give the mask"):
        new(x, x, x, is_causal=True)


def test_dropout_falls_on_attention_weights_in_training_only() -> None:
    new = lower(nn.MultiheadAttention(E, H, dropout=0.5, dtype=torch.float64, batch_first=True))
    x = sequence(T)
    _, weights = new(x, x, x, average_attn_weights=False)
    assert 0.2 < float((weights == 0).double().mean()) < 0.8
    first, second = (new(x, x, x, need_weights=False)[0] for _ in range(2))
    assert not torch.equal(first, second)
    new.eval()
    assert torch.equal(new(x, x, x)[0], new(x, x, x)[0])
    assert bool((new(x, x, x)[1] > 0).all())


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_an_encoder_is_that_of_torch(
    activation: Any, batch_first: bool, norm_first: bool, bias: bool, training: bool
) -> None:
    old = encoder(
        activation=activation, batch_first=batch_first, norm_first=norm_first, bias=bias
    ).train(training)
    new, x = lower(old), sequence(T, batch_first=batch_first)
    close(new(x), old(x))
    masks = {"mask": later(T), "src_key_padding_mask": padding(T)}
    close(new(x, **masks), old(x, **masks))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_whole_transformer_is_that_of_torch(
    batch_first: bool, norm_first: bool, training: bool
) -> None:
    options = COMMON | {"batch_first": batch_first, "norm_first": norm_first}
    reader = encoder(**{k: v for k, v in options.items() if k not in COMMON})
    old = nn.Transformer(E, H, 1, 2, 6, custom_encoder=reader, **options)
    randomised(old).train(training)
    new = lower(old)
    source = sequence(S, batch_first=batch_first)
    target = sequence(T, batch_first=batch_first, seed=1)
    close(new(source, target), old(source, target))
    masks: dict[str, Any] = {
        "src_mask": later(S),
        "tgt_mask": later(T),
        "memory_mask": torch.eye(T, S, dtype=torch.bool),
        "tgt_key_padding_mask": padding(T),
        "memory_key_padding_mask": padding(S),
    }
    close(new(source, target, **masks), old(source, target, **masks))
    close(traced(new)(source, target), old(source, target))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_the_nested_fast_path_differs_at_padded_positions_alone() -> None:
    layer = nn.TransformerEncoderLayer(E, H, 6, batch_first=True, **COMMON)
    old = randomised(nn.TransformerEncoder(layer, 2)).eval()
    new, x, hidden = lower(old), sequence(T), padding(T)
    with torch.no_grad():
        wanted, got = (
            old(x, src_key_padding_mask=hidden),
            new(x, src_key_padding_mask=hidden),
        )
    close(got[~hidden], wanted[~hidden])
    assert not wanted[hidden].any() and got[hidden].any()


def test_names_order_and_objects_of_leaves_stay() -> None:
    net = nn.ModuleDict(
        {
            "stem": nn.Linear(E, E),
            "body": nn.Transformer(E, H, 2, 2, 6, batch_first=True),
            "x": None,
        }
    )
    net["body"].register_buffer("scale", torch.ones(1))
    new = lower(net)
    assert type(new) is nn.ModuleDict and new is not net
    assert new["stem"] is net["stem"] and new["x"] is None
    assert list(new.state_dict()) == list(net.state_dict())
    assert [n for n, _ in new.named_modules()] == [n for n, _ in net.named_modules()]
    for leaves in ("named_parameters", "named_buffers"):
        for (name, leaf), (old_name, old) in zip(
            getattr(new, leaves)(), getattr(net, leaves)(), strict=True
        ):
            assert name == old_name and leaf is old
    assert isinstance(net["body"].encoder.layers[0].self_attn, nn.MultiheadAttention)
    assert isinstance(new["body"].encoder.layers[0].self_attn, Attention)


def test_a_network_without_composite_modules_comes_back_itself() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert lower(net) is net


def test_a_module_that_is_met_twice_is_replaced_once() -> None:
    layer = nn.TransformerEncoderLayer(E, H, 6, **COMMON)
    new = lower(nn.Sequential(layer, nn.Tanh(), layer))
    assert new[0] is new[2] and new[0] is not layer
    x = sequence(T)
    close(new(x), layer(torch.tanh(layer(x))))


def test_an_optimiser_goes_on_with_the_lowered_network() -> None:
    old = encoder()
    new, x = lower(old), sequence(T)
    optimiser = torch.optim.Adam(old.parameters(), lr=0.01)
    new(x).square().sum().backward()
    grads = [leaf.grad.clone() for leaf in old.parameters()]
    old.zero_grad()
    old(x).square().sum().backward()
    for leaf, grad in zip(old.parameters(), grads, strict=True):
        torch.testing.assert_close(leaf.grad, grad, rtol=1e-9, atol=1e-9)
    before = new(x)
    optimiser.step()
    assert not torch.equal(new(x), before)


@pytest.mark.parametrize("norm_first", [False, True])
def test_fx_follows_the_lowered_encoder(norm_first: bool) -> None:
    new, x = lower(encoder(norm_first=norm_first)), sequence(T)
    graph = traced(new)
    called = {node.target for node in graph.graph.nodes if node.op == "call_module"}
    assert {"layers.0.self_attn", "layers.1.linear2", "layers.0.norm1"} <= called
    leaves, wanted = dict(graph.named_parameters()), dict(new.named_parameters())
    assert set(leaves) == set(wanted)
    assert all(leaf is wanted[name] for name, leaf in leaves.items())
    close(graph(x), new(x))
    close(graph(x, mask=later(T), is_causal=True), new(x, mask=later(T)))
    for size in (1, 7):
        close(graph(x[:, :1].expand(-1, size, -1)), new(x[:, :1].expand(-1, size, -1)))


def test_fx_cannot_follow_the_original() -> None:
    with pytest.raises(Exception, match="_none_or_dtype"):
        fx.symbolic_trace(encoder().eval())


def cut_heads(attention: Attention, kept: list[int]) -> None:
    """Cuts by hand, in place."""
    d, inner = attention.head_dim, attention.num_heads * attention.head_dim
    columns = [head * d + i for head in kept for i in range(d)]
    rows = [block * inner + column for block in range(3) for column in columns]
    attention.in_proj_weight.data = attention.in_proj_weight.data[rows]
    if attention.in_proj_bias is not None:
        attention.in_proj_bias.data = attention.in_proj_bias.data[rows]
    attention.out_proj.weight.data = attention.out_proj.weight.data[:, columns]


@given(kept=st.sets(st.integers(0, H - 1), min_size=1), bias=st.booleans(), padded=st.booleans())
def test_heads_cut_are_heads_masked(kept: set[int], bias: bool, padded: bool) -> None:
    old = nn.MultiheadAttention(E, H, bias=bias, batch_first=True, dtype=torch.float64)
    new = copy.deepcopy(lower(randomised(old)))
    with torch.no_grad():
        for head in set(range(H)) - kept:
            old.out_proj.weight[:, head * 2 : head * 2 + 2] = 0
    cut_heads(new, sorted(kept))
    assert (new.num_heads, new.head_dim, new.embed_dim) == (len(kept), 2, E)
    x, memory = sequence(T), sequence(S, seed=1)
    options = {"key_padding_mask": padding(S) if padded else None}
    close(new(x, memory, memory, **options)[0], old(x, memory, memory, **options)[0])
    close(new(x, x, x, need_weights=False)[0], old(x, x, x, need_weights=False)[0])
    _, weights = new(x, x, x, average_attn_weights=False)
    _, wanted = old(x, x, x, average_attn_weights=False)
    close(weights, wanted[:, sorted(kept)])


def test_a_cut_encoder_runs_and_part_of_a_head_is_refused() -> None:
    net = traced(lower(encoder()))
    attention = net.get_submodule("layers.0.self_attn")
    cut_heads(attention, [1, 3])
    assert net(sequence(T)).shape == (B, T, E)
    attention.in_proj_weight.data = attention.in_proj_weight.data[:-1]
    with pytest.raises(ShapeError, match=r"11 rows.*multiple of 3 × 2.*cut whole heads"):
        net(sequence(T))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kdim", "vdim"), [(3, 5), (3, None), (None, 5)])
def test_keys_and_values_of_other_widths(kdim: int | None, vdim: int | None, bias: bool) -> None:
    options: dict[str, Any] = {"kdim": kdim, "vdim": vdim, "bias": bias, "batch_first": True}
    old = randomised(nn.MultiheadAttention(E, H, **options, **COMMON))
    new = lower(old)
    assert isinstance(new, Attention)
    assert list(new.state_dict()) == list(old.state_dict())
    query = sequence(T)
    key, value = (torch.randn(B, S, width or E, dtype=torch.float64) for width in (kdim, vdim))
    for options in ({}, {"key_padding_mask": padding(S)}, {"need_weights": False}):
        got, wanted = new(query, key, value, **options), old(query, key, value, **options)
        close(got[0], wanted[0])
        if wanted[1] is not None:
            close(got[1], wanted[1])


def test_attention_of_any_inner_width_can_be_built() -> None:
    built = Attention(E, 3, head_dim=5, batch_first=True).double()
    assert built.in_proj_weight.shape == (45, E) and built.out_proj.weight.shape == (E, 15)
    x = sequence(T)
    q, k, v = (
        F.linear(x, w).unflatten(-1, (3, 5)).transpose(1, 2) for w in built.in_proj_weight.chunk(3)
    )
    weights = (q @ k.mT / 5**0.5).softmax(-1)
    close(
        built(x, x, x)[0], F.linear((weights @ v).transpose(1, 2).flatten(2), built.out_proj.weight)
    )
    assert Attention(E, H, bias=False).in_proj_bias is None
    assert list(Attention(E, H).state_dict()) == list(nn.MultiheadAttention(E, H).state_dict())
    with pytest.raises(ConfigError, match="3 heads do not divide 8; give head_dim="):
        Attention(E, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"add_bias_kv": True}, "add_bias_kv or add_zero_attn"),
        ({"add_zero_attn": True}, "build it without"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    net = nn.Sequential(nn.ModuleDict({"read": nn.MultiheadAttention(E, H, **options)}))
    with pytest.raises(TraceError, match=rf"^0\.read: attention with .*{message}"):
        lower(net)
    with pytest.raises(TraceError, match=r"^the network: "):
        lower(net[0]["read"])


def test_parametrised_weights_are_refused() -> None:
    old = parametrizations.weight_norm(nn.MultiheadAttention(E, H), "in_proj_weight")
    with pytest.raises(TraceError, match="remove_parametrizations"):
        lower(old)


def test_inputs_and_masks_that_do_not_fit_are_refused() -> None:
    new, x = lower(nn.MultiheadAttention(E, H, batch_first=True, dtype=torch.float64)), sequence(T)
    with pytest.raises(TraceError, match=r"query of shape \[5, 8\] has no batch dimension"):
        new(x[0], x[0], x[0])
    with pytest.raises(ShapeError, match=r"\[4, 5, 5\], expected \[5, 5\], or \[8, 5, 5\]"):
        new(x, x, x, attn_mask=torch.zeros(H, T, T))
    with pytest.raises(ShapeError, match=r"key_padding_mask is \[2, 3\], expected \[2, 5\]"):
        new(x, x, x, key_padding_mask=padding(S))


def test_subclasses_keep_a_forward_pass_of_their_own() -> None:
    class Named(nn.TransformerEncoderLayer):
        """Adds nothing to the pass."""

    class Silent(nn.TransformerEncoderLayer):
        def _sa_block(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
            return self.self_attn(x, x, x, need_weights=False)[0] * 0

    x = sequence(T)
    named, silent = (randomised(kind(E, H, 6, **COMMON)) for kind in (Named, Silent))
    assert not isinstance(lower(named), nn.TransformerEncoderLayer)
    close(lower(named)(x), named(x))
    new = lower(silent)
    assert type(new) is Silent and isinstance(new.self_attn, Attention)
    close(new(x), silent(x))


@pytest.mark.slow
def test_what_the_fast_path_passes_over_is_told() -> None:
    class Weighed(nn.TransformerEncoderLayer):
        def _sa_block(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
            return self.self_attn(x, x, x, need_weights=False)[0] * 3

    net, x = (
        nn.Sequential(
            nn.Linear(4, E), Weighed(E, H, 6, batch_first=True, **COMMON), nn.Linear(E, 2)
        ),
        torch.randn(2, T, 4),
    )
    net, x = net.double(), x.double()
    with pytest.raises(
        TraceError, match=r"passes over what Weighed overrides.*set_fastpath_enabled\(False\)"
    ):
        Graph.of(net, x)
    with without_fast_path():
        graph = Graph.of(net, x)
    assert graph.widths["1.linear1"] == 6
    assert torch.backends.mha.get_fastpath_enabled()


def test_hooks_and_own_attributes_come_along() -> None:
    net, seen = nn.Sequential(encoder()), []
    net[0].layers[1].self_attn.register_forward_hook(lambda *call: seen.append(call[2][0].shape))
    net[0].colour = "blue"
    new = lower(net)
    new(sequence(T))
    assert seen == [(B, T, E)] and new[0].colour == "blue"
