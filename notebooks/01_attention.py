# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Attention, from one sentence to a picture
#
# A Transformer has one idea at its heart, and it fits on a line:
#
# $$
# \mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V
# $$
#
# We take this line apart. Every piece appears as an **equation**, then in **NumPy**, where you can check it in your
# head, then in **PyTorch**, where it runs fast, then as a **law** that a machine tries to break, and at last as a
# **picture**. The NumPy lives in `minitransformer/reference/`, the PyTorch in the file of the same name in
# `minitransformer/`. The tags in brackets find the same equation in both, in the tests and in the docs.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from hypothesis.extra.numpy import arrays

from minitransformer import attention, visibility
from minitransformer.reference import attention as reference

plt.rcParams.update({"figure.dpi": 110, "font.size": 11, "axes.titlesize": 12, "figure.constrained_layout.use": True})
np.set_printoptions(precision=3, suppress=True)

# %% [markdown]
# ## 1. A dictionary that answers softly
#
# A Python dictionary gives you the value whose key **equals** your query, or an error.

# %%
animals = {"cat": 4.0, "dog": 8.0, "fish": 12.0}
animals["dog"]

# %% [markdown]
# Attention is a dictionary for vectors, and no vector ever equals another. So it asks of *every* key how well it fits
# the query, and returns a **mean of all values**, weighted by the fit:
#
# | | dictionary | attention |
# |---|---|---|
# | query and key | equal or not | a score: their dot product |
# | which entries answer | one | all, in shares that sum to 1 |
# | the answer | one value | the weighted mean of the values |
# | has a slope, so it can be learned | no | yes |
#
# Two questions remain: how do scores become shares, and what do we do with them?

# %% [markdown]
# ## 2. From scores to shares (`eq:softmax`)
#
# $$
# \mathrm{softmax}(x)_i = \frac{\exp(x_i - \max x)}{\sum_j \exp(x_j - \max x)}
# $$
#
# Exponentials make every score positive; dividing by their sum makes them shares. *Source: Bridle 1990, §2, Eq. 2.*
#
# Scores $\ln 1, \ln 2, \ln 5$ have the exponentials $1, 2, 5$, which sum to 8. The shares must be
# $\tfrac18, \tfrac28, \tfrac58$. Check it in your head before you run the cell.

# %%
scores = np.array([math.log(1), math.log(2), math.log(5)])

print("by hand:", np.exp(scores) / np.exp(scores).sum())
print("NumPy:  ", reference.softmax(scores))
print("PyTorch:", attention.softmax(torch.tensor(scores)).numpy())
assert np.allclose(reference.softmax(scores), [1 / 8, 2 / 8, 5 / 8])

# %% [markdown]
# Why subtract the maximum, if it cancels in the quotient? Because `exp(1000)` does not fit into a float:

# %%
large = np.array([1000.0, 1000.0 + math.log(3)])
with np.errstate(over="ignore", invalid="ignore"):
    print("without the shift:", np.exp(large) / np.exp(large).sum())
print("with the shift:   ", reference.softmax(large))

# %% [markdown]
# The losses need the **logarithm** of a share (`eq:log-softmax`). Taking it afterwards fails where a share has been
# rounded to zero; written as one formula, it does not:
#
# $$
# \log \mathrm{softmax}(x)_i = x_i - \max x - \ln \sum_j \exp(x_j - \max x)
# $$

# %%
far_apart = np.array([0.0, 1000.0])
with np.errstate(divide="ignore"):
    print("log of the softmax:", np.log(reference.softmax(far_apart)))
print("log_softmax:       ", reference.log_softmax(far_apart))
assert np.array_equal(attention.log_softmax(torch.tensor(far_apart)).numpy(), reference.log_softmax(far_apart))

