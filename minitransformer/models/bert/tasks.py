"""BERT with a task layer: classes of a sequence or of each token, answers in a text, one of several choices."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int, Num
from torch import Tensor

from minitransformer.errors import InputError
from minitransformer.heads import ClassificationHead
from minitransformer.losses import IGNORED, LossPart, binary_cross_entropy, cross_entropy, mean_squared_error
from minitransformer.models.bert.asked import Asked, count_of
from minitransformer.models.bert.encoder import BertModel, BertPreTrainedModel
from minitransformer.models.bert_config import BertConfig
from minitransformer.models.outputs import (
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)


class BertForSequenceClassification(BertPreTrainedModel):
    """BERT with a task layer on the whole sequence: one class, several at once, or a number.

    The kind of task follows from the labels unless `config.problem_type` says it: with `num_labels=1` a number, with
    whole-number labels one class, with fractional ones several at once.

    Source: Devlin et al. 2019, §4.1.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.classifier = classification_head(config, config.num_labels)
        self.initialise(config.initializer_range)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
        labels: Num[Tensor, "B ..."] | None = None,
        **outputs: bool,
    ) -> SequenceClassifierOutput:
        """Score the classes of each sequence."""
        read = self.bert(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **outputs)
        logits = self.classifier(read.pooler_output)
        loss = None
        if labels is not None:
            loss = PROBLEM_LOSSES[self.config.problem_type or problem_type(self.config.num_labels, labels)](
                logits, labels
            )
        return SequenceClassifierOutput(loss, logits, read.hidden_states, read.attentions)

    def training_losses(
        self, labels: Num[Tensor, "B ..."], asked: Asked | None = None, **inputs: Any
    ) -> dict[str, LossPart]:
        """The loss, with the last block computed at [CLS] alone, and nothing at padding."""
        asked = asked or self.what_is_asked(labels, **inputs)
        hidden_B1D = self.bert.answers_at(asked, **inputs)
        logits = self.classifier(self.bert.pooler(hidden_B1D))  # type: ignore[misc]
        kind = self.config.problem_type or problem_type(self.config.num_labels, labels)
        count = asked.counts["loss"]
        total = PROBLEM_LOSSES[kind](logits, labels) * count if count else logits.sum() * 0.0
        return {"loss": LossPart(total, count)}

    def what_is_asked(
        self, labels: Num[Tensor, "B ..."], attention_mask: Num[Tensor, "B L"] | None = None, **_: Any
    ) -> Asked:
        """What `training_losses` is to answer; labels are looked at before they go to an accelerator."""
        PROBLEM_CHECKS[self.config.problem_type or problem_type(self.config.num_labels, labels)](labels)
        return Asked.of_rows(len(labels), labels.device, attention_mask, self.training_counts(labels))

    def training_counts(self, labels: Num[Tensor, "B ..."], **_: Any) -> dict[str, int]:
        """How many examples the loss is over: those with a class, and of other labels all."""
        return {"loss": len(labels) if labels.is_floating_point() else int((labels != IGNORED).sum())}


def problem_type(num_labels: int, labels: Tensor) -> str:
    """What kind of task the labels belong to.

    >>> import torch
    >>> problem_type(3, torch.tensor([2, 0]))
    'single_label_classification'
    """
    if num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def regression_loss(logits: Float[Tensor, "B N"], labels: Num[Tensor, "B ..."]) -> Float[Tensor, ""]:
    """The squared error of each predicted number."""
    require_label_shape(labels.reshape(len(labels), -1), logits)
    require_numbers(labels)
    return mean_squared_error(logits, labels.reshape(logits.shape).to(logits.dtype))


def single_label_loss(logits: Float[Tensor, "B N"], labels: Int[Tensor, "B ..."]) -> Float[Tensor, ""]:
    """The surprise at the class of each example."""
    if labels.numel() != len(logits):
        raise InputError(
            f"labels have shape {tuple(labels.shape)}, but there are {len(logits)} examples; give one whole number for "
            "each, or fractional labels (1.0 and 0.0) where several classes can be right at once"
        )
    return cross_entropy(logits, labels.reshape(-1))


def multi_label_loss(logits: Float[Tensor, "B N"], labels: Num[Tensor, "B N"]) -> Float[Tensor, ""]:
    """The surprise at each class's own yes or no."""
    require_label_shape(labels, logits)
    require_yes_or_no(labels)
    return binary_cross_entropy(logits, labels)


def require_label_shape(labels: Tensor, logits: Tensor) -> None:
    """Refuse labels that are not one number for each score."""
    if labels.shape != logits.shape:
        raise InputError(
            f"labels have shape {tuple(labels.shape)}, but the model gives {tuple(logits.shape)}; "
            "give one number for each class of each example, or whole-number labels for one class each"
        )


