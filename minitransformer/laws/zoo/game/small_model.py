"""A small BERT and its training, to be read in one go: it learns to guess hidden words of a made-up language."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from minitransformer.attention import scaled_dot_product_attention
from minitransformer.corpora.synthetic import SyntheticLanguage
from minitransformer.feed_forward import gelu
from minitransformer.losses import masked_lm_loss
from minitransformer.norm import layer_norm
from minitransformer.objectives.masked_lm import mask_tokens as masking
from minitransformer.optimizer import clip_global_norm
from minitransformer.positions import sinusoids
from minitransformer.schedules import linear_warmup
from minitransformer.visibility import padding as padding_visibility

SEED = 0
WIDTH, INNER_WIDTH, HEADS, BLOCKS = 48, 96, 4, 2
STEPS, WARMUP_STEPS, BATCH_SIZE = 240, 30, 32
PEAK_RATE, MAX_NORM = 5e-3, 0.5
TRAINING_ROWS, HELD_OUT_ROWS, STEPS_BETWEEN_EVALUATIONS = 1024, 128, 20

PAD, CLS, SEP, MASK = SPECIALS = (0, 1, 2, 3)
LANGUAGE = SyntheticLanguage(topics=4)
WORDS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", *LANGUAGE.vocabulary)
IDS = {word: number for number, word in enumerate(WORDS)}

# The text


def rows_of_text(count: int, seed: int) -> Tensor:
    """Rows of one to three sentences between [CLS] and [SEP], filled up with padding."""
    rows = []
    for place, document in enumerate(LANGUAGE.documents(count, seed, sentences=3)):
        words = " ".join(document[: 1 + place % 3]).split()
        rows.append(torch.tensor([CLS, *(IDS[word] for word in words), SEP]))
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def hide_words(input_ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Hide some words of each row, and label them."""
    words = torch.arange(len(SPECIALS), len(WORDS))
    return masking(input_ids, torch.isin(input_ids, words), MASK, words, generator=generator)


# The model


class Norm(nn.Module):
    """A layer norm with its learned gain and bias."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(WIDTH))
        self.bias = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position."""
        return layer_norm(x, self.gain, self.bias)


class SelfAttention(nn.Module):
    """Several heads of attention side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, may_attend: Tensor) -> Tensor:
        """Let each position read the others."""
        query, key, value = (self.split_heads(project(x)) for project in (self.query, self.key, self.value))
        read = scaled_dot_product_attention(query, key, value, may_attend)
        return self.output(read.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def split_heads(self, x: Tensor) -> Tensor:
        """From (batch, length, width) to (batch, heads, length, width of a head)."""
        return x.view(*x.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)


class Block(nn.Module):
    """Attention, then a feed-forward network; each is added to its input and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.attention_norm = SelfAttention(), Norm()
        self.inner, self.outer = nn.Linear(WIDTH, INNER_WIDTH), nn.Linear(INNER_WIDTH, WIDTH)
        self.feed_forward_norm = Norm()

    def forward(self, x: Tensor, may_attend: Tensor) -> Tensor:
        """Apply both."""
        x = self.attention_norm(x + self.attention(x, may_attend))
        return self.feed_forward_norm(x + self.outer(gelu(self.inner(x))))  # type: ignore[no-any-return]


class SmallModel(nn.Module):
    """From ids to a logit for each word at each position."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), WIDTH)
        self.input_norm = Norm()
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.output = nn.Linear(WIDTH, len(WORDS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Guess the word at each position."""
        may_attend = padding_visibility(attention_mask)
        x = self.input_norm(self.words(input_ids) + sinusoids(input_ids.shape[1], WIDTH))
        for block in self.blocks:
            x = block(x, may_attend)
        return self.output(x)  # type: ignore[no-any-return]


# The training


def loss_of(model: SmallModel, input_ids: Tensor, generator: torch.Generator) -> Tensor:
    """Hide words of some rows, and say how surprised the model is by them."""
    attention_mask = (input_ids != PAD).long()
    masked_ids, labels = hide_words(input_ids, generator)
    return masked_lm_loss(model(masked_ids, attention_mask), labels)


def make_step(model: SmallModel, optimizer: torch.optim.Optimizer, loss: Tensor, step: int) -> None:
    """Move the parameters once, at the rate of this step."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    gradients = clip_global_norm([parameter.grad for parameter in parameters if parameter.grad is not None], MAX_NORM)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    for group in optimizer.param_groups:
        group["lr"] = PEAK_RATE * linear_warmup(step, WARMUP_STEPS, STEPS)
    optimizer.step()


def training(steps: int = STEPS) -> Iterator[tuple[int, float, float | None]]:
    """Train a model, and give step by step its loss, and now and then its loss on held-out text."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = SmallModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE)
    text, held_out = rows_of_text(TRAINING_ROWS, seed=1), rows_of_text(HELD_OUT_ROWS, seed=2)
    for step in range(steps):
        first = step * BATCH_SIZE % len(text)
        loss = loss_of(model, text[first : first + BATCH_SIZE], generator)
        make_step(model, optimizer, loss, step)
        held_out_loss = None
        if step % STEPS_BETWEEN_EVALUATIONS == 0 or step == steps - 1:
            with torch.no_grad():
                held_out_loss = loss_of(model, held_out, torch.Generator().manual_seed(SEED)).item()
        yield step, loss.item(), held_out_loss


def main() -> None:
    """Train, and print how it goes."""
    print(f"A model that only counts words would reach {LANGUAGE.unigram_entropy():.2f}.")
    for step, loss, held_out_loss in training():
        if held_out_loss is not None:
            print(f"step {step:4}   loss {loss:8.3f}   on held-out text {held_out_loss:8.3f}")
        if not math.isfinite(loss):
            print(f"step {step:4}   loss {loss}: nothing more can be learned")
            break


if __name__ == "__main__":
    main()
