"""Composite modules of torch, written out so that they can be traced and cut.

``torch.nn.MultiheadAttention`` cannot lose a head, and the forward passes of ``torch.nn.Transformer`` and its parts branch
on values and on kernels, which ``torch.fx`` cannot follow. ``lower`` puts equivalents in their places: the same submodules,
parameters and names, with a forward pass that is nothing but the formula (Vaswani et al. 2017; with ``norm_first`` Xiong
et al. 2020, fig. 1). One thing differs: the equivalents leave values at padded positions, as torch does in training, where
torch's fast path for inference may write 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from torch import Tensor, nn

from netdial.channels.layers.attention import Attention
from netdial.channels.layers.frozen import FROZEN
from netdial.core.errors import TraceError
from netdial.core.outputs import modes_kept

Block = Callable[..., Tensor]


def lower(net: nn.Module, still: Collection[str] = ()) -> nn.Module:
    """Returns the network with composite modules of torch, and layers that stay in evaluation, replaced by equivalents.

    The network given keeps its modules. What is returned shares with it every parameter, every buffer and every module that
    holds nothing to replace; modules above a replaced one are shallow copies of the same class. So names, the order
    of ``state_dict`` and optimisers stay valid. If there is nothing to replace, the network itself comes back. A subclass
    of a composite module with a forward pass of its own keeps it.

    Since parameters are shared, cutting them in the one cuts them in the other, and only the lowered one runs afterwards.

    Args:
        net: the network.
        still: names of layers that its code calls in evaluation; those that ``net.train()`` leaves there are found.

    Raises:
        TraceError: an attention layer has options that cannot be cut; the message names it.
    """
    with modes_kept(net):
        net.train()
        found = {id(m) for m in net.modules() if type(m) in FROZEN and not m.training}
    return _lowered(net, "", {}, found.union(id(net.get_submodule(name)) for name in still))


class InEvaluation(Exception):
    """Code puts layers into evaluation before it calls them.

    Attributes:
        names: of them.
    """

    def __init__(self, names: Collection[str]) -> None:
        super().__init__(names)
        self.names = names


class EncoderLayer(nn.Module):
    """``torch.nn.TransformerEncoderLayer``; made by ``lower``."""

    self_attn: Attention
    linear1: Block
    linear2: Block
    activation: Block
    norm1: Block
    norm2: Block
    dropout: Block
    dropout1: Block
    dropout2: Block
    norm_first: bool

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Returns ``[B, T, E]`` (or ``[T, B, E]``) for a sequence of that shape."""

        def attend(x: Tensor) -> Tensor:
            found = _attend(self.self_attn, x, x, src_mask, src_key_padding_mask, is_causal)
            return self.dropout1(found)

        def feed(x: Tensor) -> Tensor:
            hidden = self.dropout(self.activation(self.linear1(x)))
            return self.dropout2(self.linear2(hidden))

        x = src
        for block, norm in ((attend, self.norm1), (feed, self.norm2)):
            x = x + block(norm(x)) if self.norm_first else norm(x + block(x))
        return x


class DecoderLayer(nn.Module):
    """``torch.nn.TransformerDecoderLayer``; made by ``lower``."""

    self_attn: Attention
    multihead_attn: Attention
    linear1: Block
    linear2: Block
    activation: Block
    norm1: Block
    norm2: Block
    norm3: Block
    dropout: Block
    dropout1: Block
    dropout2: Block
    dropout3: Block
    norm_first: bool

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Returns a sequence shaped like ``tgt``."""

        def attend(x: Tensor) -> Tensor:
            found = _attend(self.self_attn, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
            return self.dropout1(found)

        def recall(x: Tensor) -> Tensor:
            found = _attend(
                self.multihead_attn,
                x,
                memory,
                memory_mask,
                memory_key_padding_mask,
                memory_is_causal,
            )
            return self.dropout2(found)

        def feed(x: Tensor) -> Tensor:
            hidden = self.dropout(self.activation(self.linear1(x)))
            return self.dropout3(self.linear2(hidden))

        x = tgt
        for block, norm in ((attend, self.norm1), (recall, self.norm2), (feed, self.norm3)):
            x = x + block(norm(x)) if self.norm_first else norm(x + block(x))
        return x


class Encoder(nn.Module):
    """``torch.nn.TransformerEncoder``; made by ``lower``."""

    layers: Iterable[Block]
    norm: Block | None

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Returns a sequence shaped like ``src``."""
        for layer in self.layers:
            src = layer(
                src,
                src_mask=mask,
                is_causal=is_causal,
                src_key_padding_mask=src_key_padding_mask,
            )
        return src if self.norm is None else self.norm(src)