def require_yes_or_no(labels: Tensor) -> None:
    """Refuse labels that lie beyond no and yes; on an accelerator, which would have to be waited for, that is left out.

    >>> import torch
    >>> require_yes_or_no(torch.tensor([0.0, 2.0]))
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: labels reach from 0.0 to 2.0, but yes is 1 and no is 0 for each class
    """
    if labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if not ((labels >= 0) & (labels <= 1)).all():
        raise InputError(f"labels reach from {labels.min()} to {labels.max()}, but yes is 1 and no is 0 for each class")


def require_numbers(labels: Tensor) -> None:
    """Refuse a whole number that could be meant as a value, and everywhere else says that a label does not count.

    >>> import torch
    >>> require_numbers(torch.tensor([-100, 5]))
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: labels hold the whole number -100, which says that a label does not count; \
give the numbers to be predicted as fractional ones, such as -100.0
    """
    if labels.is_floating_point() or labels.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if (labels == IGNORED).any():
        raise InputError(
            f"labels hold the whole number {IGNORED}, which says that a label does not count; "
            f"give the numbers to be predicted as fractional ones, such as {IGNORED}.0"
        )


PROBLEM_CHECKS: dict[str, Callable[[Tensor], None]] = {
    "regression": require_numbers,
    "single_label_classification": lambda _labels: None,
    "multi_label_classification": require_yes_or_no,
}

PROBLEM_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "regression": regression_loss,
    "single_label_classification": single_label_loss,
    "multi_label_classification": multi_label_loss,
}


class BertForTokenClassification(BertPreTrainedModel):
    """BERT with a task layer on every position.

    Source: Devlin et al. 2019, §5.3.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = classification_head(config, config.num_labels)
        self.initialise(config.initializer_range)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
        labels: Int[Tensor, "B L"] | None = None,
        **outputs: bool,
    ) -> TokenClassifierOutput:
        """Score the classes of each position; labels of −100 do not count."""
        read = self.bert(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **outputs)
        logits = self.classifier(read.last_hidden_state)
        loss = None if labels is None else cross_entropy(logits, labels)
        return TokenClassifierOutput(loss, logits, read.hidden_states, read.attentions)

    def training_losses(
        self, labels: Int[Tensor, "B L"], asked: Asked | None = None, **inputs: Any
    ) -> dict[str, LossPart]:
        """The loss, with the last block and the task layer computed only at tokens that have a class."""
        asked = asked or self.what_is_asked(labels, **inputs)
        hidden_BPD = self.bert.answers_at(asked, **inputs)
        logits = self.classifier(hidden_BPD.flatten(0, 1)[asked.labelled])
        classes = labels.gather(1, asked.positions).flatten()[asked.labelled]
        return {"loss": LossPart(cross_entropy(logits, classes, reduction="sum"), asked.counts["loss"])}

    def what_is_asked(
        self, labels: Int[Tensor, "B L"], attention_mask: Num[Tensor, "B L"] | None = None, **_: Any
    ) -> Asked:
        """What `training_losses` is to answer."""
        return Asked.of_tokens(labels, attention_mask, self.training_counts(labels))

    def training_counts(self, labels: Int[Tensor, "B L"], **_: Any) -> dict[str, int]:
        """How many tokens the loss is over."""
        return {"loss": count_of(labels)}


class BertForQuestionAnswering(BertPreTrainedModel):
    """BERT with a task layer that points at the start and the end of an answer.

    Source: Devlin et al. 2019, §4.2; the mean of the two losses, and positions beyond the text that do not count, as in
    the published code.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.answer_span = ClassificationHead(config.hidden_size, n_classes=2)
        self.initialise(config.initializer_range)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
        start_positions: Int[Tensor, "B ..."] | None = None,
        end_positions: Int[Tensor, "B ..."] | None = None,
        **outputs: bool,
    ) -> QuestionAnsweringModelOutput:
        """Score each position as the start, and as the end, of the answer."""
        read = self.bert(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **outputs)
        start, end = rearrange(self.answer_span(read.last_hidden_state), "B L ends -> ends B L")
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = (position_loss(start, start_positions) + position_loss(end, end_positions)) / 2
        return QuestionAnsweringModelOutput(loss, start, end, read.hidden_states, read.attentions)

    def training_losses(
        self, start_positions: Int[Tensor, "B ..."], end_positions: Int[Tensor, "B ..."], **inputs: Any
    ) -> dict[str, LossPart]:
        """Half the surprise at the starts, and half that at the ends, for the loss is the mean of both."""
        scored = self(**inputs)
        counts = counted_positions(start_positions, end_positions, scored.start_logits.shape[1])
        surprises = {
            "start_loss": position_loss(scored.start_logits, start_positions, reduction="sum"),
            "end_loss": position_loss(scored.end_logits, end_positions, reduction="sum"),
        }
        return {name: LossPart(surprise / 2, counts[name]) for name, surprise in surprises.items()}

    def training_counts(
        self, start_positions: Int[Tensor, "B ..."], end_positions: Int[Tensor, "B ..."], **inputs: Any
    ) -> dict[str, int]:
        """How many starts and ends lie within the text."""
        return counted_positions(start_positions, end_positions, what_is_read(**inputs).shape[1])


