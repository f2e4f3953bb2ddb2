"""Ask a kept model: which word is hidden, which class is it, who reads whom."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from minitransformer import files
from minitransformer.attention import softmax
from minitransformer.errors import InputError
from minitransformer.models.bert import BertForMaskedLM, BertForSequenceClassification, BertPreTrainedModel
from minitransformer.tokenizer import Tokenizer

MASK = "[MASK]"


@dataclass(frozen=True)
class Guess:
    """An answer and how likely the model holds it to be."""

    answer: str
    probability: float


def fill_masks(model: BertForMaskedLM, tokenizer: Tokenizer, text: str, top_k: int = 5) -> list[list[Guess]]:
    """The likeliest words for each [MASK] of a text.

    Raises: InputError for a text without [MASK], or longer than the model's positions.
    """
    if MASK not in text:
        raise InputError(f"the text {text!r} holds no {MASK}; put one where a word is to be guessed")
    if top_k < 1:
        raise InputError(f"top_k={top_k} must be at least 1")
    ids = encode(model, tokenizer, text)
    with torch.no_grad():
        probability = softmax(model(ids).logits[0, ids[0] == tokenizer.mask_token_id])
    best = probability.topk(min(top_k, probability.shape[-1]))
    return [
        [Guess(token, float(share)) for token, share in zip(tokenizer.convert_ids_to_tokens(row), shares, strict=True)]
        for row, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def classify(model: BertForSequenceClassification, tokenizer: Tokenizer, text: str) -> list[Guess]:
    """The classes of a text, the likeliest first.

    Raises: InputError for a text longer than the model's positions.
    """
    with torch.no_grad():
        probability = softmax(model(encode(model, tokenizer, text)).logits[0])
    names = model.config.id2label or {}
    guesses = [Guess(names[number], float(share)) for number, share in enumerate(probability)]
    return sorted(guesses, key=lambda guess: -guess.probability)


def attention_of(
    model: BertPreTrainedModel, tokenizer: Tokenizer, text: str
) -> tuple[Float[Tensor, "blocks H L L"], list[str]]:
    """The weights of every head of every block for a text, and its tokens."""
    ids = encode(model, tokenizer, text)
    with torch.no_grad():
        attentions = model(ids, output_attentions=True).attentions
    return torch.cat(attentions), tokenizer.convert_ids_to_tokens(ids[0].tolist())


def encode(model: BertPreTrainedModel, tokenizer: Tokenizer, text: str) -> Tensor:
    """The ids of one text as a batch of one.

    Raises: InputError for an empty text, and one longer than the model's positions.
    """
    if not text.strip():
        raise InputError("the text is empty; give at least one word")
    ids = tokenizer.encode(text)
    if len(ids) > model.config.max_position_embeddings:
        raise InputError(
            f"the text has {len(ids)} tokens, but the model reads at most {model.config.max_position_embeddings}; "
            "shorten it"
        )
    return torch.tensor([ids])


def kind_of(folder: Path) -> str:
    """The class of model that a folder holds.

    Raises: InputError if the folder holds none.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the folder of a kept model")
    return str((files.read_json(folder / "config.json").get("architectures") or ["unknown"])[0])


def open_model(folder: Path, *wanted: type[BertPreTrainedModel]) -> BertPreTrainedModel:
    """Open a folder as the first wanted class whose heads it holds.

    Raises: InputError if the folder's model has other heads.
    """
    found = kind_of(folder)
    for model_class in wanted:
        if model_class.__name__ == found or (model_class is BertForMaskedLM and found == "BertForPreTraining"):
            return model_class.from_pretrained(folder)
    names = " or ".join(model_class.__name__ for model_class in wanted)
    raise InputError(f"{folder} holds a {found}, but this needs a {names}")