class Decoder(nn.Module):
    """``torch.nn.TransformerDecoder``; made by ``lower``."""

    layers: Iterable[Block]
    norm: Block | None

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Returns a sequence shaped like ``tgt``."""
        for layer in self.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=tgt_is_causal,
                memory_is_causal=memory_is_causal,
            )
        return tgt if self.norm is None else self.norm(tgt)


class EncoderDecoder(nn.Module):
    """``torch.nn.Transformer``; made by ``lower``."""

    encoder: Block
    decoder: Block

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Returns a sequence shaped like ``tgt``."""
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )


_EQUIVALENTS: dict[type[nn.Module], type[nn.Module]] = {
    nn.TransformerEncoderLayer: EncoderLayer,
    nn.TransformerDecoderLayer: DecoderLayer,
    nn.TransformerEncoder: Encoder,
    nn.TransformerDecoder: Decoder,
    nn.Transformer: EncoderDecoder,
}


def _lowered(
    module: nn.Module, name: str, done: dict[int, nn.Module], still: Collection[int]
) -> nn.Module:
    """Returns what stands for a module; one that is met twice is replaced once.

    Args:
        module: the module.
        name: its name in the network.
        done: what stands for those that were met before, by their ids.
        still: ids of layers that stay in evaluation.
    """
    if id(module) in done:
        return done[id(module)]
    if _is_stock(module, nn.MultiheadAttention):
        try:
            done[id(module)] = Attention.of(module)  # type: ignore[arg-type]
        except TraceError as error:
            raise TraceError(f"{name or 'the network'}: {error}") from None
        return done[id(module)]
    children = {
        key: None if child is None else _lowered(child, f"{name}.{key}".lstrip("."), done, still)
        for key, child in module._modules.items()
    }
    kind = next((new for old, new in _EQUIVALENTS.items() if _is_stock(module, old)), type(module))
    kind = FROZEN[kind] if id(module) in still else kind
    same = all(child is module._modules[key] for key, child in children.items())
    done[id(module)] = module if same and kind is type(module) else _copy(module, kind, children)
    return done[id(module)]


def _is_stock(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Returns whether a module runs torch's own code of ``kind``, being it or a subclass that adds nothing to the pass."""
    passes = ("forward", "_sa_block", "_mha_block", "_ff_block")
    return isinstance(module, kind) and all(
        getattr(type(module), name, None) is getattr(kind, name, None) for name in passes
    )


def _copy(
    module: nn.Module, kind: type[nn.Module], children: dict[str, nn.Module | None]
) -> nn.Module:
    """Returns a shallow copy of a module as one of class ``kind`` and with other children."""
    new = kind.__new__(kind)
    new.__dict__ = dict(vars(module))
    new._parameters, new._buffers = dict(module._parameters), dict(module._buffers)
    new._modules = children
    return new


def _attend(
    attention: Callable[..., tuple[Tensor, Tensor | None]],
    x: Tensor,
    memory: Tensor,
    mask: Tensor | None,
    padding: Tensor | None,
    is_causal: bool,
) -> Tensor:
    """Returns what a sequence reads from another, without the attention weights."""
    outputs = attention(
        x,
        memory,
        memory,
        attn_mask=mask,
        key_padding_mask=padding,
        is_causal=is_causal,
        need_weights=False,
    )
    return outputs[0]
