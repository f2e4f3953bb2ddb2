"""Who may attend to whom: boolean tensors in which True means "may read".

The axes broadcast to (batch, heads, queries, keys); `&` combines two rules.
"""

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor

from minitransformer.errors import InputError


def padding(attention_mask: Num[Tensor, "B M"] | Bool[Tensor, "B M"]) -> Bool[Tensor, "B 1 1 M"]:
    """Hide the padding: a key may be read where `attention_mask` is 1.

    Equation eq:padding-visibility:
        may_attend[b, i, j] = (attention_mask[b, j] = 1)

    It hides keys, never queries: a row for a padded query exists and is ignored later. A rule on the query axis would
    leave the padding visible to every real token.

    Source: Devlin et al. 2018, published code, `create_attention_mask_from_input_mask`. BERT adds −10,000 to hidden
    scores; here they are hidden exactly.

    Raises: InputError unless every entry is 0 or 1.

    >>> padding(torch.tensor([[1, 1, 0]])).tolist()
    [[[[True, True, False]]]]
    """
    if not torch.compiler.is_compiling() and not ((attention_mask == 0) | (attention_mask == 1)).all():
        raise InputError(
            "attention_mask holds values other than 0 and 1; give 1 for a token and 0 for padding "
            "(an additive mask of 0 and -inf must be compared with 0 first)"
        )
    return (attention_mask != 0)[:, None, None, :]


def causal(length: int, device: torch.device | str | None = None) -> Bool[Tensor, "L L"]:
    """Hide the future: position i may read the positions up to and including itself.

    Equation eq:causal-visibility:
        may_attend[i, j] = (j ≤ i)

    Source: Vaswani et al. 2017, §3.2.3, third use of attention.

    >>> causal(3).int().tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    position = torch.arange(length, device=device)
    return position[None, :] <= position[:, None]


def same_segment(segment_ids: Int[Tensor, "B L"]) -> Bool[Tensor, "B 1 L L"]:
    """Let packed sequences read only themselves: two positions see each other where their numbers agree.

    Equation eq:packed-visibility:
        may_attend[b, i, j] = (s[b, i] = s[b, j])

    Source: Raffel et al. 2020, §3.1.2 packs sequences; the rule that keeps them apart is ours.

    >>> same_segment(torch.tensor([[0, 0, 1]])).int().tolist()
    [[[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]]
    """
    return (segment_ids[:, :, None] == segment_ids[:, None, :])[:, None]


def require_boolean(may_attend: Tensor | None) -> None:
    """Refuse a visibility that is not boolean, because a 0/−inf mask in its place would be read the wrong way round.

    Raises: InputError naming the type found.

    >>> require_boolean(torch.tensor([0.0, float("-inf")]))
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: may_attend has dtype torch.float32 and must be torch.bool with True = may read; \
turn an additive mask of 0 and -inf into `mask == 0`
    """
    if may_attend is not None and may_attend.dtype != torch.bool:
        raise InputError(
            f"may_attend has dtype {may_attend.dtype} and must be torch.bool with True = may read; "
            "turn an additive mask of 0 and -inf into `mask == 0`"
        )
