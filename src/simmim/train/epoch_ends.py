"""Does what is due at the end of an epoch within its last step, so that a checkpoint of that step holds it."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["EpochEnds"]


class EpochEnds(TrainerCallback):
    """Logs, evaluates and saves, where that is due once an epoch, after its last step and before the epoch ends.

    transformers saves by steps first and evaluates by epochs later. A run that goes on from a checkpoint of the last
    step would miss that evaluation, and with it what early stopping counts.
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for what is due after the last step of an epoch or of the run."""
        assert state.epoch is not None
        if state.epoch != int(state.epoch) and state.global_step < state.max_steps:
            return
        control.should_log |= args.logging_strategy == "epoch"
        control.should_evaluate |= args.eval_strategy == "epoch" and args.eval_delay <= state.epoch
        control.should_save |= args.save_strategy == "epoch"

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for nothing twice."""
        control.should_log = control.should_evaluate = control.should_save = False