# %% [markdown]
# ## 3. Three words, by hand (`eq:attention-weights`, `eq:attention`)
#
# > The output is a weighted sum of the values, and the weight of each value says how well its key fits the query.
# > *After Vaswani et al. 2017, §3.2; the formula is their Eq. 1.*
#
# $$
# A = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right), \qquad \mathrm{Attention}(Q, K, V) = A V
# $$
#
# Take *the cat slept*. The word *slept* asks: **who?** We choose $d_k = 4$, so that $\sqrt{d_k} = 2$, and let the first
# number of a key say "I am someone".

# %%
words = ["the", "cat", "slept"]
query = np.array([[2 * math.log(2), 0, 0, 0]])  # slept asks: who are you?
key = np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]])  # only "cat" answers
value = np.array([[4.0], [8.0], [12.0]])

# %% [markdown]
# - the dot products are $0,\ 2 \ln 2,\ 0$
# - divided by $\sqrt{d_k} = 2$ they are $0,\ \ln 2,\ 0$
# - their exponentials are $1,\ 2,\ 1$, so the shares are $\tfrac14,\ \tfrac12,\ \tfrac14$
# - and the answer is $\tfrac14 \cdot 4 + \tfrac12 \cdot 8 + \tfrac14 \cdot 12 = 1 + 4 + 3 = 8$

# %%
score = query @ key.T / math.sqrt(4)
weights = np.exp(score) / np.exp(score).sum()
print("by hand:", weights, "read", weights @ value)

weights = reference.attention_weights(query, key)
read = reference.scaled_dot_product_attention(query, key, value)
print("NumPy:  ", weights, "read", read)
assert np.allclose(read, 8)

q, k, v = torch.tensor(query), torch.tensor(key), torch.tensor(value)
weights = attention.attention_weights(q, k)
read = attention.scaled_dot_product_attention(q, k, v)
print("PyTorch:", weights.numpy(), "read", read.numpy())
assert np.allclose(read, 8)

# %% [markdown]
# ## 4. Why divide by $\sqrt{d_k}$?
#
# A dot product of two vectors with independent entries of variance 1 is a sum of $d_k$ terms, so its variance is $d_k$:
# the wider the vectors, the further apart the scores. The softmax then gives nearly everything to one key, and its
# slope, by which the model learns, dies. *Source: Vaswani et al. 2017, §3.2.1 and footnote 4.*
#
# We draw random queries and 16 random keys at each width, and look at the largest weight, and at how far the
# weights move when the scores move a little (the norm of the softmax's Jacobian, $\mathrm{diag}(a) - a a^\top$).

# %%
widths = [2**power for power in range(1, 12)]


def look_at(width: int, scale: float, n_keys: int = 16, n_draws: int = 1000) -> tuple[float, float]:
    """The mean largest weight, and the mean size of the softmax's slope, over random queries and keys."""
    random = np.random.default_rng(width)
    largest, slope = [], []
    for _ in range(n_draws):
        weights = reference.attention_weights(
            random.normal(size=(1, width)), random.normal(size=(n_keys, width)), scale=scale
        )[0]
        largest.append(weights.max())
        slope.append(np.linalg.norm(np.diag(weights) - np.outer(weights, weights)))
    return float(np.mean(largest)), float(np.mean(slope))


plain = np.array([look_at(width, scale=1.0) for width in widths])
scaled = np.array([look_at(width, scale=1 / math.sqrt(width)) for width in widths])

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6))
for axes, column, title in ((left, 0, "The largest of 16 weights"), (right, 1, "How far the weights can still move")):
    axes.plot(widths, plain[:, column], "o-", color="#c44e52", label="scores as they are")
    axes.plot(widths, scaled[:, column], "o-", color="#4c72b0", label=r"scores divided by $\sqrt{d_k}$")
    axes.set_xscale("log", base=2)
    axes.set_xlabel("width of queries and keys, $d_k$")
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
left.set_ylim(0, 1.05)
left.axhline(1 / 16, color="grey", linewidth=1, linestyle=":")
left.text(2, 1 / 16 + 0.02, "all weights equal: 1/16", color="grey", fontsize=10)
left.set_ylabel("mean over 1,000 draws")
left.legend(frameon=False, loc="center right")
figure.suptitle("Without the scale, a wide model starts out deaf to all keys but one, with little slope to learn by")
plt.show()

