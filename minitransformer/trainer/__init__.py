"""The trainer, and what it is made of, in the order the data flows: order, reading, losses, updates, evaluation."""

from minitransformer.trainer.callbacks import EarlyStoppingCallback, ProgressCallback, TrainerCallback
from minitransformer.trainer.evaluation import evaluating
from minitransformer.trainer.learner import decay_groups
from minitransformer.trainer.loss_parts import add_parts
from minitransformer.trainer.order import shared
from minitransformer.trainer.processes import LostProcessError, Processes, is_first_process, is_told_here
from minitransformer.trainer.randomness import seed_of, set_seed
from minitransformer.trainer.reading import Batch
from minitransformer.trainer.resuming import get_last_checkpoint
from minitransformer.trainer.state import (
    EvalPrediction,
    PredictionOutput,
    TrainerControl,
    TrainerState,
    TrainingInterruptedError,
    TrainOutput,
)
from minitransformer.trainer.trainer import Trainer

__all__ = [
    "Batch",
    "EarlyStoppingCallback",
    "EvalPrediction",
    "LostProcessError",
    "PredictionOutput",
    "Processes",
    "ProgressCallback",
    "TrainOutput",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingInterruptedError",
    "add_parts",
    "decay_groups",
    "evaluating",
    "get_last_checkpoint",
    "is_first_process",
    "is_told_here",
    "seed_of",
    "set_seed",
    "shared",
]
