"""The encoder of BERT, and what all its models share."""

from functools import partial

from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from minitransformer.blocks import Encoder, PostNorm
from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.heads import Pooler
from minitransformer.models.bert_config import ACTIVATIONS, BertConfig
from minitransformer.models.outputs import BaseModelOutputWithPooling
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
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Read the tokens; padding, where `attention_mask` is 0, is read by nobody.

        What else to give, attentions and hidden states, the configuration says where the call does not.
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
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
