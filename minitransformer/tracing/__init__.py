"""Looking at a model at work: every intermediate of a pass, and where the time of a training step goes."""

from minitransformer.tracing.forward import Trace, trace
from minitransformer.tracing.intermediate import Intermediate
from minitransformer.tracing.timing import PHASES, EquationTime, StepTimes, time_step

__all__ = ["PHASES", "EquationTime", "Intermediate", "StepTimes", "Trace", "time_step", "trace"]
