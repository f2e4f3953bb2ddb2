"""Mutants of the heads: of the pooler, of the scores of words, and of the scores of classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.zoo.mutant import mutant

# What is right in most mutants


def dense(parameters: Parameters, x: Tensor) -> Tensor:
    """The dense layer that every head begins with."""
    return F.linear(x, parameters["dense.weight"], parameters["dense.bias"])


def normalised(parameters: Parameters, x: Tensor) -> Tensor:
    """The learned norm."""
    return F.layer_norm(x, x.shape[-1:], parameters["norm.gain"], parameters["norm.bias"], eps=1e-12)


def decoded(parameters: Parameters, word_like: Tensor) -> Tensor:
    """A score for each word of the table."""
    return F.linear(word_like, parameters["decoder.weight"], parameters["decoder.bias"])


# The pooler


@mutant("pooler", symptom="Trains a little less steadily; loaded weights say the opposite now and then.")
def pooler_without_tanh(parameters: Parameters, x: Tensor) -> Tensor:
    """The dense layer is all there is."""
    return dense(parameters, x[:, 0])


@mutant("pooler", symptom="Fine while all rows are equally long; with padding, the last token says nothing.")
def last_token_pooled(parameters: Parameters, x: Tensor) -> Tensor:
    """The last token is read, as in models that read from left to right."""
    return torch.tanh(dense(parameters, x[:, -1]))


@mutant("pooler", symptom="Trains as well; loaded weights are off, and padding is averaged in.", difficulty="easy")
def mean_of_all_tokens_pooled(parameters: Parameters, x: Tensor) -> Tensor:
    """The mean of all tokens is read, padding included."""
    return torch.tanh(dense(parameters, x.mean(1)))


@mutant("pooler", symptom="The same answer to all examples of a batch, and a loss that stays at that of guessing.")
def first_example_pooled_for_all(parameters: Parameters, x: Tensor) -> Tensor:
    """The batch is taken for the second axis: of the first example, each token is read for one of the others."""
    return torch.tanh(dense(parameters, x[0, :1])).expand(len(x), -1)


@mutant("pooler", symptom="Trains as well; loaded weights give numbers beyond 1, and other answers.", difficulty="hard")
def tanh_before_the_dense_layer(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation comes before the dense layer, and not after it."""
    return dense(parameters, torch.tanh(x[:, 0]))


