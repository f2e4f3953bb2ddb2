"""The Transformer you can read, run and trust."""

from importlib import import_module
from types import ModuleType

from minitransformer import (
    attention,
    corpora,
    feed_forward,
    kernels,
    losses,
    metrics,
    norm,
    optimizer,
    positions,
    schedules,
    visibility,
)
from minitransformer.attention import MultiHeadAttention
from minitransformer.batches import (
    DataCollatorForLanguageModeling,
    DataCollatorForMultipleChoice,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorForWholeWordMask,
    DataCollatorWithPadding,
    MaskedLanguageCollator,
    NextSentencePairs,
    PaddingCollator,
    TextClassification,
    default_data_collator,
)
from minitransformer.blocks import Decoder, DecoderBlock, Encoder, EncoderBlock, PostNorm, PreNorm
from minitransformer.encoding import BatchEncoding
from minitransformer.errors import InputError
from minitransformer.feed_forward import FeedForward
from minitransformer.models.auto import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForNextSentencePrediction,
    AutoModelForPreTraining,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from minitransformer.models.bert import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from minitransformer.models.bert_config import BertConfig
from minitransformer.norm import LayerNorm, RMSNorm
from minitransformer.optimizer import AdamW
from minitransformer.tokenizer import AutoTokenizer, Tokenizer
from minitransformer.tracing import trace
from minitransformer.trainer import (
    EarlyStoppingCallback,
    EvalPrediction,
    PredictionOutput,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingInterruptedError,
    TrainOutput,
    get_last_checkpoint,
    set_seed,
)
from minitransformer.training_arguments import TrainingArguments

__version__ = "0.1.0"

__all__ = [
    "AXES",
    "AdamW",
    "AutoConfig",
    "AutoModel",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForNextSentencePrediction",
    "AutoModelForPreTraining",
    "AutoModelForQuestionAnswering",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "BatchEncoding",
    "BertConfig",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertModel",
    "DataCollatorForLanguageModeling",
    "DataCollatorForMultipleChoice",
    "DataCollatorForSeq2Seq",
    "DataCollatorForTokenClassification",
    "DataCollatorForWholeWordMask",
    "DataCollatorWithPadding",
    "Decoder",
    "DecoderBlock",
    "EarlyStoppingCallback",
    "Encoder",
    "EncoderBlock",
    "EvalPrediction",
    "FeedForward",
    "InputError",
    "LayerNorm",
    "MaskedLanguageCollator",
    "MultiHeadAttention",
    "NextSentencePairs",
    "PaddingCollator",
    "PostNorm",
    "PreNorm",
    "PredictionOutput",
    "ProgressCallback",
    "RMSNorm",
    "TextClassification",
    "Tokenizer",
    "TrainOutput",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "TrainingInterruptedError",
    "attention",
    "corpora",
    "default_data_collator",
    "feed_forward",
    "get_last_checkpoint",
    "kernels",
    "losses",
    "metrics",
    "norm",
    "optimizer",
    "positions",
    "schedules",
    "set_seed",
    "trace",
    "visibility",
]


def __getattr__(name: str) -> ModuleType:
    """Load the laws, and hypothesis with them, only when somebody asks for them."""
    if name == "laws":
        return import_module("minitransformer.laws")
    raise AttributeError(f"module 'minitransformer' has no attribute {name!r}")


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
