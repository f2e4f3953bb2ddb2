"""In which numbers a run computes: float32, or 16 bits where that is asked for or faster."""

import torch

from minitransformer.training_arguments import TrainingArguments

BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
"""What processors call the instructions that multiply in bfloat16."""


def computing_type(args: TrainingArguments, device: torch.device) -> torch.dtype:
    """The type that matrices are multiplied in; parameters, gradients and moments stay in float32.

    >>> computing_type(TrainingArguments("runs/first"), torch.device("cpu"))
    torch.float32
    """
    if args.fp16:
        return torch.float16
    bf16 = is_bfloat16_faster(device) if args.bf16 == "auto" else args.bf16
    return torch.bfloat16 if bf16 else torch.float32


def is_bfloat16_faster(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; one without them imitates it, many times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        return any(has.get(instruction, False) for instruction in BFLOAT16_INSTRUCTIONS)
    return False
