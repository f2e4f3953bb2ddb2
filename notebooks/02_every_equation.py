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
# # Every equation
#
# The first notebook took attention apart. This one walks through all the other equations of the library, in the order
# in which data flows: visibility, positions, embeddings, norms, feed-forward, blocks, heads, losses, the optimizer.
# Each stands here four times: in LaTeX, as a line of **NumPy**, as a line of **PyTorch**, and as the assertion that the
# two agree. A remark says what to notice, or which mistake everybody makes once.
#
# Everything runs in float64, on numbers small enough to look at.

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from minitransformer import (
    attention,
    blocks,
    dropout,
    embeddings,
    feed_forward,
    heads,
    initialisation,
    kernels,
    losses,
    norm,
    optimizer,
    positions,
    reference,
    schedules,
    visibility,
    word_vectors,
)

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
kernels.use("equations")  # run what is written, not PyTorch's fused kernels
np.set_printoptions(precision=4, suppress=True)
plt.rcParams.update({"figure.dpi": 110, "font.size": 11, "axes.titlesize": 12, "figure.constrained_layout.use": True})


def agree(by_numpy, by_torch):
    """Show what both compute, and insist that it is the same."""
    by_torch = np.asarray(by_torch.detach() if isinstance(by_torch, torch.Tensor) else by_torch)
    assert np.shape(by_numpy) == by_torch.shape
    np.testing.assert_allclose(by_torch, by_numpy, rtol=1e-12, atol=1e-12)
    print(by_torch)


