"""The learner: batches in, one step of the optimizer out, with the gradients of one large batch."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.losses import LossPart
from minitransformer.optimizer import AdamW, global_norm, held_here
from minitransformer.trainer.loss_parts import (
    LossInParts,
    LossOf,
    add_parts,
    in_parts,
    require_labels,
    total_loss,
    with_any_labels,
)
from minitransformer.trainer.noise import noisy_embeddings
from minitransformer.trainer.precision import computing_type
from minitransformer.trainer.processes import Processes
from minitransformer.trainer.randomness import seed_of
from minitransformer.trainer.reading import (
    Batch,
    MicroBatch,
    count_examples,
    count_places,
    count_tokens,
    in_pieces,
    to_device,
)
from minitransformer.training_arguments import TrainingArguments

if TYPE_CHECKING:
    from minitransformer.trainer.sharding import WholeModel

logger = logging.getLogger(__name__)


class Learned(NamedTuple):
    """What came of an update: the parts of its loss, the norm of its gradient before clipping, the tokens read."""

    parts: dict[str, LossPart]
    norm: float
    n_tokens: int

    @property
    def loss(self) -> float:
        """The sum of the means of the parts."""
        return total_loss(self.parts)

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Learner:
    """A model, its loss and its optimizer, and how one update of theirs is made.

    `tell` is told of the events within an update.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        processes: Processes,
        loss_of: LossOf | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, Any] = (None, None),
        tell: Callable[[str], None] = lambda _event: None,
    ) -> None:
        self.args = args
        self.processes = processes
        self.tell = tell
        self.device = processes.device(args.use_cpu)
        self.dtype = computing_type(args, self.device)
        self.model = model
        prepare(model, args)
        self.losses = LossInParts(model, loss_of, args.label_smoothing_factor)
        self.whole: WholeModel | None = None
        if args.fsdp and processes.n_processes > 1:
            self.whole = self.share_out(optimizers)
        model.to(self.device)
        self.compiled = self.losses if not args.torch_compile or compiles_blocks(model) else compiled_whole(self.losses)
        self.losses_together: nn.Module = self.compiled
        self.is_together = processes.n_processes == 1 or self.whole is not None  # else it needs a batch
        if self.whole is None:
            processes.begin_alike(model)
        given_optimizer, self.lr_scheduler = optimizers
        self.optimizer: torch.optim.Optimizer = given_optimizer or adamw(model, args)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=args.fp16)
        self.most_at_once: int | None = None  # places of a batch that memory holds, once it has run out

    def learn(self, micro_batches: Sequence[MicroBatch], step: int, max_steps: int) -> Learned:
        """Compute the gradients of an update, and move the parameters by them if they are numbers."""
        if not self.is_together:
            self.come_together(micro_batches[0].batch)
        parts = self.gradients(micro_batches, step)
        self.scaler.unscale_(self.optimizer)
        n_tokens = sum(count_tokens(batch) for batch, counts in micro_batches if counts)
        learned = Learned(parts, self.clip_gradients(), int(self.processes.sums([n_tokens])[0]))
        self.set_rates(step, max_steps)
        if learned.is_finite:
            self.tell("on_pre_optimizer_step")
            self.scaler.step(self.optimizer)
            self.tell("on_optimizer_step")
        else:
            self.optimizer.zero_grad()
        self.scaler.update()
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        return learned

    @property
    def scaler_if_any(self) -> torch.amp.GradScaler | None:
        """What scales the loss in float16."""
        return self.scaler if self.scaler.is_enabled() else None

    def share_out(self, optimizers: tuple[torch.optim.Optimizer | None, Any]) -> "WholeModel":
        """Leave each process a share of the model, which begins alike in all, and remember how it looks as a whole.

        Raises: InputError for an optimizer that was made before, of parameters that are no longer the model's.
        """
        if optimizers[0] is not None:
            raise InputError(
                "fsdp gives the model other parameters than those that `optimizers` was made of; leave optimizers out, "
                "and say in the arguments what it should do"
            )
        from minitransformer.trainer.sharding import WholeModel, share_out  # noqa: PLC0415 - it takes long to load

        self.processes.begin_alike(self.model)
        whole = WholeModel(self.losses, self.processes)
        share_out(self.losses, self.device, self.processes.n_processes)
        return whole

    def keep_whole(self, action: Callable[[nn.Module, torch.optim.Optimizer], Any]) -> None:
        """Let the first process do something with the whole model and optimizer, such as to write them."""
        if self.whole is not None:
            self.whole.keep(self.optimizer, action)
        else:
            self.processes.by_first(lambda: action(self.model, self.optimizer))

    def restore_whole(self, action: Callable[[nn.Module, torch.optim.Optimizer], Any]) -> Any:
        """Let something be done to the whole model and optimizer, such as to read them, and give what comes of it."""
        if self.whole is not None:
            return self.whole.restore(self.optimizer, action)
        return action(self.model, self.optimizer)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Train inside the block: dropout on, and noise on word vectors where it was asked for."""
        self.model.train()
        alpha = self.args.neftune_noise_alpha
        with ExitStack() as until_the_end:
            if alpha:
                until_the_end.enter_context(noisy_embeddings(self.model.get_input_embeddings(), alpha))  # type: ignore[operator]
            if self.args.torch_compile and compiles_blocks(self.model):
                self.model.compile_blocks(True)  # type: ignore[operator]
                until_the_end.callback(self.model.compile_blocks, False)  # type: ignore[arg-type]
            yield

    def come_together(self, batch: Batch) -> None:
        """Let several processes compute the model with its loss together.

        A first pass, which leaves no trace, shows whether all parameters take part in the loss. A second one settles in
        which order gradients are sent, so that their sums are rounded alike from the first update on.
        """
        batch = to_device(with_any_labels(batch), self.device)
        with without_a_trace(self.model):
            find_unused = self.args.ddp_find_unused_parameters
            if find_unused is None:
                find_unused = self.processes.largest([self.has_idle_parameters(batch)])[0] > 0
            self.losses_together = self.processes.together(self.compiled, self.args, find_unused)
            if not find_unused:
                self.go_back(self.losses_together, batch)
        self.is_together = True

    def has_idle_parameters(self, batch: Batch) -> bool:
        """Whether the loss of a batch depends on fewer parameters than those that learn."""
        self.go_back(self.compiled, batch)
        has_none = any(p.grad is None for p in self.model.parameters() if p.requires_grad)
        self.model.zero_grad()
        return has_none

    def go_back(self, losses: nn.Module, batch: Batch) -> None:
        """Compute gradients of the sum of all parts of a loss."""
        with self.precision():
            loss = torch.stack(list(losses(batch, 1).values())).sum()
        require_gradient(loss)
        loss.backward()  # type: ignore[no-untyped-call]

    def precision(self) -> torch.autocast:
        """Compute in half the bits where asked to."""
        enabled = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if enabled else None, enabled=enabled)

    def gradients(self, micro_batches: Sequence[MicroBatch], step: int) -> dict[str, LossPart]:
        """Gradients and loss of an update; where memory runs out, in smaller pieces if that is allowed."""
        pieces = micro_batches
        while True:
            if self.most_at_once is not None:
                pieces = in_pieces(micro_batches, self.most_at_once)
            torch.manual_seed(seed_of(self.args.seed, step, self.processes.rank))
            try:
                return self.accumulate_gradients(pieces)
            except RuntimeError as error:
                is_cut_up = all(count_examples(batch) == 1 for batch, _ in pieces)
                if not self.args.auto_find_batch_size or is_cut_up or not is_out_of_memory(error):
                    raise
            largest = max(count_places(batch) for batch, _ in pieces)
            self.most_at_once = max(1, min(largest, self.most_at_once or largest) // 2)
            logger.warning(
                "memory ran out: from here on %d places are computed at once (examples × their tokens with padding)",
                self.most_at_once,
            )

    def accumulate_gradients(self, micro_batches: Sequence[MicroBatch]) -> dict[str, LossPart]:
        """Add up the gradients of micro-batches to that of one large batch, and give the parts of its loss.

        A mean of the micro-batches' means would weigh a label the more, the fewer there are beside it. So each sum is
        divided by the count of the whole update. The counts follow from the labels, before anything is computed: one
        pass forward and one back for each micro-batch are enough, however many parts the loss has.
        """
        counts = [self.losses.counts(batch) if counts else {} for batch, counts in micro_batches]
        names = list(self.losses.counts(micro_batches[0].batch))
        counted = self.processes.sums([sum(count.get(name, 0) for count in counts) for name in names])
        count_of_all = {name: int(count) for name, count in zip(names, counted, strict=True)}
        require_labels(count_of_all)
        self.optimizer.zero_grad()
        sums: dict[str, LossPart] = {}
        for number, ((batch, _), count) in enumerate(zip(micro_batches, counts, strict=True)):
            if any(count.values()) or self.processes.n_processes > 1:
                is_last = number == len(micro_batches) - 1
                sums = add_parts(sums, self.add_gradients(batch, count, count_of_all, is_last))
                if not is_last:
                    self.tell("on_substep_end")
        totals = self.processes.sums([sums[name].total.item() for name in names])
        return {
            name: LossPart(torch.tensor(total, dtype=torch.float64), count_of_all[name])
            for name, total in zip(names, totals, strict=True)
        }

    def add_gradients(
        self, batch: Batch, count: Mapping[str, int], count_of_all: Mapping[str, int], is_last: bool
    ) -> dict[str, LossPart]:
        """Add the gradients of a micro-batch, divided by the counts of the update, and give the parts of its loss."""
        counts_for_nothing = not any(count.values())
        batch = with_any_labels(batch) if counts_for_nothing else batch
        batch = to_device(self.losses.with_what_is_asked(batch), self.device)
        with self.processes.averaging_gradients(self.losses_together, now=is_last):
            with self.precision():
                totals = self.losses_together(batch, 1 if counts_for_nothing else count.get("loss", 0))
                if counts_for_nothing:
                    totals = {name: total * 0.0 for name, total in totals.items()}
                loss = torch.stack([total / count_of_all[name] for name, total in totals.items()]).sum()
            require_gradient(loss)
            self.scaler.scale(loss * self.processes.n_processes).backward()  # type: ignore[no-untyped-call] # they are averaged, not added
        return in_parts(totals, {name: count.get(name, 0) for name in totals})

    def clip_gradients(self) -> float:
        """Shorten the gradients to `max_grad_norm`, and give the norm from before."""
        gradients = [held_here(parameter.grad) for parameter in self.model.parameters() if parameter.grad is not None]
        norm = self.norm_of_all(gradients)
        longest = self.args.max_grad_norm
        if 0 < longest < norm < math.inf:
            torch._foreach_mul_(gradients, longest / norm)  # eq:clip-global-norm, in the memory that they have
        return norm

    def norm_of_all(self, gradients: Sequence[Tensor]) -> float:
        """The length of the gradient, of which each process holds a share or all."""
        here = global_norm(gradients)
        if self.whole is None:
            return here.item()
        return global_norm(self.processes.gather(here)).item()

    def set_rates(self, step: int, max_steps: int) -> None:
        """Give each group of parameters its rate of this step, unless somebody else's schedule does."""
        if self.lr_scheduler is None:
            share = self.args.share_of_rate(step, max_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
        self.rate = float(self.optimizer.param_groups[0]["lr"])


@contextmanager
def without_a_trace(model: nn.Module) -> Iterator[None]:
    """Leave a model after the block as it was: without gradients, with the same buffers, and nothing drawn."""
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng():
        yield
    model.zero_grad()
    with torch.no_grad():
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)


