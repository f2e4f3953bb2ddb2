"""Training checkpoints: a folder that is whole or not there, from which training goes on as if it had never stopped."""

from minitransformer.checkpoint.keeping import (
    PLAN_FILE,
    checkpoints,
    newest_checkpoint,
    newest_whole_checkpoint,
    remove_all_but,
    require_same_plan,
    require_whole,
)
from minitransformer.checkpoint.manifest import MANIFEST_FILE, sha256
from minitransformer.checkpoint.model_state import keep_tensors, unique_tensors
from minitransformer.checkpoint.writing import (
    ARGUMENTS_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    OPTIMIZER_SETTINGS_FILE,
    SCALER_FILE,
    SCHEDULER_FILE,
    STATE_FILE,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)

__all__ = [
    "ARGUMENTS_FILE",
    "MANIFEST_FILE",
    "MODEL_FILE",
    "OPTIMIZER_FILE",
    "OPTIMIZER_SETTINGS_FILE",
    "PLAN_FILE",
    "SCALER_FILE",
    "SCHEDULER_FILE",
    "STATE_FILE",
    "checkpoints",
    "keep_tensors",
    "load_checkpoint",
    "load_weights",
    "newest_checkpoint",
    "newest_whole_checkpoint",
    "remove_all_but",
    "require_same_plan",
    "require_whole",
    "save_checkpoint",
    "sha256",
    "unique_tensors",
]
