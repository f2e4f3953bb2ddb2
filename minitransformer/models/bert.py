"""BERT: an encoder that reads both ways, pretrained on masked words and next sentences (Devlin et al. 2019)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from einops import rearrange
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from minitransformer.blocks import Encoder, PostNorm
from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.heads import ClassificationHead, MaskedWordHead, NextSentenceHead, Pooler
from minitransformer.losses import (
    IGNORED,
    LossPart,
    binary_cross_entropy,
    cross_entropy,
    masked_lm_loss,
    mean_squared_error,
    next_sentence_loss,
)
from minitransformer.models.bert_config import ACTIVATIONS, BertConfig
from minitransformer.models.outputs import (
    BaseModelOutputWithPooling,
    BertForPreTrainingOutput,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    NextSentencePredictorOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from minitransformer.norm import LayerNorm
from minitransformer.pretrained import BERT_NAMES, BERT_SYNONYMS, PretrainedModel
from minitransformer.visibility import padding


class BertPreTrainedModel(PretrainedModel):
    """What all BERT models share: where their parameters are kept, and how they begin."""

    config_class = BertConfig
    base_prefix = "bert"
    names = BERT_NAMES
    synonyms = BERT_SYNONYMS
    new_if_missing = ("pooler.", "cls.", "classifier.", "qa_outputs.")

    config: BertConfig


class BertModel(BertPreTrainedModel):
    """The encoder itself: embeddings, a stack of blocks, and one vector for the whole.

    Source: Devlin et al. 2019, §3.

    >>> import torch
    >>> model = BertModel(BertConfig.preset("tiny", vocab_size=7))
    >>> model(torch.tensor([[1, 2, 3]])).last_hidden_state.shape
    torch.Size([1, 3, 128])
    """

    def __init__(self, config: BertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config)
        norm = partial(LayerNorm, eps=config.layer_norm_eps)
        self.embeddings = Embeddings(
            vocab_size=config.vocab_size,
            max_positions=config.max_position_embeddings,
            n_segments=config.type_vocab_size,
            d_model=config.hidden_size,
            dropout=config.hidden_dropout_prob,
            norm=norm,
            padding_id=config.pad_token_id,
        )
        self.encoder = Encoder(
            n_blocks=config.num_hidden_layers,
            d_model=config.hidden_size,
            n_heads=config.num_attention_heads,
            d_ff=config.intermediate_size,
            dropout=config.hidden_dropout_prob,
            attention_dropout=config.attention_probs_dropout_prob,
            activation=ACTIVATIONS[config.hidden_act],
            residual=PostNorm,
            norm=norm,
        )
        self.pooler = Pooler(config.hidden_size) if add_pooling_layer else None
        self.initialise(config.initializer_range)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Read the tokens; padding, where `attention_mask` is 0, is read by nobody."""
        x, may_attend = self.embed(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        hidden_states = tuple(self.encoder.hidden_states(x, may_attend))
        attentions = None
        if output_attentions:
            pairs = zip(self.encoder.blocks, hidden_states, strict=False)
            attentions = tuple(block.attention_weights(hidden, may_attend) for block, hidden in pairs)  # type: ignore[operator]
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_states[-1],
            pooler_output=None if self.pooler is None else self.pooler(hidden_states[-1]),
            hidden_states=hidden_states if output_hidden_states else None,
            attentions=attentions,
        )

    def answers_at(
        self,
        positions: Int[Tensor, "B P"],
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
    ) -> Float[Tensor, "B P D"]:
        """The last hidden state at some positions, for the price of a last block at these alone."""
        x, may_attend = self.embed(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        return self.encoder.answers_at(positions, x, may_attend)

    def embed(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
    ) -> tuple[Float[Tensor, "B L D"], Bool[Tensor, "B 1 1 L"] | None]:
        """The input of the first block, and which of its positions may be read."""
        x = self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)
        require_mask_shape(attention_mask, x)
        return x, None if attention_mask is None else padding(attention_mask)


def require_mask_shape(attention_mask: Tensor | None, x: Tensor) -> None:
    """Refuse an attention mask that does not say of each token whether it is one."""
    if attention_mask is not None and attention_mask.shape != x.shape[:2]:
        raise InputError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but the input has {tuple(x.shape[:2])}; "
            "give one 1 or 0 for each token"
        )


