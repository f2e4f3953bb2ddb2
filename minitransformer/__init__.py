"""The Transformer you can read, run and trust."""

AXES = {
    "B": "batch: how many sequences",
    "L": "length: the positions that are computed (n)",
    "M": "memory: the positions that are read (n)",
    "D": "model width (d_model)",
    "H": "heads (h)",
    "K": "width of a head's queries and keys (d_k)",
    "E": "width of a head's values (d_v; equal to d_k in every model here)",
    "F": "inner width of the feed-forward network (d_ff)",
    "V": "vocabulary: how many words",
    "N": "classes",
    "P": "patches of an image",
}
"""The alphabet of shapes, each letter with its meaning and the papers' symbol."""
