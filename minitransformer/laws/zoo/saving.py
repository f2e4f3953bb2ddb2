"""Mutants of saving: each gives back what a wrong way to a folder and from it would give."""

import torch
from torch import nn

from minitransformer.laws.zoo.mutant import mutant
from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig


def with_parameters_of(model: BertForPreTraining, config: BertConfig | None = None) -> BertForPreTraining:
    """A new model with all numbers of another one."""
    copy = BertForPreTraining(config or model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


@mutant("saving", symptom="The loaded model is a little worse than the trained one, by some hundredths of a percent.")
def half_the_bits(model: BertForPreTraining) -> BertForPreTraining:
    """The numbers are kept in float16, and come back rounded to three digits."""
    copy = with_parameters_of(model)
    return copy.half().float()


@mutant("saving", symptom="Loading takes twice the memory, and no kernel is as fast as before.", difficulty="easy")
def twice_the_bits(model: BertForPreTraining) -> BertForPreTraining:
    """The numbers come back in float64, as NumPy keeps them."""
    return with_parameters_of(model).double()


@mutant(
    "saving",
    symptom="Nothing at first; trained on, the word table and the decoder drift apart and the file grows by a table.",
    source="rasbt/LLMs-from-scratch#947",
    difficulty="hard",
)
def tie_cut(model: BertForPreTraining) -> BertForPreTraining:
    """The decoder comes back as a copy of the word table, and no longer as the table itself."""
    copy = with_parameters_of(model)
    copy.masked_word.decoder.weight = nn.Parameter(copy.masked_word.decoder.weight.detach().clone())
    return copy


@mutant("saving", symptom="A model with a decoder of its own is far worse after loading.", difficulty="medium")
def tied_whatever_it_was(model: BertForPreTraining) -> BertForPreTraining:
    """The decoder is tied to the word table on loading, whether it was before or not."""
    copy = with_parameters_of(model)
    copy.masked_word.decoder.weight = copy.bert.embeddings.word.weight
    return copy


@mutant("saving", symptom="Masked words are guessed as well as before, but the next sentence by a coin.")
def head_drawn_anew(model: BertForPreTraining) -> BertForPreTraining:
    """The head of the next sentence is not in the file; a warning that nobody reads says that it was drawn anew."""
    copy = BertForPreTraining(model.config)
    kept = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("next_sentence")}
    copy.load_state_dict(kept, strict=False)
    return copy.eval()


@mutant("saving", symptom="The loaded model answers nonsense, though every shape is right.", difficulty="medium")
@torch.no_grad()
def square_matrices_transposed(model: BertForPreTraining) -> BertForPreTraining:
    """Matrices are written as TensorFlow has them, and the square ones are not turned back."""
    copy = with_parameters_of(model)
    for module in copy.modules():
        if isinstance(module, nn.Linear) and module.in_features == module.out_features:
            module.weight.copy_(module.weight.T.clone())
    return copy


@mutant("saving", symptom="Every test of saving passes, and the folder is empty.", difficulty="easy")
def original_given_back(model: BertForPreTraining) -> BertForPreTraining:
    """What is given back is the model itself."""
    return model


@mutant(
    "saving",
    symptom='"The best model so far" is always the last one: it goes on learning in memory.',
    difficulty="hard",
)
def memory_shared(model: BertForPreTraining) -> BertForPreTraining:
    """The state is taken by reference: both models compute with the same tensors."""
    copy = BertForPreTraining(model.config)
    for name, parameter in copy.named_parameters():
        parameter.data = model.get_parameter(name).data
    return copy.eval()


@mutant("saving", symptom="Fine-tuning a loaded model changes nothing but its new head.", difficulty="easy")
def frozen(model: BertForPreTraining) -> BertForPreTraining:
    """What comes back does not learn."""
    return with_parameters_of(model).requires_grad_(False)


@mutant("saving", symptom="The loaded model differs in the third digit, and nobody finds the tensor that does.")
def another_eps(model: BertForPreTraining) -> BertForPreTraining:
    """The configuration is not kept: the model is built with the default eps of its norms."""
    entries = {**model.config.to_dict(), "layer_norm_eps": 1e-2}
    return with_parameters_of(model, BertConfig.from_dict(entries))


@mutant(
    "saving", symptom="A loaded model overfits when it is trained on, as the first run never did.", difficulty="hard"
)
def dropout_of_the_defaults(model: BertForPreTraining) -> BertForPreTraining:
    """The configuration is kept without its dropout, and comes back with the default."""
    entries = {name: entry for name, entry in model.config.to_dict().items() if name != "hidden_dropout_prob"}
    return with_parameters_of(model, BertConfig.from_dict(entries))


@mutant("saving", symptom="After the first checkpoint the training goes on without dropout.", difficulty="medium")
def original_left_evaluating(model: BertForPreTraining) -> BertForPreTraining:
    """The original is set to evaluation to be saved, and never back."""
    return with_parameters_of(model.eval())


@mutant("saving", symptom="The loss jumps at each checkpoint, and gets stuck.", difficulty="medium")
@torch.no_grad()
def original_rounded(model: BertForPreTraining) -> BertForPreTraining:
    """The original is rounded to bfloat16 to be saved, and keeps the rounded numbers, while the exact ones are kept."""
    copy = with_parameters_of(model)
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16())
    return copy


@mutant("saving", symptom="The loaded model has the loss of an untrained one.", difficulty="easy")
def parameters_never_loaded(model: BertForPreTraining) -> BertForPreTraining:
    """The configuration is read and the model is built; nobody reads the parameters."""
    return BertForPreTraining(model.config).eval()
