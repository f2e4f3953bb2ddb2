"""BERT with the heads that it is pretrained with: masked words and next sentences."""

from functools import partial
from typing import Any

from jaxtyping import Float, Int, Num
from torch import Tensor

from minitransformer.errors import InputError
from minitransformer.heads import MaskedWordHead, NextSentenceHead
from minitransformer.losses import LossPart, cross_entropy, masked_lm_loss, next_sentence_loss
from minitransformer.models.bert.asked import Asked, count_of
from minitransformer.models.bert.encoder import BertModel, BertPreTrainedModel
from minitransformer.models.bert_config import ACTIVATIONS, BertConfig
from minitransformer.models.outputs import BertForPreTrainingOutput, MaskedLMOutput, NextSentencePredictorOutput
from minitransformer.norm import LayerNorm


class BertForPreTraining(BertPreTrainedModel):
    """BERT with the two heads that it is pretrained with.

    Source: Devlin et al. 2019, §3.1; the loss is the sum of both (§A.2).

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
        self,
        labels: Int[Tensor, "B L"],
        next_sentence_label: Int[Tensor, " B"],
        asked: Asked | None = None,
        **inputs: Any,
    ) -> dict[str, LossPart]:
        """The parts of the loss, with the last block and the words' head computed only where something is asked."""
        asked = asked or self.what_is_asked(labels, next_sentence_label=next_sentence_label, **inputs)
        hidden_BPD = self.bert.answers_at(asked, **inputs)
        follows = self.next_sentence(self.bert.pooler(hidden_BPD))  # type: ignore[misc]
        return {
            "masked_lm_loss": predicted_words_loss(self.masked_word, hidden_BPD, labels, asked),
            "next_sentence_loss": LossPart(
                cross_entropy(follows, next_sentence_label, reduction="sum"), asked.counts["next_sentence_loss"]
            ),
        }

    def what_is_asked(
        self, labels: Int[Tensor, "B L"], attention_mask: Num[Tensor, "B L"] | None = None, **others: Any
    ) -> Asked:
        """What `training_losses` is to answer."""
        return Asked.of_tokens(labels, attention_mask, self.training_counts(labels, **others))

    def training_counts(
        self, labels: Int[Tensor, "B L"], next_sentence_label: Int[Tensor, " B"], **_: Any
    ) -> dict[str, int]:
        """How many words and pairs the parts of the loss are over."""
        return {"masked_lm_loss": count_of(labels), "next_sentence_loss": count_of(next_sentence_label)}


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

    def training_losses(
        self, labels: Int[Tensor, "B L"], asked: Asked | None = None, **inputs: Any
    ) -> dict[str, LossPart]:
        """The loss, with the last block and the head computed only where a word is to be predicted."""
        asked = asked or self.what_is_asked(labels, **inputs)
        hidden_BPD = self.bert.answers_at(asked, **inputs)
        return {"masked_lm_loss": predicted_words_loss(self.masked_word, hidden_BPD, labels, asked)}

    def what_is_asked(
        self, labels: Int[Tensor, "B L"], attention_mask: Num[Tensor, "B L"] | None = None, **_: Any
    ) -> Asked:
        """What `training_losses` is to answer."""
        return Asked.of_tokens(labels, attention_mask, self.training_counts(labels))

    def training_counts(self, labels: Int[Tensor, "B L"], **_: Any) -> dict[str, int]:
        """How many words the loss is over."""
        return {"masked_lm_loss": count_of(labels)}


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

    def training_losses(
        self, labels: Int[Tensor, " B"], asked: Asked | None = None, **inputs: Any
    ) -> dict[str, LossPart]:
        """The loss, with the last block computed at [CLS] alone, and nothing at padding."""
        asked = asked or self.what_is_asked(labels, **inputs)
        hidden_B1D = self.bert.answers_at(asked, **inputs)
        follows = self.next_sentence(self.bert.pooler(hidden_B1D))  # type: ignore[misc]
        return {"loss": LossPart(cross_entropy(follows, labels, reduction="sum"), asked.counts["loss"])}

    def what_is_asked(
        self, labels: Int[Tensor, " B"], attention_mask: Num[Tensor, "B L"] | None = None, **_: Any
    ) -> Asked:
        """What `training_losses` is to answer."""
        return Asked.of_rows(len(labels), labels.device, attention_mask, self.training_counts(labels))

    def training_counts(self, labels: Int[Tensor, " B"], **_: Any) -> dict[str, int]:
        """How many pairs the loss is over."""
        return {"loss": count_of(labels)}


def masked_word_head(config: BertConfig, bert: BertModel) -> MaskedWordHead:
    """The masked-word head of a configuration, tied to the word embeddings unless told otherwise."""
    return MaskedWordHead(
        config.hidden_size,
        words=bert.embeddings.word if config.tie_word_embeddings else None,
        vocab_size=config.vocab_size,
        activation=ACTIVATIONS[config.hidden_act],
        norm=partial(LayerNorm, eps=config.layer_norm_eps),
    )


def predicted_words_loss(
    head: MaskedWordHead, hidden: Float[Tensor, "B P D"], labels: Int[Tensor, "B L"], asked: Asked
) -> LossPart:
    """The surprise at the words to be predicted; the other positions are not even scored."""
    words = labels.gather(1, asked.positions).flatten()[asked.labelled]
    surprise = head.surprise(hidden.flatten(0, 1)[asked.labelled], words)
    return LossPart(surprise.sum(), asked.counts["masked_lm_loss"])