def counted_positions(start: Int[Tensor, "B ..."], end: Int[Tensor, "B ..."], length: int) -> dict[str, int]:
    """How many of the positions lie within a length.

    >>> import torch
    >>> counted_positions(torch.tensor([0, 7]), torch.tensor([9, 8]), length=8)
    {'start_loss': 2, 'end_loss': 0}
    """
    return {"start_loss": int((start < length).sum()), "end_loss": int((end < length).sum())}


def position_loss(
    logits: Float[Tensor, "B L"], position: Int[Tensor, "B ..."], reduction: str = "mean"
) -> Float[Tensor, ""]:
    """The surprise at a position; one beyond the text does not count."""
    length = logits.shape[1]
    return cross_entropy(logits, position.reshape(-1).clamp(0, length), ignore_index=length, reduction=reduction)


class BertForMultipleChoice(BertPreTrainedModel):
    """BERT with a task layer that scores each of several continuations; the best is the choice.

    Source: Devlin et al. 2019, §4.4.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.classifier = classification_head(config, n_classes=1)
        self.initialise(config.initializer_range)

    def forward(
        self,
        input_ids: Int[Tensor, "B C L"] | None = None,
        attention_mask: Num[Tensor, "B C L"] | None = None,
        token_type_ids: Int[Tensor, "B C L"] | None = None,
        position_ids: Int[Tensor, "B C L"] | None = None,
        inputs_embeds: Float[Tensor, "B C L D"] | None = None,
        labels: Int[Tensor, " B"] | None = None,
        **outputs: bool,
    ) -> MultipleChoiceModelOutput:
        """Score each choice; all choices of all examples are read as one batch."""
        inputs = (input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        n_choices = what_is_read(input_ids, inputs_embeds).shape[1]
        read = self.bert(*(None if tensor is None else tensor.flatten(0, 1) for tensor in inputs), **outputs)
        logits = rearrange(self.classifier(read.pooler_output), "(B C) 1 -> B C", C=n_choices)
        loss = None if labels is None else cross_entropy(logits, labels)
        return MultipleChoiceModelOutput(loss, logits, read.hidden_states, read.attentions)

    def training_losses(
        self, labels: Int[Tensor, " B"], asked: Asked | None = None, **inputs: Any
    ) -> dict[str, LossPart]:
        """The loss, with the last block computed at [CLS] of each choice alone, and nothing at padding."""
        asked = asked or self.what_is_asked(labels, **inputs)
        flat = {name: None if tensor is None else tensor.flatten(0, 1) for name, tensor in inputs.items()}
        hidden_C1D = self.bert.answers_at(asked, **flat)
        score = self.classifier(self.bert.pooler(hidden_C1D))  # type: ignore[misc]
        logits = rearrange(score, "(B C) 1 -> B C", B=len(labels))
        return {"loss": LossPart(cross_entropy(logits, labels, reduction="sum"), asked.counts["loss"])}

    def what_is_asked(
        self, labels: Int[Tensor, " B"], attention_mask: Num[Tensor, "B C L"] | None = None, **inputs: Any
    ) -> Asked:
        """What `training_losses` is to answer: one score for each choice."""
        n_examples, n_choices = what_is_read(**inputs).shape[:2]
        flat = None if attention_mask is None else attention_mask.flatten(0, 1)
        return Asked.of_rows(n_examples * n_choices, labels.device, flat, self.training_counts(labels))

    def training_counts(self, labels: Int[Tensor, " B"], **_: Any) -> dict[str, int]:
        """How many examples the loss is over."""
        return {"loss": count_of(labels)}


def what_is_read(input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, **_: Any) -> Tensor:
    """The tokens, as ids or as vectors, whichever was given.

    >>> what_is_read()
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: give either input_ids or inputs_embeds
    """
    read = input_ids if input_ids is not None else inputs_embeds
    if read is None:
        raise InputError("give either input_ids or inputs_embeds")
    return read


def classification_head(config: BertConfig, n_classes: int) -> ClassificationHead:
    """The task layer of a configuration."""
    dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
    return ClassificationHead(config.hidden_size, n_classes, dropout)
