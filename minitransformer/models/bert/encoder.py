"""The encoder of BERT, and what all its models share."""

from functools import partial

from jaxtyping import Float, Int, Num
from torch import Tensor

from minitransformer.blocks import Encoder, PostNorm
from minitransformer.embeddings import Embeddings
from minitransformer.errors import InputError
from minitransformer.heads import Pooler
from minitransformer.models.bert.asked import Asked, rows_of, visible
from minitransformer.models.bert_config import ACTIVATIONS, BertConfig
from minitransformer.models.outputs import BaseModelOutputWithPooling
from minitransformer.norm import LayerNorm
from minitransformer.pretrained import BERT_NAMES, BERT_SYNONYMS, PretrainedModel
from minitransformer.rows import Rows
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
        skip_padding: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Read the tokens; padding, where `attention_mask` is 0, is read by nobody.

        With `skip_padding` nothing is computed for it either, and zeros stand in its place; at tokens nothing changes.
        What else to give, attentions and hidden states, the configuration says where the call does not.
        """
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if skip_padding and not (output_attentions or output_hidden_states):
            rows = rows_of(attention_mask)
            x = self.embed(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, rows)
            x = self.read_tokens(x, attention_mask, rows)
            return BaseModelOutputWithPooling(x, None if self.pooler is None else self.pooler(x))
        x = self.embed(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds)
        may_attend = None if attention_mask is None else padding(attention_mask)
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

    def read_tokens(
        self, x: Float[Tensor, "_ _ D"], attention_mask: Num[Tensor, "B L"] | None, rows: Rows | None
    ) -> Float[Tensor, "B L D"]:
        """The last hidden state at tokens, and zeros at padding."""
        x = self.encoder(x, visible(attention_mask), rows)
        if rows is not None:
            x = rows.unpack(x)
        return x if attention_mask is None else x.masked_fill((attention_mask == 0)[..., None], 0.0)

    def answers_at(
        self,
        asked: Asked,
        input_ids: Int[Tensor, "B L"] | None = None,
        attention_mask: Num[Tensor, "B L"] | None = None,
        token_type_ids: Int[Tensor, "#B L"] | None = None,
        position_ids: Int[Tensor, "#B L"] | None = None,
        inputs_embeds: Float[Tensor, "B L D"] | None = None,
    ) -> Float[Tensor, "B P D"]:
        """The last hidden state at the positions that are asked, for the price of a last block at these alone.

        Where `asked` has rows, nothing is computed for padding, and what is given at a position of it means nothing.
        """
        x = self.embed(input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, asked.rows)
        return self.encoder.answers_at(asked.positions, x, asked.may_attend, asked.rows)

    def embed(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        rows: Rows | None = None,
    ) -> Float[Tensor, "_ _ D"]:
        """The input of the first block, packed if there are rows."""
        given = input_ids if input_ids is not None else inputs_embeds
        if attention_mask is not None and given is not None:
            require_mask_shape(attention_mask, given)
        if rows is not None:
            if position_ids is None:  # in a row they count from 0, wherever it begins among the tokens of all
                position_ids = self.embeddings.count_positions(rows.is_token.shape[1], rows.place.device)
            given_all = (input_ids, token_type_ids, position_ids, inputs_embeds)
            input_ids, token_type_ids, position_ids, inputs_embeds = map(rows.pack_if_given, given_all)
        return self.embeddings(input_ids, token_type_ids, position_ids, inputs_embeds)  # type: ignore[no-any-return]


def require_mask_shape(attention_mask: Tensor, given: Tensor) -> None:
    """Refuse an attention mask that does not say of each token whether it is one."""
    if attention_mask.shape != given.shape[:2]:
        raise InputError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, but the input has {tuple(given.shape[:2])}; "
            "give one 1 or 0 for each token"
        )
