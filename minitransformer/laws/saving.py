"""Laws of saving: what comes back from a folder is the model that was put there."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from hypothesis import strategies as st

from minitransformer.laws.cases import randomise, whole_numbers
from minitransformer.laws.law import law
from minitransformer.laws.tolerances import assert_same
from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig

Function = Callable[..., Any]
VOCAB_SIZE, LENGTH = 7, 5


@dataclass(frozen=True)
class SavingCase:
    """A small BERT, whose decoder is its word table or a table of its own."""

    n_blocks: int
    tied: bool
    training: bool
    seed: int

    @property
    def model(self) -> BertForPreTraining:
        """The model, anew whenever it is asked for."""
        config = BertConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=4,
            num_hidden_layers=self.n_blocks,
            num_attention_heads=2,
            intermediate_size=6,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.3,
            layer_norm_eps=1e-6,
            tie_word_embeddings=self.tied,
        )
        return randomise(BertForPreTraining(config), self.seed, torch.float32).train(self.training)

    @cached_property
    def input_ids(self) -> torch.Tensor:
        """Two texts."""
        return whole_numbers(self.seed, "input_ids", 0, VOCAB_SIZE, 2, LENGTH)


def saving_cases(tied: tuple[bool, ...] = (True, False)) -> st.SearchStrategy[SavingCase]:
    """Models, drawn from few: each is written to a disk."""
    drawn = (st.sampled_from(values) for values in ((1, 2), tied, (False, True), (0, 1, 2)))
    return st.builds(SavingCase, *drawn)


@law("saving", given=saving_cases(), equations=())
def every_tensor_comes_back(saving: Function, case: SavingCase) -> None:
    """Every tensor comes back under its name, in its shape and type, the same bit for bit.

    Kills: numbers kept in half the bits; a part that is left out and drawn anew; matrices transposed; another model.
    Hint: Compare the tensors before and after, one name at a time. Is any missing, or rounded?
    """
    found, wanted = saving(case.model).state_dict(), case.model.state_dict()
    assert found.keys() == wanted.keys(), f"only one of the two models has {sorted(found.keys() ^ wanted.keys())}"
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype, f"{name} should be {tensor.dtype}, but is {found[name].dtype}"
        assert_same(found[name], tensor, name)


@law("saving", given=saving_cases(tied=(True,)), equations=())
def what_is_tied_stays_tied(saving: Function, case: SavingCase) -> None:
    """The decoder of a model that is tied is the word table itself, also when it comes back.

    Kills: a tie that is cut; two tables that begin alike and learn apart.
    Hint: Change one number of the word table of the model that came back. Does its decoder know?
    """
    copy = saving(case.model)
    assert copy.masked_word.decoder.weight is copy.bert.embeddings.word.weight, (
        "the decoder should be the word table, but it is a table of its own"
    )


@law("saving", given=saving_cases(tied=(False,)), equations=())
def what_is_apart_stays_apart(saving: Function, case: SavingCase) -> None:
    """The decoder of a model that is not tied comes back as a table of its own.

    Kills: a tie that is made on loading; one of two tables that is lost.
    Hint: Not every model is tied. What says so, and who asks it when the model comes back?
    """
    copy = saving(case.model)
    assert copy.masked_word.decoder.weight is not copy.bert.embeddings.word.weight, (
        "the decoder should be a table of its own, but it is the word table"
    )
    assert_same(copy.masked_word.decoder.weight, case.model.masked_word.decoder.weight, "the decoder")


@law("saving", given=saving_cases(), equations=())
def what_comes_back_answers_the_same(saving: Function, case: SavingCase) -> None:
    """When both evaluate, the model that came back gives the same answers, bit for bit.

    Kills: another eps than the one it was built with; numbers kept in half the bits; matrices transposed.
    Hint: All numbers are the same, and yet the answer is not? What else does a model consist of?
    """
    wanted = case.model.eval()(case.input_ids)
    found = saving(case.model).eval()(case.input_ids)
    assert_same(found.prediction_logits, wanted.prediction_logits, "the scores of words")
    assert_same(found.seq_relationship_logits, wanted.seq_relationship_logits, "the scores of the next sentence")


@law("saving", given=saving_cases(), equations=())
def what_comes_back_shares_no_memory(saving: Function, case: SavingCase) -> None:
    """Whatever is done to the original afterwards, the model that came back does not change.

    Kills: the original given back; tensors that both models share.
    Hint: Set all numbers of the original to 0, and look at the other one again.
    """
    model = case.model
    copy = saving(model)
    before = {name: tensor.clone() for name, tensor in copy.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for name, tensor in before.items():
        assert_same(copy.state_dict()[name], tensor, f"after the original was set to 0, {name}")


@law("saving", given=saving_cases(), equations=())
def what_is_saved_stays_as_it_was(saving: Function, case: SavingCase) -> None:
    """Saving leaves the original alone: its numbers, their type, whether they learn, and whether it trains.

    Kills: a model set to evaluation, frozen or rounded to be saved, and never set back.
    Hint: A checkpoint is written in the middle of a training. Would the training notice?
    """
    model, before = case.model, case.model
    saving(model)
    assert model.training is before.training, f"the original's training was {before.training} before it was saved"
    for (name, now), then in zip(model.named_parameters(), before.parameters(), strict=True):
        assert now.dtype == then.dtype, f"{name} of the original should be {then.dtype}, but is {now.dtype} now"
        assert now.requires_grad, f"{name} of the original should still learn"
        assert_same(now, then, f"{name} of the original")


@law("saving", given=saving_cases(), equations=())
def what_comes_back_can_learn(saving: Function, case: SavingCase) -> None:
    """Every parameter that comes back is a parameter that learns, and the configuration is the one it was built from.

    Kills: tensors without gradients; parts that are buffers; a configuration of default values.
    Hint: Ask each parameter whether it requires a gradient. Under which context did you load it?
    """
    copy = saving(case.model)
    learning = {name for name, parameter in copy.named_parameters() if parameter.requires_grad}
    for name, _ in case.model.named_parameters():
        assert name in learning, f"{name} should learn, but requires no gradient"
    assert copy.config.hidden_dropout_prob == case.model.config.hidden_dropout_prob, "the dropout should come back too"
