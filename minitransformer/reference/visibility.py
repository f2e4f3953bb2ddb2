"""Who may attend to whom: boolean arrays in which True means "may read".

The axes broadcast to (batch, heads, queries, keys); `&` combines two rules.
"""

import numpy as np
from jaxtyping import Bool, Int, Num


def padding(attention_mask: Num[np.ndarray, "... M"] | Bool[np.ndarray, "... M"]) -> Bool[np.ndarray, "... 1 1 M"]:
    """Hide the padding: a key may be read where `attention_mask` is 1.

    Equation eq:padding-visibility:
        may_attend[b, i, j] = (attention_mask[b, j] = 1)

    Source: Devlin et al. 2018, published code, `create_attention_mask_from_input_mask`. BERT adds −10,000 to hidden
    scores; here they are hidden exactly.

    >>> padding(np.array([[1, 1, 0]])).tolist()
    [[[[True, True, False]]]]
    """
    return np.asarray(attention_mask == 1)[..., None, None, :]


def causal(length: int) -> Bool[np.ndarray, "L L"]:
    """Hide the future: position i may read the positions up to and including itself.

    Equation eq:causal-visibility:
        may_attend[i, j] = (j ≤ i)

    Source: Vaswani et al. 2017, §3.2.3, third use of attention.

    >>> causal(3).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    """
    return np.array([[j <= i for j in range(length)] for i in range(length)])


def same_segment(segment_ids: Int[np.ndarray, "... L"]) -> Bool[np.ndarray, "... 1 L L"]:
    """Let packed sequences read only themselves: two positions see each other where their numbers agree.

    Equation eq:packed-visibility:
        may_attend[b, i, j] = (s[b, i] = s[b, j])

    Source: Raffel et al. 2020, §3.1.2 packs sequences; the rule that keeps them apart is ours.

    >>> same_segment(np.array([[0, 0, 1]])).astype(int).tolist()
    [[[[1, 1, 0], [1, 1, 0], [0, 0, 1]]]]
    """
    return np.equal(segment_ids[..., None, :, None], segment_ids[..., None, None, :])