def require_gradient(loss: Tensor) -> None:
    """Refuse a loss that nothing can be learned from.

    Raises: InputError.

    >>> require_gradient(torch.tensor(1.0))
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: the loss depends on no parameter that learns; is every one of them frozen?
    """
    if not loss.requires_grad:
        raise InputError("the loss depends on no parameter that learns; is every one of them frozen?")


def prepare(model: nn.Module, args: TrainingArguments) -> None:
    """Tell a model what the arguments ask of it.

    Raises: InputError for a model that cannot do it.
    """
    if args.gradient_checkpointing:
        require_method(model, "gradient_checkpointing_enable", "gradient_checkpointing=True")
        model.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs)  # type: ignore[operator]
    if args.neftune_noise_alpha:
        require_method(model, "get_input_embeddings", f"neftune_noise_alpha={args.neftune_noise_alpha}")


def compiles_blocks(model: nn.Module) -> bool:
    """Whether a model can have its blocks compiled, and leaves what depends on a batch's words out of them."""
    return hasattr(model, "compile_blocks")


def compiled_whole(losses: nn.Module) -> nn.Module:
    """Any other model with its loss, compiled once for all lengths."""
    return torch.compile(losses, dynamic=True)  # type: ignore[return-value]


def adamw(model: nn.Module, args: TrainingArguments) -> AdamW:
    """AdamW as the arguments say."""
    return AdamW(
        decay_groups(model, args.weight_decay),
        lr=args.learning_rate,
        betas=(args.adam_beta1, args.adam_beta2),
        eps=args.adam_epsilon,
    )


def decay_groups(model: nn.Module, weight_decay: int | float) -> list[dict[str, Any]]:
    """Matrices decay; biases and the gains of norms, which are vectors, do not."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in learning if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in learning if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def require_method(model: nn.Module, method: str, argument: str) -> None:
    """Refuse an argument that needs something of the model which it doesn't have."""
    if not hasattr(model, method):
        raise InputError(f"{argument} needs a model with {method}(), and {type(model).__name__} has none")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that memory has run out.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    True
    """
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said
