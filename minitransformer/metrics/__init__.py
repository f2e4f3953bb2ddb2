"""Metrics by hand, in NumPy: the names, signatures and edge cases of scikit-learn and SciPy, the rules of SQuAD."""

from minitransformer.metrics.answers import exact_match_score, token_f1_score
from minitransformer.metrics.calibration import expected_calibration_error, log_loss
from minitransformer.metrics.classification import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    matthews_corrcoef,
)
from minitransformer.metrics.correlation import Correlation, pearsonr, spearmanr
from minitransformer.metrics.labels import UndefinedMetricWarning
from minitransformer.metrics.language import perplexity
from minitransformer.metrics.precision_recall import (
    f1_score,
    fbeta_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
)
from minitransformer.metrics.report import classification_report

__all__ = [
    "Correlation",
    "UndefinedMetricWarning",
    "accuracy_score",
    "balanced_accuracy_score",
    "classification_report",
    "confusion_matrix",
    "exact_match_score",
    "expected_calibration_error",
    "f1_score",
    "fbeta_score",
    "log_loss",
    "matthews_corrcoef",
    "pearsonr",
    "perplexity",
    "precision_recall_fscore_support",
    "precision_score",
    "recall_score",
    "spearmanr",
    "token_f1_score",
]