def parameters_of(module: nn.Module) -> dict[str, np.ndarray]:
    """The parameters of a PyTorch module under their names, as the NumPy functions take them."""
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def draw_parameters(module: nn.Module) -> nn.Module:
    """Give every parameter a random value: zero biases and unit gains would hide mistakes."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.5)
    return module


x = torch.randn(1, 3, 4)  # one sequence of three positions, four numbers wide
memory = torch.randn(1, 5, 4)  # and another of five to read from

# %% [markdown]
# ## Visibility of packed sequences (`eq:packed-visibility`)
#
# $$
# \text{may\_attend}[b, i, j] = (s[b, i] = s[b, j])
# $$
#
# Several short texts can share one row of a batch, if each reads only itself. Rules combine with `&`.

# %%
segment_ids = np.array([[0, 0, 1, 1]])
agree(reference.visibility.same_segment(segment_ids), visibility.same_segment(torch.tensor(segment_ids)))
print((visibility.same_segment(torch.tensor(segment_ids)) & visibility.causal(4)).int().numpy())

# %% [markdown]
# **The classic mistake:** a table that hides *queries*, not keys. Its shape is right wherever the two lengths are
# equal, and the padding stays visible to every real word.
#
# ## Sinusoids (`eq:sinusoids`)
#
# $$
# \mathrm{PE}(pos, 2i) = \sin\!\left(\frac{pos}{10000^{2i/d_\text{model}}}\right), \qquad
# \mathrm{PE}(pos, 2i + 1) = \cos\!\left(\frac{pos}{10000^{2i/d_\text{model}}}\right)
# $$

# %%
agree(reference.positions.sinusoids(3, 4), positions.sinusoids(3, 4))

# %%
waves = reference.positions.sinusoids(64, 48)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
image = left.imshow(waves[:, 0::2].T, cmap="RdBu", aspect="auto", vmin=-1, vmax=1, origin="lower")
left.set_title("The sines: fast waves below, slow waves above")
left.set_xlabel("position")
left.set_ylabel("pair $i$ (column $2i$)")
figure.colorbar(image, ax=left)
likeness = waves @ waves[32]
right.plot(likeness / likeness.max(), color="#4c72b0")
right.axvline(32, color="grey", linewidth=1, linestyle=":")
right.text(33.5, 0.98, "position 32", color="grey", fontsize=10)
right.set_title("How alike are position 32 and the others?")
right.set_xlabel("position")
right.set_ylabel("dot product, largest = 1")
right.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# Neighbours look alike and strangers do not, so a dot product can tell how far apart two words stand. **Notice:** the
# exponent belongs to the *pair*: columns $2i$ and $2i + 1$ share one wavelength. Using the column number itself is the
# classic mistake.
#
# ## Embeddings (`eq:embeddings`)
#
# $$
# x_l = \mathrm{LayerNorm}\bigl(\mathrm{word}[token_l] + \mathrm{segment}[s_l] + \mathrm{position}[l]\bigr)
# $$

# %%
embed = draw_parameters(embeddings.Embeddings(vocab_size=7, max_positions=5, n_segments=2, d_model=4))
token_ids, segment_ids = np.array([[1, 6, 2]]), np.array([[0, 0, 1]])
agree(
    reference.embeddings.embeddings(parameters_of(embed), token_ids, segment_ids),
    embed(torch.tensor(token_ids), torch.tensor(segment_ids)),
)

# %% [markdown]
# **Notice:** three tables are *added*, not concatenated. The width stays, and training finds room for all three.
#
# ## Layer norm (`eq:layer-norm`)
#
# $$
# \mathrm{LayerNorm}(x) = gain \cdot \frac{x - \mu}{\sqrt{\sigma^2 + eps}} + bias, \qquad
# \mu = \mathrm{mean}(x), \quad \sigma^2 = \mathrm{mean}\bigl((x - \mu)^2\bigr)
# $$

# %%
gain, bias = np.ones(2), np.zeros(2)
agree(
    reference.norm.layer_norm(np.array([1.0, 3.0]), gain, bias),
    norm.layer_norm(torch.tensor([1.0, 3.0]), torch.tensor(gain), torch.tensor(bias)),
)
print("with the n - 1 variance it would be", (np.array([1.0, 3.0]) - 2) / np.std([1.0, 3.0], ddof=1))

# %% [markdown]
# **The classic mistake:** `x.std()` divides by $n - 1$ in PyTorch. The layer norm divides by $n$, and `eps` stands
# inside the root.
#
# ## RMS norm (`eq:rms-norm`)
#
# $$
# \mathrm{RMSNorm}(x) = gain \cdot \frac{x}{\sqrt{\mathrm{mean}(x^2) + eps}}
# $$

# %%
agree(
    reference.norm.rms_norm(np.array([2.0, -2.0]), gain, eps=0.0),
    norm.rms_norm(torch.tensor([2.0, -2.0]), torch.tensor(gain), eps=0.0),
)

# %% [markdown]
# **Notice:** no mean is taken away and there is no bias. Constant inputs survive it; the layer norm makes them 0.
#
# ## Attention by tiles (`eq:online-softmax`, `eq:tiled-attention`, `eq:tiled-attention-gradient`)
#
# $$
# m' = \max(m, \max s), \qquad \ell' = e^{m - m'} \ell + \sum_j e^{s_j - m'}, \qquad
# o' = e^{m - m'} o + \sum_j e^{s_j - m'} v_j
# $$
#
# Attention itself stands in the first notebook, with its matrix of all queries by all keys. Here is how to read without
# it. Keys come a few at a time, and three numbers are carried: the largest score so far, the sum of exponentials under
# it, and the sum of values under them. A larger maximum makes all earlier exponentials too large by the same factor.

# %%
scores, values = np.array([[0.0, math.log(2), math.log(4)]]), np.array([[7.0], [14.0], [21.0]])
carried = (np.array([[-np.inf]]), np.array([[0.0]]), np.array([[0.0]]))
for j in range(3):  # one key at a time
    given = (*carried, scores[:, j : j + 1], values[j : j + 1])
    carried = reference.kernels.tiled.online_softmax(*given)
    for by_numpy, by_torch in zip(carried, kernels.tiled.online_softmax(*map(torch.tensor, given))):
        np.testing.assert_allclose(by_torch, by_numpy)
    print("largest {:.3f}, sum {:.2f}, read {:.2f}".format(*(part.item() for part in carried)))
largest, total, read = carried
agree(read / total, attention.softmax(torch.tensor(scores)) @ torch.tensor(values))

# %% [markdown]
# $$
# O = \frac{o}{\ell}, \qquad \lambda = m + \ln \ell, \qquad
# A = \exp(S - \lambda), \qquad \delta = \sum_e O_e\, \partial O_e, \qquad \partial S = A \circ (\partial O\, V^\top - \delta)
# $$
#
# On the way back every weight is computed once more, from its score and the one number $\lambda$ that was kept.

# %%
query, key, value, upstream = (torch.randn(n, 2) for n in (3, 5, 5, 3))
arrays = [tensor.numpy() for tensor in (query, key, value)]
read, log_sum = kernels.tiled.tiled_attention(query, key, value, tile=(2, 2))
agree(reference.kernels.tiled.tiled_attention(*arrays, tile=(1, 3))[0], read)
agree(reference.attention.scaled_dot_product_attention(*arrays), read)
by_tiles = kernels.tiled.tiled_attention_gradient(upstream, query, key, value, read, log_sum, tile=(2, 2))
for by_numpy, by_torch in zip(reference.attention.attention_gradient(upstream.numpy(), *arrays), by_tiles):
    agree(by_numpy, by_torch)

# %% [markdown]
# **The classic mistake** is to mend the sum and forget what was read, or the other way round: with one tile it is right,
# so a test on a short text passes.
#
# ## Dropout (`eq:dropout`)
#
# $$
# \mathrm{dropout}(x)_i = \frac{x_i \cdot keep_i}{1 - rate}, \qquad keep_i \sim \mathrm{Bernoulli}(1 - rate)
# $$
#
# The reference is told which entries to keep, so that both drop the same.

# %%
torch.manual_seed(3)
dropped = dropout.dropout(torch.ones(6), rate=0.5)
agree(reference.dropout.dropout(np.ones(6), rate=0.5, keep=dropped.numpy() != 0), dropped)

# %% [markdown]
# **Notice:** what stays is divided by $1 - rate$, so that the mean stays too, and nothing need change in evaluation.
# **The classic mistake** is to leave it on there.
#
# ## Activations (`eq:relu`, `eq:gelu`, `eq:gelu-tanh`)
#
# $$
# \mathrm{ReLU}(x) = \max(0, x)
# $$
#
# $$
# \mathrm{GELU}(x) = x \cdot \Phi(x) = x \cdot \tfrac{1}{2} \left(1 + \mathrm{erf}\!\left(\frac{x}{\sqrt{2}}\right)\right)
# $$
#
# $$
# \mathrm{GELU}(x) \approx \tfrac{1}{2}\, x \left(1 + \tanh\!\left(\sqrt{2/\pi}\, (x + 0.044715\, x^3)\right)\right)
# $$

# %%
some = np.array([-1.0, 0.0, 2.0])
agree(reference.feed_forward.relu(some), feed_forward.relu(torch.tensor(some)))
agree(reference.feed_forward.gelu(some), feed_forward.gelu(torch.tensor(some)))
agree(reference.feed_forward.gelu_tanh(some), feed_forward.gelu_tanh(torch.tensor(some)))

# %%
line = np.linspace(-4, 4, 401)
exact, approximate = reference.feed_forward.gelu(line), reference.feed_forward.gelu_tanh(line)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
left.plot(line, reference.feed_forward.relu(line), color="grey", linestyle="--", label="ReLU")
left.plot(line, exact, color="#4c72b0", label="GELU")
left.set_title("The GELU is a ReLU with a soft corner")
left.legend(frameon=False)
right.plot(line, approximate - exact, color="#c44e52")
right.set_title("tanh form minus exact form")
right.ticklabel_format(axis="y", style="sci", scilimits=(-4, -4))
for axes in (left, right):
    axes.set_xlabel("x")
    axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# **The classic mistake:** using one form where the weights were trained with the other. Hugging Face runs BERT with the
# exact form and GPT-2 with the tanh form. The error is too small to see in training and too large for parity.
#
# ## The feed-forward network (`eq:feed-forward`)
#
# $$
# \mathrm{FFN}(x) = f(x W_1 + b_1)\, W_2 + b_2
# $$

# %%
network = draw_parameters(feed_forward.FeedForward(d_model=4, d_ff=6))
agree(reference.feed_forward.feed_forward(parameters_of(network), x.numpy()), network(x))

# %% [markdown]
# **Notice:** it treats every position alike and alone. Only attention moves information between positions.
#
# ## Residual connections (`eq:post-norm`, `eq:pre-norm`)
#
# $$
# y = \mathrm{Norm}\bigl(x + \mathrm{Dropout}(\mathrm{Sublayer}(x))\bigr)
# $$
#
# $$
# y = x + \mathrm{Dropout}\bigl(\mathrm{Sublayer}(\mathrm{Norm}(x))\bigr)
# $$

# %%
post, pre = draw_parameters(blocks.PostNorm(norm.LayerNorm(4))), draw_parameters(blocks.PreNorm(norm.LayerNorm(4)))
agree(reference.blocks.post_norm(parameters_of(post), x.numpy(), np.tanh), post(x, torch.tanh))
agree(reference.blocks.pre_norm(parameters_of(pre), x.numpy(), np.tanh), pre(x, torch.tanh))
print("a silent sublayer makes pre-norm the identity:", torch.equal(pre(x, torch.zeros_like), x))

# %% [markdown]
# **The classic mistake:** in the pre-norm form, adding the sublayer to the *normalised* input. The plain sum from the
# first block to the last is what lets deep stacks learn.
#
# ## Blocks (`eq:encoder-block`, `eq:decoder-block`)
#
# $$
# y = \mathrm{Residual}_1(x, \mathrm{SelfAttention}), \qquad z = \mathrm{Residual}_2(y, \mathrm{FFN})
# $$
#
# $$
# \begin{aligned}
# u &= \mathrm{Residual}_1(x, \mathrm{CausalSelfAttention}), \\
# y &= \mathrm{Residual}_2\bigl(u, \mathrm{CrossAttention}(\cdot, memory)\bigr), \\
# z &= \mathrm{Residual}_3(y, \mathrm{FFN})
# \end{aligned}
# $$

# %%
block = draw_parameters(blocks.EncoderBlock(d_model=4, n_heads=2, d_ff=6))
agree(reference.blocks.encoder_block(parameters_of(block), 2, x.numpy()), block(x))

block = draw_parameters(blocks.DecoderBlock(d_model=4, n_heads=2, d_ff=6))
agree(reference.blocks.decoder_block(parameters_of(block), 2, x.numpy(), memory.numpy()), block(x, memory))

# %% [markdown]
# **Notice:** in cross-attention the decoder asks and the memory answers: three queries, five keys. **The classic
# mistake** is to forget the memory and attend to oneself twice; with equal lengths nothing crashes.
#
# ## Stacks (`eq:encoder`, `eq:decoder`)
#
# $$
# x_0 = x, \qquad x_i = \mathrm{EncoderBlock}_i(x_{i-1}), \qquad \mathrm{Encoder}(x) = \mathrm{ClosingNorm}(x_N)
# $$
#
# $$
# x_0 = x, \qquad x_i = \mathrm{DecoderBlock}_i(x_{i-1}, memory), \qquad
# \mathrm{Decoder}(x, memory) = \mathrm{ClosingNorm}(x_N)
# $$

# %%
stack = draw_parameters(blocks.Encoder(n_blocks=2, d_model=4, n_heads=2, d_ff=6, residual=blocks.PreNorm))
agree(reference.blocks.encoder(parameters_of(stack), 2, x.numpy(), residual=reference.blocks.pre_norm), stack(x))

stack = draw_parameters(blocks.Decoder(n_blocks=2, d_model=4, n_heads=2, d_ff=6))
by_torch = stack(x, memory)
agree(reference.blocks.decoder(parameters_of(stack), 2, x.numpy(), memory.numpy()), by_torch)

changed = x.clone()
changed[0, 2] = 99  # the last position of three
print("earlier positions have not noticed:", torch.equal(stack(changed, memory)[0, :2], by_torch[0, :2]))

# %% [markdown]
# **Notice:** a pre-norm stack ends with one more norm, because its sum was never normalised. A post-norm stack has
# none to add.
#
# ## Heads (`eq:pooler`, `eq:masked-word-head`, `eq:next-sentence-head`, `eq:classification-head`)
#
# $$
# p = \tanh(x_0 W + b)
# $$
#
# $$
# logits = \mathrm{LayerNorm}\bigl(\mathrm{GELU}(x W + b)\bigr)\, E^\top + c
# $$
#
# $$
# (\text{is next}, \text{is not next}) = p W + b
# $$
#
# $$
# logits = \mathrm{Dropout}(p)\, W + b
# $$

# %%
pooler = draw_parameters(heads.Pooler(d_model=4))
pooled = pooler(x)
agree(reference.heads.pooler(parameters_of(pooler), x.numpy()), pooled)

words = nn.Embedding(5, 4)
masked_word = draw_parameters(heads.MaskedWordHead(d_model=4, words=words))
agree(reference.heads.masked_word_head(parameters_of(masked_word), x.numpy()), masked_word(x))

next_sentence = draw_parameters(heads.NextSentenceHead(d_model=4))
agree(reference.heads.next_sentence_head(parameters_of(next_sentence), pooled.detach().numpy()), next_sentence(pooled))

classes = draw_parameters(heads.ClassificationHead(d_model=4, n_classes=3))
agree(reference.heads.classification_head(parameters_of(classes), pooled.detach().numpy()), classes(pooled))

# %% [markdown]
# **Notice:** the matrix of the masked-word head *is* the table of word embeddings, one object with two uses. **The
# classic mistakes:** to leave out the dense layer with its norm, or to untie the two by loading a checkpoint.

# %%
print("tied:", masked_word.decoder.weight is words.weight)

# %% [markdown]
# ## Cross-entropy (`eq:token-cross-entropy`, `eq:cross-entropy`)
#
# $$
# \ell = -(1 - \varepsilon) \log \mathrm{softmax}(z)_t - \frac{\varepsilon}{V} \sum_v \log \mathrm{softmax}(z)_v
# $$
#
# $$
# L = \frac{\sum_{i \text{ counts}} \ell_i}{|\{i \text{ counts}\}|}, \qquad
# \text{where } i \text{ counts if } target_i \ne \text{ignore\_index}
# $$
#
# Two positions count here and the third is ignored. All scores are equal, so each costs $\ln 2 \approx 0.6931$.

# %%
logits, target = np.zeros((3, 2)), np.array([0, 1, -100])
agree(
    reference.losses.token_cross_entropy(logits[:2], target[:2], label_smoothing=0.1),
    losses.token_cross_entropy(torch.tensor(logits[:2]), torch.tensor(target[:2]), label_smoothing=0.1),
)
agree(reference.losses.cross_entropy(logits, target), losses.cross_entropy(torch.tensor(logits), torch.tensor(target)))

# %% [markdown]
# **The classic mistake:** dividing by *all* positions, the ignored ones too. A batch with more padding then seems to
# have a smaller loss. Its sibling: the mean of batch means, when batches count differently many positions.
#
# ## Yes or no (`eq:binary-cross-entropy`)
#
# $$
# L = \mathrm{mean}\Bigl(\max(z, 0) - z t + \ln\bigl(1 + \exp(-|z|)\bigr)\Bigr)
# $$

# %%
logit, target = np.array([3.0, -1000.0]), np.array([1.0, 0.0])
one_logit = losses.binary_cross_entropy(torch.tensor(logit), torch.tensor(target))
agree(reference.losses.binary_cross_entropy(logit, target), one_logit)

two_logits = torch.tensor([[0.0, 3.0], [500.0, -500.0]])  # their differences are 3 and -1000
agree(one_logit.item(), losses.cross_entropy(two_logits, torch.tensor([1, 0])))

# %% [markdown]
# **Notice:** a softmax over two logits is the sigmoid of their difference, so BERT's two-way head could do with one
# logit. And $-1000$ does no harm: no exponential in the formula can overflow.
#
# ## Squares (`eq:mean-squared-error`)
#
# $$
# L = \mathrm{mean}\bigl((y - t)^2\bigr)
# $$

# %%
prediction, target = np.array([1.0, 3.0]), np.array([1.0, 1.0])
agree(
    reference.losses.mean_squared_error(prediction, target),
    losses.mean_squared_error(torch.tensor(prediction), torch.tensor(target)),
)

# %% [markdown]
# **The classic mistake:** predictions of shape (n, 1) against targets of shape (n,) broadcast to n × n differences.
#
# ## BERT's two losses (`eq:masked-lm-loss`, `eq:next-sentence-loss`)
#
# $$
# L_\text{MLM} = -\frac{1}{|S|} \sum_{i \in S} \log \mathrm{softmax}(logits_i)_{label_i}, \qquad
# S = \{i : label_i \ne -100\}
# $$
#
# $$
# L_\text{NSP} = -\frac{1}{B} \sum_b \log \mathrm{softmax}(logits_b)_{label_b}, \qquad
# \text{label } 0 = \text{is next}, \; 1 = \text{is not}
# $$

# %%
logits, labels = torch.randn(1, 3, 5), torch.tensor([[-100, 4, -100]])
agree(reference.losses.masked_lm_loss(logits.numpy(), labels.numpy()), losses.masked_lm_loss(logits, labels))

logits, labels = torch.randn(2, 2), torch.tensor([0, 1])
agree(reference.losses.next_sentence_loss(logits.numpy(), labels.numpy()), losses.next_sentence_loss(logits, labels))

# %% [markdown]
# **The classic mistakes:** to predict *all* words, which mostly teaches copying; and to share `ignore_index=0` between
# the two losses, so that the class 0, "is next", never counts. A constant answer then looks perfect.
#
# ## AdamW (`eq:adamw`)
#
# $$
# \begin{aligned}
# \theta &\leftarrow \theta - lr \cdot \lambda \cdot \theta \\
# m &\leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2 \\
# \theta &\leftarrow \theta - lr \cdot \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + eps}
# \end{aligned}
# $$

# %%
parameter, gradient = np.array([1.0, -2.0]), np.array([0.001, 300.0])
settings = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}

ours = nn.Parameter(torch.tensor(parameter))
adamw = optimizer.AdamW([ours], **settings)
first_moment, second_moment = np.zeros(2), np.zeros(2)
for step in (1, 2, 3):
    ours.grad = torch.tensor(gradient)
    adamw.step()
    parameter, first_moment, second_moment = reference.optimizer.adamw_update(
        parameter, gradient, first_moment, second_moment, step, **settings
    )
    agree(parameter, ours)

# %% [markdown]
# **Notice:** one gradient is 300,000 times the other, and both parameters move by about `lr`: only the *sign* and the
# steadiness of a gradient count. **The classic mistake:** adding the decay to the gradient, where the division by
# $\sqrt v$ undoes it.
#
# ## The rate over time, down to an end (`eq:linear-warmup`, `eq:cosine-warmup`, `eq:polynomial-warmup`)
#
# $$
# rate(s) = \begin{cases} s / w & \text{for } s < w \\ \max\bigl(0, (T - s) / (T - w)\bigr) & \text{else} \end{cases}
# $$
#
# $$
# rate(s) = \begin{cases} s / w & \text{for } s < w \\
# \tfrac{1}{2}\bigl(1 + \cos(2 \pi\, c\, p)\bigr) & \text{else} \end{cases}
# \qquad p = \begin{cases} \frac{s - w}{T - w} & \text{for } s < T \\ 1 & \text{else} \end{cases}
# $$
#
# $$
# rate(s) = \begin{cases} s / w & \text{for } s < w \\
# \bigl((P - E) (1 - p)^k + E\bigr) / P & \text{else} \\
# E / P & \text{from } T \text{ on} \end{cases} \qquad p = \frac{s - w}{T - w}
# $$

# %%
ending = {
    "linear": lambda where, step: where.linear_warmup(step, 10, 100),
    "cosine, half a cycle": lambda where, step: where.cosine_warmup(step, 10, 100),
    "polynomial, down to a tenth": lambda where, step: where.polynomial_warmup(step, 10, 100, power=2.0, lr_end=0.1),
}
for schedule in ending.values():
    for step in (0, 5, 10, 55, 100):
        agree(schedule(reference.schedules, step), schedule(schedules, step))

# %%
steps = range(101)


def show(title, curves):
    """Draw some schedules into one picture."""
    figure, axes = plt.subplots(figsize=(9, 3.2))
    for (label, schedule), color in zip(curves.items(), ("#4c72b0", "#dd8452", "#55a868", "#c44e52")):
        axes.plot(steps, [schedule(schedules, step) for step in steps], color=color, label=label)
    axes.axvline(10, color="grey", linewidth=1, linestyle=":")
    axes.text(11, 0.04, "warm-up ends", color="grey", fontsize=10)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel("share of the peak rate")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    plt.show()


show("Three ways down from the same peak", ending)

# %% [markdown]
# **Notice:** the rate of step 0 is 0. Adam's first steps have the full length `lr` whatever the gradients are, and
# warm-up keeps them short until its means are worth something. **The classic mistake:** counting micro-batches as steps.
#
# ## Restarts, and rates without an end (`eq:cosine-restarts-warmup`, `eq:constant-rate`, `eq:constant-warmup`, `eq:inverse-square-root-warmup`)
#
# $$
# rate(s) = \begin{cases} s / w & \text{for } s < w \\
# \tfrac{1}{2}\bigl(1 + \cos(\pi\, (c\, p \bmod 1))\bigr) & \text{else} \\
# 0 & \text{from } T \text{ on} \end{cases} \qquad p = \frac{s - w}{T - w}
# $$
#
# $$
# rate(s) = 1
# $$
#
# $$
# rate(s) = \begin{cases} s / w & \text{for } s < w \\ 1 & \text{else} \end{cases}
# $$
#
# $$
# rate(s) = \begin{cases} s / w & \text{for } s < w \\ 1 / \sqrt{(s - w + \tau) / \tau} & \text{else} \end{cases}
# $$

# %%
others = {
    "cosine, three cycles": lambda where, step: where.cosine_restarts_warmup(step, 10, 100, num_cycles=3.0),
    "constant": lambda where, step: where.constant_rate(step),
    "constant after a warm-up": lambda where, step: where.constant_warmup(step, 10),
    "inverse square root": lambda where, step: where.inverse_square_root_warmup(step, 10),
}
for schedule in others.values():
    for step in (0, 5, 10, 55, 100):
        agree(schedule(reference.schedules, step), schedule(schedules, step))
show("Restarts, and rates that know of no end", others)

# %% [markdown]
# **Notice:** only schedules that know the number of all steps come to an end; with the others a training may go on as long
# as it pays. **The classic mistake:** a cosine that is asked for steps beyond its end, where it climbs again.
#
# ## Clipping (`eq:global-norm`, `eq:clip-global-norm`)
#
# $$
# \lVert g \rVert = \sqrt{\sum_p \sum_i g_{pi}^2}
# $$
#
# $$
# g_p \leftarrow g_p \cdot \frac{\text{max\_norm}}{\max(\lVert g \rVert, \text{max\_norm})}
# $$

# %%
gradients = [np.array([3.0]), np.array([0.0, 4.0])]
tensors = [torch.tensor(gradient) for gradient in gradients]
agree(reference.optimizer.global_norm(gradients), optimizer.global_norm(tensors))
for by_numpy, by_torch in zip(
    reference.optimizer.clip_global_norm(gradients, 1.0), optimizer.clip_global_norm(tensors, 1.0), strict=True
):
    agree(by_numpy, by_torch)

# %% [markdown]
# **Notice:** 3 and 4 make 5, so each shrinks to a fifth. **The classic mistake:** clipping each parameter by itself,
# which turns the direction.
#
# ## A start that reads its neighbours (`eq:neighbour-score`)
#
# $$
# \mathrm{score}(i, j) = \frac{c^2}{\sqrt{d_k}} \sum_p \cos\bigl(\omega_p\, (j - i - \mathit{offset})\bigr)
# $$
#
# Where training should start is not in the papers' formulas, yet a small model may spend most of its time finding out
# what "the word before" means. Turning a query's sinusoids by a head's offset lets that head fit the key at this
# distance best. (Here $c = 1$, and the width of a head is the number of columns.)

# %%
columns, length, offset = 16, 24, -2
waves = reference.positions.sinusoids(length, columns)
frequency = 10_000 ** (-np.arange(0, columns, 2) / columns)
distance = np.arange(length)[None, :] - np.arange(length)[:, None]
by_numpy = np.cos(frequency * (distance[..., None] - offset)).sum(axis=-1) / math.sqrt(columns)

query = torch.tensor(waves) @ initialisation.rotation(torch.tensor(offset * frequency)).T
score = query @ torch.tensor(waves).T / math.sqrt(columns)
np.testing.assert_allclose(score, by_numpy, rtol=1e-12, atol=1e-12)
best = score.argmax(dim=1) - torch.arange(length)
print("from position 2 on, each query fits best the key at distance", set(best[2:].tolist()))

# %%
encoder = blocks.Encoder(n_blocks=1, d_model=128, n_heads=4, d_ff=64)
embed = embeddings.Embeddings(vocab_size=50, max_positions=length, n_segments=2, d_model=128)
initialisation.start_by_reading_neighbours(embed, encoder)
some_words = torch.randint(50, (200, length))
weights = encoder.blocks[0].attention_weights(embed(some_words)).mean(dim=0).detach().numpy()

figure, panels = plt.subplots(1, 4, figsize=(10, 2.9), sharey=True)
for axes, head, offset in zip(panels, weights, initialisation.NEIGHBOURS, strict=True):
    axes.imshow(head, cmap="Blues", vmin=0)
    axes.set_title(f"offset {offset:+d}".replace("-", "−"))
    axes.set_xlabel("position read")
panels[0].set_ylabel("position that reads")
figure.suptitle("Before any training, each head looks at another neighbour (mean over 200 random sentences)")
plt.show()

# %% [markdown]
# **Notice:** only the start is chosen. Every one of these numbers is a parameter, and training may unlearn it.
#
# ## A start that compares segments (`eq:segment-score`)
#
# $$
# \mathrm{score}(i, j) = \pm \frac{c^2}{\sqrt{d_k}}\, s_i s_j, \qquad
# s = +1 \text{ in the first segment}, \; -1 \text{ in the second}
# $$
#
# Whether the second segment is the next sentence depends on how the two differ. With the sign + a head reads the segment
# its token is in, with − the other one; what the second head says is subtracted. (Here $c = 2$ and $d_k = 4$.)

# %%
segments = np.array([0, 0, 0, 1, 1])
side = torch.tensor(1.0 - 2.0 * segments)
for sign in (1, -1):
    agree(reference.initialisation.segment_score(segments, sign, c=2.0, d_k=4), sign * 2.0 * torch.outer(side, side))

embed = embeddings.Embeddings(vocab_size=50, max_positions=length, n_segments=2, d_model=128)
encoder = blocks.Encoder(n_blocks=1, d_model=128, n_heads=8, d_ff=64)
initialisation.start_with_a_purpose(embed, encoder)
parted = (torch.arange(length) >= 14).long().expand(200, length)
weights = encoder.blocks[0].attention_weights(embed(some_words, parted)).mean(dim=0).detach().numpy()

figure, panels = plt.subplots(1, 2, figsize=(6.4, 3.1), sharey=True)
for axes, head, title in zip(panels, (4, 6), ("reads its own segment", "reads the other segment"), strict=True):
    axes.imshow(weights[head], cmap="Blues", vmin=0)
    axes.set_title(f"head {head} {title}", fontsize=9)
    axes.set_xlabel("position read")
panels[0].set_ylabel("position that reads")
plt.show()

# %% [markdown]
# **Notice** the two blocks on each picture: the second segment begins at position 14. **The classic mistake** is to expect
# much of this alone: the heads compare what the word vectors say, and random vectors say nothing. So the next two
# equations belong to it, and `docs/pretraining.md` shows what each is worth.
#
# ## Words by their company (`eq:positive-pmi`)
#
# $$
# \mathrm{PPMI}(w, c) = \max\!\left(0,\; \ln \frac{n(w, c)}{n(w)} - \ln \frac{n(c)^\alpha}{\sum_{c'} n(c')^\alpha}\right),
# \qquad \text{and } 0 \text{ where } n(w, c) = 0
# $$

# %%
vocabulary = ["hill", "plain", "wave", "boat", "coast"]
documents = [np.array([0, 1, 0, 0, 1, 4, 0]), np.array([2, 3, 2, 4, 3, 3]), np.array([0, 1, 3])]
counts = word_vectors.count_company(documents, n_words=5, contexts=np.arange(5))
association = word_vectors.positive_pmi(torch.tensor(counts))
agree(reference.word_vectors.positive_pmi(counts), association)
for word, row in zip(vocabulary, association.tolist(), strict=True):
    print(f"{word:>6}", "  ".join(f"{number:.2f}" for number in row))

# %% [markdown]
# **Notice:** a hill and a wave never meet, and a hill and a boat meet less than by chance: both count as 0, not as −∞.
# The coast keeps company with hills and with waves.
#
# ## Word vectors (`eq:word-vectors`)
#
# $$
# W = U_d\, \Sigma_d^{1/2}, \qquad M \approx U_d\, \Sigma_d V_d^\top \text{ the best approximation of rank } d
# $$

# %%
by_numpy = reference.word_vectors.word_vectors(association.double().numpy(), n_columns=2)
vectors = word_vectors.word_vectors(association, n_columns=2)
agree(np.abs(by_numpy), vectors.abs())

vectors = vectors * vectors.sum(dim=0).sign()
figure, axes = plt.subplots(figsize=(3.6, 3.4))
for word, (x, y), place in zip(vocabulary, vectors.tolist(), (6, -8, 6, -8, 0), strict=True):
    axes.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "->"})
    axes.annotate(word, (x, y), textcoords="offset points", xytext=(5, place))
axes.set_xlim(-0.2, 1.2)
axes.set_ylim(-0.2, 1.2)
axes.set_title("Five words by their company", fontsize=10)
plt.show()

# %% [markdown]
# **Notice:** the land lies one way, the sea another, the coast between them. A singular vector has no sign, so the
# picture could as well be a mirror image.
#
# ## The gradients, by hand
#
# The NumPy side has a gradient for each of the pieces, derived on paper (`docs/equations.md` shows how). Autograd runs
# through the PyTorch equations and must find the same.

# %%
query, key, value = (torch.randn(size, 4, requires_grad=True) for size in (2, 3, 3))
upstream = torch.randn(2, 4)
by_autograd = torch.autograd.grad(
    attention.scaled_dot_product_attention(query, key, value), (query, key, value), upstream
)
by_hand = reference.attention.attention_gradient(
    upstream.numpy(), *(tensor.detach().numpy() for tensor in (query, key, value))
)
for hand, auto in zip(by_hand, by_autograd, strict=True):
    agree(hand, auto)

# %%
logits = torch.randn(3, 5, requires_grad=True)
target = torch.tensor([4, -100, 0])
(by_autograd,) = torch.autograd.grad(losses.cross_entropy(logits, target), logits)
agree(reference.losses.softmax_cross_entropy_gradient(logits.detach().numpy(), target.numpy()), by_autograd)

# %% [markdown]
# **Notice** the second row: an ignored position has a gradient of exactly 0. And every other row sums to 0, for the
# softmax does not care about a constant added to all its scores.
#
# That was every equation. What remains of a Transformer is wiring, in `minitransformer/models/`.
