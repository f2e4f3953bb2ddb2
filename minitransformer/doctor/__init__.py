"""A ladder of checks on a model whose training doesn't work: the lowest rung that breaks is where to look first."""

from minitransformer.doctor.changing import other_ids
from minitransformer.doctor.diagnosis import Check, Diagnosis
from minitransformer.doctor.examining import LADDER, examine
from minitransformer.doctor.kept import SENTENCES, batch_for, examine_kept, random_batch_for, sentences_of
from minitransformer.doctor.patient import Adapter, read_output
from minitransformer.doctor.theirs import examine_file

__all__ = [
    "LADDER",
    "SENTENCES",
    "Adapter",
    "Check",
    "Diagnosis",
    "batch_for",
    "examine",
    "examine_file",
    "examine_kept",
    "other_ids",
    "random_batch_for",
    "read_output",
    "sentences_of",
]