class BertForPreTraining(BertPreTrainedModel):
    """BERT with the two heads that it is pretrained with.

    Source: Devlin et al. 2019, §3.1; the loss is the sum of both (§A.2).

    >>> import torch
    >>> BertForPreTraining(BertConfig.preset("tiny", vocab_size=7))(torch.tensor([[1, 2, 3]])).prediction_logits.shape
    torch.Size([1, 3, 7])
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.masked_word = masked_word_head(config, self.bert)
        self.next_sentence = NextSentenceHead(config.hidden_size)
        self.initialise(config.initializer_range)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
        labels: Int[Tensor, "B L"] | None = None,
        next_sentence_label: Int[Tensor, " B"] | None = None,
        **outputs: bool,
    ) -> BertForPreTrainingOutput:
        """Score every word at every position, and whether the second segment is the next one (label 0)."""
        read = self.bert(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **outputs)
        words = self.masked_word(read.last_hidden_state)
        follows = self.next_sentence(read.pooler_output)
        loss = None
        if labels is not None and next_sentence_label is not None:
            loss = masked_lm_loss(words, labels) + next_sentence_loss(follows, next_sentence_label)
        elif labels is not None or next_sentence_label is not None:
            raise InputError("give both labels and next_sentence_label: the pretraining loss is the sum of the two")
        return BertForPreTrainingOutput(loss, words, follows, read.hidden_states, read.attentions)

    def training_losses(
        self, labels: Int[Tensor, "B L"], next_sentence_label: Int[Tensor, " B"], **inputs: Any
    ) -> dict[str, LossPart]:
        """The parts of the loss, with the last block and the words' head computed only where something is asked."""
        positions = asked_positions(labels)
        hidden_BPD = self.bert.answers_at(positions, **inputs)
        follows = self.next_sentence(self.bert.pooler(hidden_BPD))  # type: ignore[misc]
        return {
            "masked_lm_loss": predicted_words_loss(self.masked_word, hidden_BPD, labels.gather(1, positions)),
            "next_sentence_loss": LossPart(cross_entropy(follows, next_sentence_label, reduction="sum"), len(follows)),
        }

    def training_counts(
        self, labels: Int[Tensor, "B L"], next_sentence_label: Int[Tensor, " B"], **_: Any
    ) -> dict[str, int]:
        """How many words and pairs the parts of the loss are over."""
        return {"masked_lm_loss": int((labels != IGNORED).sum()), "next_sentence_loss": len(next_sentence_label)}


class BertForMaskedLM(BertPreTrainedModel):
    """BERT with the head that fills in masked words.

    Source: Devlin et al. 2019, §3.1, Task 1.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.masked_word = masked_word_head(config, self.bert)
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
    ) -> MaskedLMOutput:
        """Score every word at every position."""
        read = self.bert(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **outputs)
        words = self.masked_word(read.last_hidden_state)
        loss = None if labels is None else masked_lm_loss(words, labels)
        return MaskedLMOutput(loss, words, read.hidden_states, read.attentions)

    def training_losses(self, labels: Int[Tensor, "B L"], **inputs: Any) -> dict[str, LossPart]:
        """The loss, with the last block and the head computed only where a word is to be predicted."""
        positions = asked_positions(labels)
        hidden_BPD = self.bert.answers_at(positions, **inputs)
        return {"masked_lm_loss": predicted_words_loss(self.masked_word, hidden_BPD, labels.gather(1, positions))}

    def training_counts(self, labels: Int[Tensor, "B L"], **_: Any) -> dict[str, int]:
        """How many words the loss is over."""
        return {"masked_lm_loss": int((labels != IGNORED).sum())}


class BertForNextSentencePrediction(BertPreTrainedModel):
    """BERT with the head that tells whether the second segment follows the first: 0 = it does.

    Source: Devlin et al. 2019, §3.1, Task 2.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.next_sentence = NextSentenceHead(config.hidden_size)
        self.initialise(config.initializer_range)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
        labels: Int[Tensor, " B"] | None = None,
        **outputs: bool,
    ) -> NextSentencePredictorOutput:
        """Score "is next" and "is not next"."""
        read = self.bert(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, **outputs)
        follows = self.next_sentence(read.pooler_output)
        loss = None if labels is None else next_sentence_loss(follows, labels)
        return NextSentencePredictorOutput(loss, follows, read.hidden_states, read.attentions)


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
        labels: Num[Tensor, "B *N"] | None = None,  # noqa: F821 - a star makes it an expression
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