@mutant("pooler", symptom="Half of the pooled entries are 0, and loaded weights lose what they had to say there.")
def relu_pooled(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation is the ReLU."""
    return torch.relu(dense(parameters, x[:, 0]))


@mutant("pooler", symptom="All pooled entries are positive; loaded weights answer nearly the same to everything.")
def sigmoid_pooled(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation is the sigmoid."""
    return torch.sigmoid(dense(parameters, x[:, 0]))


@mutant("pooler", symptom="Trains as well; loaded weights answer at random.", difficulty="hard")
def pooler_weight_not_transposed(parameters: Parameters, x: Tensor) -> Tensor:
    """The weight, which is square, is multiplied from the wrong side."""
    return torch.tanh(x[:, 0] @ parameters["dense.weight"] + parameters["dense.bias"])


@mutant("pooler", symptom="Fine-tuning learns next to nothing: only the pooler and the head move.", difficulty="easy")
def encoder_cut_off_from_the_pooler(parameters: Parameters, x: Tensor) -> Tensor:
    """The first token is read outside of autograd."""
    return torch.tanh(dense(parameters, x[:, 0].detach()))


# The masked-word head


@mutant("masked-word-head", symptom="Trains, to a slightly higher loss; loaded weights guess badly.")
def words_scored_without_the_transform(parameters: Parameters, x: Tensor) -> Tensor:
    """Vectors are compared with the table as they come, without dense layer, activation and norm."""
    return decoded(parameters, x)


@mutant("masked-word-head", symptom="Loaded weights are sure of everything, and often wrong.", difficulty="medium")
def transform_without_the_norm(parameters: Parameters, x: Tensor) -> Tensor:
    """The transform ends with the activation."""
    return decoded(parameters, F.gelu(dense(parameters, x)))


@mutant("masked-word-head", symptom="Trains as well; loaded weights guess badly.", difficulty="hard")
def activation_after_the_norm(parameters: Parameters, x: Tensor) -> Tensor:
    """The norm comes before the activation, and not after it."""
    return decoded(parameters, F.gelu(normalised(parameters, dense(parameters, x))))


@mutant("masked-word-head", symptom="Nothing: scores are off in the fourth digit.", difficulty="hard")
def gelu_of_the_transform_approximated(parameters: Parameters, x: Tensor) -> Tensor:
    """The GELU is the approximation by tanh, as in GPT-2."""
    return decoded(parameters, normalised(parameters, F.gelu(dense(parameters, x), approximate="tanh")))


@mutant("masked-word-head", symptom="Trains as well; loaded weights guess a little worse.", difficulty="medium")
def relu_in_the_transform(parameters: Parameters, x: Tensor) -> Tensor:
    """The activation is the ReLU."""
    return decoded(parameters, normalised(parameters, torch.relu(dense(parameters, x))))


@mutant("masked-word-head", symptom="Frequent words are guessed too rarely, and the loss starts falling later.")
def scores_of_words_without_a_bias(parameters: Parameters, x: Tensor) -> Tensor:
    """The bias of the words is forgotten, which says how frequent they are."""
    return normalised(parameters, F.gelu(dense(parameters, x))) @ parameters["decoder.weight"].T


@mutant(
    "masked-word-head", symptom="The loss stays where it began: no score has to do with its word.", difficulty="hard"
)
def table_reshaped_and_not_transposed(parameters: Parameters, x: Tensor) -> Tensor:
    """The table is brought into the shape of its transpose by a reshape, which mixes the words."""
    table = parameters["decoder.weight"]
    word_like = normalised(parameters, F.gelu(dense(parameters, x)))
    return word_like @ table.reshape(table.T.shape) + parameters["decoder.bias"]


@mutant(
    "masked-word-head",
    symptom="The embeddings learn too slowly: what is guessed teaches them nothing.",
    source="rasbt/LLMs-from-scratch#947",
    difficulty="hard",
)
def table_copied(parameters: Parameters, x: Tensor) -> Tensor:
    """The decoder holds a copy of the table, with the right numbers and no gradient: it is not tied."""
    word_like = normalised(parameters, F.gelu(dense(parameters, x)))
    return F.linear(word_like, parameters["decoder.weight"].detach(), parameters["decoder.bias"])


@mutant("masked-word-head", symptom="Nothing in training; who adds scores up or draws from them gets other numbers.")
def logarithms_of_shares_of_words(parameters: Parameters, x: Tensor) -> Tensor:
    """A log-softmax is taken inside, and again in the loss, where it changes nothing."""
    return decoded(parameters, normalised(parameters, F.gelu(dense(parameters, x)))).log_softmax(-1)


@mutant("masked-word-head", symptom="All words are about equally likely, however long it trains.", difficulty="easy")
def shares_of_words(parameters: Parameters, x: Tensor) -> Tensor:
    """A softmax is taken inside, and again in the loss."""
    return decoded(parameters, normalised(parameters, F.gelu(dense(parameters, x)))).softmax(-1)


@mutant("masked-word-head", symptom="Scores hardly differ, because none exceeds the norm of the transform.")
def words_compared_by_their_direction(parameters: Parameters, x: Tensor) -> Tensor:
    """The vectors of the words are brought to length 1, as for a cosine."""
    word_like = normalised(parameters, F.gelu(dense(parameters, x)))
    return word_like @ F.normalize(parameters["decoder.weight"], dim=-1).T + parameters["decoder.bias"]


@mutant("masked-word-head", symptom="A good training loss; but a guess changes with the padding of its row.")
def transform_normalised_over_the_sequence(parameters: Parameters, x: Tensor) -> Tensor:
    """Mean and variance run over the positions as well as over the columns."""
    active = F.gelu(dense(parameters, x))
    normal = F.layer_norm(active, active.shape[-2:], eps=1e-12)
    return decoded(parameters, parameters["norm.gain"] * normal + parameters["norm.bias"])


# The next-sentence head


@mutant(
    "next-sentence-head",
    symptom="Trains as well; but published weights say the opposite of what they mean.",
    source="google-research/bert#125",
    difficulty="hard",
)
def scores_in_the_other_order(parameters: Parameters, pooled: Tensor) -> Tensor:
    """The first score says "is not next", as one would number false and true."""
    return dense(parameters, pooled).flip(-1)


@mutant("next-sentence-head", symptom="The loss never falls below 0.31, which a softmax of 0 and 1 costs.")
def shares_for_scores(parameters: Parameters, pooled: Tensor) -> Tensor:
    """A softmax is taken inside, and again in the loss."""
    return dense(parameters, pooled).softmax(-1)


@mutant("next-sentence-head", symptom="The loss never falls below 0.31, and the two scores may both be near 1.")
def a_sigmoid_of_each_score(parameters: Parameters, pooled: Tensor) -> Tensor:
    """A sigmoid is taken of each score, though the loss takes a softmax of both."""
    return dense(parameters, pooled).sigmoid()


@mutant(
    "next-sentence-head",
    symptom="Nothing in training, for a second log-softmax changes nothing; only the scores are other numbers.",
    difficulty="hard",
)
def logarithms_of_both_shares(parameters: Parameters, pooled: Tensor) -> Tensor:
    """A log-softmax is taken inside, and again in the loss."""
    return dense(parameters, pooled).log_softmax(-1)


@mutant("next-sentence-head", symptom="Trains as well; of loaded weights, the second row is never read.")
def one_score_and_its_opposite(parameters: Parameters, pooled: Tensor) -> Tensor:
    """One score is computed, and its opposite is the other, as in a logistic regression."""
    is_next = dense(parameters, pooled)[:, :1]
    return torch.cat([is_next, -is_next], dim=-1)


@mutant("next-sentence-head", symptom="Trains as well; loaded weights answer with one of the two a little too often.")
def next_sentence_without_a_bias(parameters: Parameters, pooled: Tensor) -> Tensor:
    """The bias is forgotten."""
    return pooled @ parameters["dense.weight"].T


@mutant("next-sentence-head", symptom="The accuracy stays at that of guessing, whatever the masked words learn.")
def encoder_cut_off_from_the_head(parameters: Parameters, pooled: Tensor) -> Tensor:
    """What was pooled is read outside of autograd."""
    return dense(parameters, pooled.detach())


@mutant("next-sentence-head", symptom="Evaluation in batches of one is no better than guessing.", difficulty="medium")
def scores_beside_those_of_the_batch(parameters: Parameters, pooled: Tensor) -> Tensor:
    """The mean over the batch is taken off, so that a score says how an example compares with its neighbours."""
    return dense(parameters, pooled - pooled.mean(0))


# The classification head


@mutant("classification-head", symptom="The loss stays high while the accuracy grows, and learning is slow.")
def shares_for_the_loss(parameters: Parameters, x: Tensor) -> Tensor:
    """A softmax is taken inside, and again in the loss."""
    return dense(parameters, x).softmax(-1)


@mutant("classification-head", symptom="A class never gets a negative score, and some never learn again.")
def scores_passed_through_the_relu(parameters: Parameters, x: Tensor) -> Tensor:
    """The last layer has an activation, as the layers before it."""
    return torch.relu(dense(parameters, x))


@mutant("classification-head", symptom="Trains as well on balanced classes; rare ones come up too often.")
def classes_without_a_bias(parameters: Parameters, x: Tensor) -> Tensor:
    """The bias is forgotten."""
    return x @ parameters["dense.weight"].T


@mutant("classification-head", symptom="The same answer to all examples of a batch.", difficulty="medium")
def first_example_classified_for_all(parameters: Parameters, x: Tensor) -> Tensor:
    """The first example is read where the first token is meant, and spread over the batch."""
    return dense(parameters, x[:1]).expand(len(x), -1)


@mutant("classification-head", symptom="Two evaluations of one model differ, and both are worse than they should be.")
def dropout_left_on_in_the_head(parameters: Parameters, x: Tensor) -> Tensor:
    """A tenth of the input is dropped in evaluation too."""
    return dense(parameters, F.dropout(x, 0.1, training=True))


@mutant("classification-head", symptom="Trains a little slower; the pooled vector lies closer to zero than it should.")
def pooled_once_more(parameters: Parameters, x: Tensor) -> Tensor:
    """What comes from the pooler goes through a tanh again."""
    return dense(parameters, torch.tanh(x))


@mutant("classification-head", symptom="Fine-tuning stops at what a frozen encoder allows.", difficulty="medium")
def frozen_encoder(parameters: Parameters, x: Tensor) -> Tensor:
    """The input is read outside of autograd, as if only the head were to be trained."""
    return dense(parameters, x.detach())


@mutant("classification-head", symptom="Nothing in training; only the scores are other numbers.", difficulty="hard")
def logarithms_of_shares_of_classes(parameters: Parameters, x: Tensor) -> Tensor:
    """A log-softmax is taken inside, and again in the loss."""
    return dense(parameters, x).log_softmax(-1)