# %% [markdown]
# With the scale (blue), both curves are flat: how an untrained model attends does not depend on how wide it is.

# %% [markdown]
# ## 5. Attention reads a set
#
# Nothing in the formula says where a key stands. Shuffle keys and values **together**, and every query reads the same;
# shuffle the queries, and the answers are shuffled along.

# %%
random = np.random.default_rng(0)
query, key, value = random.normal(size=(3, 5)), random.normal(size=(7, 5)), random.normal(size=(7, 2))
read = reference.scaled_dot_product_attention(query, key, value)

shuffle = random.permutation(7)
assert np.allclose(reference.scaled_dot_product_attention(query, key[shuffle], value[shuffle]), read)
assert np.allclose(reference.scaled_dot_product_attention(query[[2, 0, 1]], key, value), read[[2, 0, 1]])
print("the same answers, whatever the order of the seven keys:", shuffle)

# %% [markdown]
# So to attention alone, *the cat chased the mouse* and *the mouse chased the cat* are the same five words. That is why
# a Transformer adds a mark of the position to every word (`eq:sinusoids`, in the next notebook).

# %% [markdown]
# ## 6. Who may read whom (`eq:causal-visibility`, `eq:padding-visibility`)
#
# A model that predicts the next word must not see it. Visibility is a table of booleans, **True = may read**, and a
# hidden key scores $-\infty$: its weight is exactly 0, whatever it holds.
#
# $$
# \text{may\_attend}[i, j] = (j \le i) \quad \text{(causal)}, \qquad
# \text{may\_attend}[b, i, j] = \bigl(\text{attention\_mask}[b, j] = 1\bigr) \quad \text{(padding)}
# $$
#
# *Source: Vaswani et al. 2017, §3.2.3, third use of attention; the padding rule as in BERT's published code.*

# %%
print(visibility.causal(4).int().numpy())
print(visibility.padding(torch.tensor([[1, 1, 1, 0]])).int().numpy(), "hides the last key from every query")

# %% [markdown]
# Two promises follow, and both hold **bit for bit**, not just nearly:

# %%
query, key, value = (torch.randn(4, 3, generator=torch.Generator().manual_seed(1)) for _ in range(3))
before = attention.scaled_dot_product_attention(query, key, value, visibility.causal(4))
key[3], value[3] = 1e6, -1e6  # something outrageous happens to the last word
after = attention.scaled_dot_product_attention(query, key, value, visibility.causal(4))
print("earlier words have not noticed:", torch.equal(before[:3], after[:3]))
print("the last word has:             ", not torch.equal(before[3], after[3]))

nothing = torch.zeros(1, 4, dtype=torch.bool)
read = attention.scaled_dot_product_attention(query[:1], key, value, nothing)
print("a query that may read nothing reads", read.numpy())

# %% [markdown]
# The paper is silent on the query that may read nothing. Zeros are the only answer that leaks nothing: a large negative
# number in place of $-\infty$, as in BERT's published code, turns such a row into a plain mean of all that was hidden.

# %% [markdown]
# ## 7. A law catches what an example misses
#
# Suppose someone takes the softmax over the wrong axis: over the queries, not the keys. The shapes are right, nothing
# crashes, and the loss even goes down. It is one of the most frequent mistakes in Transformer code. Does an example
# notice?


