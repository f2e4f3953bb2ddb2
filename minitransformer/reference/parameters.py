"""Parameters: a flat dictionary with the names that the PyTorch module of the same part gives them."""

import numpy as np

Parameters = dict[str, np.ndarray]


def part(parameters: Parameters, name: str) -> Parameters:
    """The parameters of one part, under the names that the part itself uses.

    >>> part({"query.weight": np.eye(2), "query.bias": np.zeros(2), "key.bias": np.ones(2)}, "query").keys()
    dict_keys(['weight', 'bias'])
    """
    start = name + "."
    return {key.removeprefix(start): value for key, value in parameters.items() if key.startswith(start)}
