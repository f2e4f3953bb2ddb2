"""Tokens and their ids: which stands for which, and which have a role of their own."""

from collections.abc import Iterable
from typing import Any

import tokenizers

from minitransformer.errors import InputError
from minitransformer.wordpiece import CONTINUES_WORD, SPECIALS


class Vocabulary:
    """The tokens of a tokenizer, each with its id, the special ones also by their role.

    Raises: InputError if a special token is missing.
    """

    def __init__(self, backend: tokenizers.Tokenizer, special_tokens: dict[str, str] | None = None) -> None:
        self.backend = backend
        self.special_tokens = SPECIALS | (special_tokens or {})
        vocabulary = backend.get_vocab(with_added_tokens=True)
        missing = [token for token in self.special_tokens.values() if token not in vocabulary]
        if missing:
            raise InputError(f"the vocabulary lacks the special tokens {missing}; add them, or name the ones it has")
        self.id_of_role = {role: vocabulary[token] for role, token in self.special_tokens.items()}

    @property
    def tokens(self) -> list[str]:
        """All tokens in the order of their ids."""
        vocabulary = self.backend.get_vocab(with_added_tokens=True)
        return sorted(vocabulary, key=vocabulary.__getitem__)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def pad_token(self) -> str:
        """The token that fills a row up to the batch's length."""
        return self.special_tokens["pad_token"]

    @property
    def unk_token(self) -> str:
        """The token that stands for a word the vocabulary can't spell."""
        return self.special_tokens["unk_token"]

    @property
    def cls_token(self) -> str:
        """The token that begins every row."""
        return self.special_tokens["cls_token"]

    @property
    def sep_token(self) -> str:
        """The token that ends every segment."""
        return self.special_tokens["sep_token"]

    @property
    def mask_token(self) -> str:
        """The token that hides a word."""
        return self.special_tokens["mask_token"]

    @property
    def pad_token_id(self) -> int:
        """The id of [PAD], which fills a row up to the batch's length."""
        return self.id_of_role["pad_token"]

    @property
    def unk_token_id(self) -> int:
        """The id of [UNK], which stands for a word the vocabulary can't spell."""
        return self.id_of_role["unk_token"]

    @property
    def cls_token_id(self) -> int:
        """The id of [CLS], which begins every row."""
        return self.id_of_role["cls_token"]

    @property
    def sep_token_id(self) -> int:
        """The id of [SEP], which ends every segment."""
        return self.id_of_role["sep_token"]

    @property
    def mask_token_id(self) -> int:
        """The id of [MASK], which hides a word."""
        return self.id_of_role["mask_token"]

    @property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of all special tokens, ascending: those named by a role, and any other the file marks as special."""
        marked = {number for number, token in self.backend.get_added_tokens_decoder().items() if token.special}
        return tuple(sorted(marked | set(self.id_of_role.values())))

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of all special tokens, under Hugging Face's name."""
        return list(self.special_ids)

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens."""
        return [self.tokens[number] for number in self.special_ids]

    def get_vocab(self) -> dict[str, int]:
        """The id of each token."""
        return dict(self.backend.get_vocab(with_added_tokens=True))

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens a text gets, or a pair."""
        return int(self.backend.num_special_tokens_to_add(pair))

    @property
    def continuation_ids(self) -> tuple[int, ...]:
        """The ids of pieces that continue a word.

        >>> from minitransformer.tokenizer import Tokenizer
        >>> Tokenizer.from_vocabulary(["play", "##ing"]).continuation_ids
        (6,)
        """
        return tuple(number for number, token in enumerate(self.tokens) if token.startswith(CONTINUES_WORD))

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Name each id, or one alone.

        Raises: InputError if an id is not in the vocabulary.
        """
        if isinstance(ids, int):
            return self.convert_ids_to_tokens([ids])[0]
        if skip_special_tokens:
            ids = [number for number in ids if int(number) not in self.special_ids]
        named = [(int(number), self.backend.id_to_token(int(number))) for number in ids]
        for number, token in named:
            if token is None:
                raise InputError(f"id {number} names no token; ids must lie between 0 and {self.vocab_size - 1}")
        return [str(token) for _, token in named]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """Number each token, or one alone; one that isn't in the vocabulary gets the id of [UNK]."""
        if isinstance(tokens, str):
            return self.convert_tokens_to_ids([tokens])[0]
        numbers = (self.backend.token_to_id(token) for token in tokens)
        return [self.unk_token_id if number is None else int(number) for number in numbers]