# %%
def mistaken_weights(query: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Attention weights with the softmax over the queries."""
    return reference.softmax(query @ key.T / math.sqrt(query.shape[-1]), axis=-2)


same = np.ones((3, 3))
print("on the example both agree:", np.allclose(mistaken_weights(same, same), reference.attention_weights(same, same)))

# %% [markdown]
# The example was too kind. A **law** says what must hold for *all* inputs, and Hypothesis looks for one where it
# does not. The law here: *the weights of every query sum to 1.*


# %%
def weights_sum_to_one(weigh, query: np.ndarray, key: np.ndarray) -> bool:
    """Whether the law holds for one input."""
    return np.allclose(weigh(query, key).sum(axis=-1), 1)


@st.composite
def queries_and_keys(draw):
    """Any number of queries and keys, of any width, with small whole numbers in them."""
    n_queries, n_keys, width = (draw(st.integers(1, 5)) for _ in range(3))
    numbers = st.integers(-3, 3).map(float)
    query = draw(arrays(float, (n_queries, width), elements=numbers))
    key = draw(arrays(float, (n_keys, width), elements=numbers))
    return query, key


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(queries_and_keys())
def law_holds(pair):
    """The weights of every query sum to 1."""
    assert weights_sum_to_one(reference.attention_weights, *pair)


law_holds()
print("ours: 200 inputs, and the law holds for all of them")

# %% [markdown]
# And the mistake? `find` searches for an input that breaks the law, and then shrinks it to the smallest there is:

# %%
repeatable = settings(derandomize=True, database=None, deadline=None)
query, key = find(
    queries_and_keys(), lambda pair: not weights_sum_to_one(mistaken_weights, *pair), settings=repeatable
)
print(f"the smallest counterexample: query = {query.tolist()}, key = {key.tolist()}")
print("its weights:", mistaken_weights(query, key).tolist(), "sum to", mistaken_weights(query, key).sum())

# %% [markdown]
# One query and two keys: the lone query gives *each* key everything, 1 + 1 = 2. The counterexample is so small that it
# explains the mistake. The same search in our own function comes back with empty hands:

# %%
try:
    find(
        queries_and_keys(),
        lambda pair: not weights_sum_to_one(reference.attention_weights, *pair),
        settings=repeatable,
    )
except NoSuchExample:
    print("no counterexample")

# %% [markdown]
# ## 8. Several heads, several questions (`eq:multi-head-attention`)
#
# > One attention takes one mean, and a mean blurs. Several heads read side by side, each in its own projection of the
# > input, so that different kinds of information can be read at once. *After Vaswani et al. 2017, §3.2.2.*
#
# $$
# \begin{aligned}
# \mathrm{MultiHead}(X, Y) &= \mathrm{Concat}(head_1, \dots, head_h)\, W_O + b_O, \\
# head_i &= \mathrm{Attention}(X W_Q^i + b_Q^i,\; Y W_K^i + b_K^i,\; Y W_V^i + b_V^i)
# \end{aligned}
# $$
#
# The matrices are learned. To see what they can express, we set them by hand, for a sentence of nine words. Each word
# is a vector of two halves: what **kind** of word it is, and **where** it stands. The first head reads the first half:
# each kind of word seeks another kind. The second head reads the second half: each word seeks the one before it.

# %%
sentence = ["the", "cat", "chased", "the", "mouse", "because", "it", "was", "hungry"]
kind_of = {"the": 0, "cat": 1, "mouse": 1, "chased": 2, "was": 2, "because": 3, "it": 4, "hungry": 5}
length, half = len(sentence), len(sentence)

x = np.zeros((length, 2 * half))
for position, word in enumerate(sentence):
    x[position, kind_of[word]] = 1  # what it is
    x[position, half + position] = 1  # where it stands

ARTICLE, NOUN, VERB, LINK, PRONOUN, ADJECTIVE = range(6)
seeks = np.zeros((half, half))
for asking, wanted in (
    (ARTICLE, NOUN),
    (NOUN, VERB),
    (VERB, NOUN),
    (LINK, VERB),
    (PRONOUN, NOUN),
    (ADJECTIVE, PRONOUN),
):
    seeks[asking, wanted] = 1
one_back = np.eye(half, k=-1)
one_back[0, 0] = 1  # the first word has none before it and reads itself

# %% [markdown]
# `nn.Linear` computes $x W^\top$, so each matrix is entered transposed. The factor 12 makes the heads decided: a fitting
# key scores $12/\sqrt{9} = 4$, and $e^4$ is about 55 times $e^0$.

# %%
heads = attention.MultiHeadAttention(d_model=2 * half, n_heads=2).double()
with torch.no_grad():
    heads.query.weight.copy_(torch.block_diag(torch.tensor(12 * seeks), torch.tensor(12 * one_back)).T)
    for part in (heads.key, heads.value, heads.output):
        part.weight.copy_(torch.eye(2 * half))
    for part in (heads.query, heads.key, heads.value, heads.output):
        part.bias.zero_()

sentence_vectors = torch.tensor(x)[None]
free = heads.weights(sentence_vectors)[0].detach().numpy()
causal = heads.weights(sentence_vectors, may_attend=visibility.causal(length))[0].detach().numpy()

parameters = {name: tensor.detach().numpy() for name, tensor in heads.state_dict().items()}
by_numpy = reference.multi_head_attention(parameters, 2, x)
print("NumPy and PyTorch agree:", np.allclose(by_numpy, heads(sentence_vectors)[0].detach().numpy()))


# %%
def draw_weights(axes: plt.Axes, weights: np.ndarray, title: str, may_attend: np.ndarray | None = None):
    """One row for each word that reads, one column for each word that is read."""
    shown = weights if may_attend is None else np.where(may_attend, weights, np.nan)
    image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1)
    axes.set_facecolor("#eeeeee")
    axes.set_xticks(range(length), sentence, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(length), sentence)
    axes.set_title(title)
    axes.tick_params(length=0)
    for row, column in np.argwhere(np.nan_to_num(shown) >= 0.1):
        weight = shown[row, column]
        colour = "white" if weight > 0.55 else "black"
        axes.text(column, row, f"{weight:.1f}".lstrip("0"), ha="center", va="center", color=colour, fontsize=9.5)
    return image


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.2), sharey=True)
draw_weights(left, free[0], "Head 1: which kind of word do I seek?")
image = draw_weights(right, free[1], "Head 2: what stands before me?")
left.set_ylabel("this word reads …")
for axes in (left, right):
    axes.set_xlabel("… this word")
figure.colorbar(image, ax=(left, right), label="weight; every row sums to 1", shrink=0.8)
plt.show()

# %% [markdown]
# Read it by rows. *it* looks for a noun and finds two, *cat* and *mouse*, half each: kinds alone cannot tell who was
# hungry, and a trained model would have to learn more than we wrote down. Head 2 is a clean diagonal: the word before.
# Now let time run forward:

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5.2), sharey=True)
visible = visibility.causal(length).numpy()
draw_weights(left, causal[0], "Head 1, causal", visible)
image = draw_weights(right, causal[1], "Head 2, causal", visible)
left.set_ylabel("this word reads …")
for axes in (left, right):
    axes.set_xlabel("… this word (grey: not yet spoken)")
figure.colorbar(image, ax=(left, right), label="weight; every row sums to 1", shrink=0.8)
plt.show()

# %% [markdown]
# The grey triangle is the future. Head 2 only ever looked back, so nothing has changed for it. In head 1 the first
# *the* can see no noun yet: it reads itself, for a row must still sum to 1. *cat* seeks a verb and has none yet, so it
# spreads its weight evenly over what there is. And *it* still finds both animals, since they were spoken before.

# %% [markdown]
# ## What to take with you
#
# - Attention is a **soft dictionary**: dot products score the keys, the softmax turns scores into shares, and the answer
#   is the mean of the values under these shares.
# - Dividing by $\sqrt{d_k}$ keeps the softmax **awake** at any width.
# - It reads a **set**: order must be added, and visibility decides who is in the set.
# - A hidden key has weight exactly 0, and who may read nothing reads 0.
# - An example shows that code can be right. A **law** shows where it is wrong.
#
# Try it: change `axis=-2` back to `axis=-1` in section 7 and watch the counterexample disappear; replace $-\infty$ by
# $-10\,000$ and find an input that notices; give head 1 a matrix in which a *verb* also seeks its *adjective*.
#
# Next: `02_every_equation` walks through all the other parts of a Transformer in the same way.