def problem_type(num_labels: int, labels: Tensor) -> str:
    """What kind of task the labels belong to.

    >>> import torch
    >>> problem_type(3, torch.tensor([2, 0]))
    'single_label_classification'
    """
    if num_labels == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def regression_loss(
    logits: Float[Tensor, "B N"],
    labels: Num[Tensor, "B *N"],  # noqa: F821 - a star makes it an expression
) -> Float[Tensor, ""]:
    """The squared error of each predicted number."""
    require_label_shape(labels.reshape(len(labels), -1), logits)
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
    if not ((labels >= 0) & (labels <= 1)).all():
        raise InputError(f"labels reach from {labels.min()} to {labels.max()}, but yes is 1 and no is 0 for each class")
    return binary_cross_entropy(logits, labels)


def require_label_shape(labels: Tensor, logits: Tensor) -> None:
    """Refuse labels that are not one number for each score."""
    if labels.shape != logits.shape:
        raise InputError(
            f"labels have shape {tuple(labels.shape)}, but the model gives {tuple(logits.shape)}; "
            "give one number for each class of each example, or whole-number labels for one class each"
        )


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


def position_loss(logits: Float[Tensor, "B L"], position: Int[Tensor, "B ..."]) -> Float[Tensor, ""]:
    """The surprise at a position; one beyond the text does not count."""
    length = logits.shape[1]
    return cross_entropy(logits, position.reshape(-1).clamp(0, length), ignore_index=length)


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
        given = next((tensor for tensor in inputs if tensor is not None), None)
        if given is None:
            raise InputError("give either input_ids or inputs_embeds")
        read = self.bert(*(None if tensor is None else tensor.flatten(0, 1) for tensor in inputs), **outputs)
        logits = rearrange(self.classifier(read.pooler_output), "(B C) 1 -> B C", C=given.shape[1])
        loss = None if labels is None else cross_entropy(logits, labels)
        return MultipleChoiceModelOutput(loss, logits, read.hidden_states, read.attentions)


def masked_word_head(config: BertConfig, bert: BertModel) -> MaskedWordHead:
    """The masked-word head of a configuration, tied to the word embeddings unless told otherwise."""
    return MaskedWordHead(
        config.hidden_size,
        words=bert.embeddings.word if config.tie_word_embeddings else None,
        vocab_size=config.vocab_size,
        activation=ACTIVATIONS[config.hidden_act],
        norm=partial(LayerNorm, eps=config.layer_norm_eps),
    )


def asked_positions(labels: Int[Tensor, "B L"]) -> Int[Tensor, "B P"]:
    """Of each row the first position, which is [CLS], then those with a label; shorter rows are filled with others.

    >>> import torch
    >>> asked_positions(torch.tensor([[-100, -100, 7, 8], [-100, 9, -100, -100]])).tolist()
    [[0, 2, 3], [0, 1, 2]]
    """
    is_asked = labels != IGNORED
    is_asked[:, 0] = True
    in_order = is_asked.int().argsort(dim=1, descending=True, stable=True)
    return in_order[:, : int(is_asked.sum(dim=1).max())]


def predicted_words_loss(head: MaskedWordHead, hidden: Float[Tensor, "B P D"], labels: Int[Tensor, "B P"]) -> LossPart:
    """The surprise at the words to be predicted; the other positions are not even scored."""
    predicted = labels != IGNORED
    loss = cross_entropy(head(hidden[predicted]), labels[predicted], reduction="sum")
    return LossPart(loss, int(predicted.sum()))


def classification_head(config: BertConfig, n_classes: int) -> ClassificationHead:
    """The task layer of a configuration."""
    dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
    return ClassificationHead(config.hidden_size, n_classes, dropout)
