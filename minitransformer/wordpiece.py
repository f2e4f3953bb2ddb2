"""WordPiece learned from a corpus: words counted, characters kept, the most frequent pairs of pieces merged."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from minitransformer.errors import InputError

# Role and text of the special tokens, in the order of the ids that a trained tokenizer gives them.
SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
CONTINUES_WORD = "##"
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
CHUNK = re.compile(rf"[{CHINESE}]|[^\s{CHINESE}]+")  # never cuts through a word, whatever the pre-tokenizer's details


def learn_vocabulary(sentences: Iterable[str], vocab_size: int, lowercase: bool, progress: bool) -> list[str]:
    """Learn the pieces of a vocabulary, the special tokens first, in one pass over the sentences.

    Memory grows with the different words, not with the text. The same text gives the same vocabulary, always: the
    `tokenizers` library numbers the characters in the order of a hash map, which differs from run to run and decides
    between equally frequent pairs, so we number the characters for it. If there is no room for all characters, a word
    with a rare one is left out of the count, and will be [UNK].

    Raises: InputError if `vocab_size` leaves no room beside the special tokens, or there is no text.

    >>> learn_vocabulary(["be be"], vocab_size=30, lowercase=True, progress=False)[5:]
    ['##e', 'b', 'e', 'be']
    """
    if vocab_size <= len(SPECIALS):
        raise InputError(f"vocab_size={vocab_size} must be greater than the {len(SPECIALS)} special tokens; try 4096")
    words = count_words(sentences, lowercase)
    if not words:
        raise InputError("the documents hold no text to learn a vocabulary from; check the files")
    pieces = [*SPECIALS.values(), *single_characters(words, room=vocab_size - len(SPECIALS))]
    known = set(pieces)
    spelled = {word: count for word, count in words.items() if known.issuperset(first_spelling(word))}
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=pieces,  # not special at all: this is how the library is told their numbers
        continuing_subword_prefix=CONTINUES_WORD,
        show_progress=progress,
    )
    backend = build_backend({}, lowercase)
    backend.train_from_iterator((f"{word} " * count for word, count in spelled.items()), trainer)
    vocabulary = backend.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__)


def count_words(sentences: Iterable[str], lowercase: bool) -> Counter[str]:
    """Count the words as BERT splits them: at spaces, around punctuation, and around each Chinese character.

    >>> sorted(count_words(["Sea, sea!"], lowercase=True).items())
    [('!', 1), (',', 1), ('sea', 2)]
    """
    chunks: Counter[str] = Counter()
    for sentence in sentences:
        chunks.update(CHUNK.findall(sentence))
    backend = build_backend({}, lowercase)
    words: Counter[str] = Counter()
    for chunk, count in chunks.items():
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(chunk)):
            words[word] += count
    return words


def first_spelling(word: str) -> list[str]:
    """Spell a word in single characters, all but the first marked as continuing it.

    >>> first_spelling("sea")
    ['s', '##e', '##a']
    """
    return [word[0], *(CONTINUES_WORD + character for character in word[1:])]


def single_characters(words: Counter[str], room: int) -> list[str]:
    """List the characters that words are spelled from, the most frequent ones as far as there is room.

    A character that continues a word somewhere is two pieces, `a` and `##a`: the library merges only such pairs.

    >>> single_characters(Counter({"sea": 3, "ox": 1}), room=5)
    ['##a', '##e', 'a', 'e', 's']
    """
    counts: Counter[str] = Counter()
    continuing: set[str] = set()
    for word, count in words.items():
        for character in word:
            counts[character] += count
        continuing.update(word[1:])
    pieces: list[str] = []
    for character in sorted(counts, key=lambda character: (-counts[character], character)):
        forms = [character, CONTINUES_WORD + character] if character in continuing else [character]
        if len(pieces) + len(forms) <= room:
            pieces += forms
    return sorted(pieces)


def build_normalizer(lowercase: bool) -> normalizers.Normalizer:
    """BERT's normaliser: control characters gone, Chinese characters apart, and capitals and accents gone if asked for.

    >>> build_normalizer(lowercase=True).normalize_str("Café")
    'cafe'
    """
    return normalizers.BertNormalizer(lowercase=lowercase, handle_chinese_chars=True)


def build_backend(
    vocabulary: dict[str, int], lowercase: bool, specials: Mapping[str, str] = SPECIALS
) -> tokenizers.Tokenizer:
    """Put together BERT's normaliser, word splitter, pieces and [CLS] A [SEP] B [SEP] around a vocabulary."""
    unknown = specials["unk_token"]
    backend = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=unknown, continuing_subword_prefix=CONTINUES_WORD)
    )
    backend.normalizer = build_normalizer(lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix=CONTINUES_WORD)
    first, last = specials["cls_token"], specials["sep_token"]
    if first in vocabulary and last in vocabulary:
        backend.add_special_tokens([token for token in specials.values() if token in vocabulary])
        backend.post_processor = processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} $B:1 {last}:1",
            special_tokens=[(token, vocabulary[token]) for token in (first, last)],
        )
    return backend
