"""A Seq2SeqTrainer whose runs go on bit for bit from their last checkpoint, whatever stopped them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PreTrainedModel
from transformers.trainer import TRAINER_STATE_NAME

from simmim.atomic import remove_folder, replaced_folder
from simmim.errors import CheckpointError, ConfigError, SimMIMError
from simmim.models.modeling_simmim import SimMIMPreTrainedModel
from simmim.tasks.training.batching import EpochBatches
from simmim.train.checkpoints import checkpoints_in
from simmim.train.interruption import Interruption, RunInterrupted
from simmim.train.manifest import check_manifest, fault_of, write_manifest
from simmim.train.sharing import SharedBatches, SharingTrainer, largest_of, on_device, same_for_all
from simmim.train.write_failures import what_is_left, write_failures_named

__all__ = ["DivergedError", "RecoverableTrainer"]

_SHOWN_ROWS = 20


class DivergedError(SimMIMError, ArithmeticError):
    """A loss, a gradient or a weight is no finite number any more."""


class RecoverableTrainer(SharingTrainer):
    """Trains as transformers does, and guards what would be lost.

    - Checkpoints appear whole or not at all, and disappear at once.
    - A run that has reached its end does not take a step more when it is resumed.
    - A loss, gradient or weight that is not finite stops the run before it is saved.
    - A request to stop is answered between two steps, with a checkpoint.
    - Logits are not kept where the loss can be had without.

    Args:
        batches: The batches of each epoch, as numbers of rows of `train_dataset`.
        interruption: Says whether the process was asked to stop.
        **kwargs: The arguments of `Seq2SeqTrainer`.
    """

    def __init__(self, *, batches: EpochBatches, interruption: Interruption, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        assert self.args.output_dir is not None
        self._folder = Path(self.args.output_dir)
        self._batches = batches
        self._interruption = interruption
        self._draft: Path | None = None
        self._rows_to_come: Iterator[list[int]] = iter(())
        self._rows_of_step: list[int] = []
        # what transformers removes it removes file by file; here whole checkpoints go
        self._save_total_limit, self.args.save_total_limit = self.args.save_total_limit, None

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches of token ids."""
        args = self.args
        assert self.train_dataset is not None
        shared = args.world_size > 1
        loader: DataLoader[Any] = DataLoader(
            self._remove_unused_columns(self.train_dataset, description="training"),
            batch_sampler=SharedBatches(self._batches, args) if shared else self._batches,
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            persistent_workers=args.dataloader_persistent_workers,
            pin_memory=args.dataloader_pin_memory,
        )
        return on_device(loader, args) if shared else self.accelerator.prepare(loader)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Add the gradients of a batch; stop if its loss is not finite."""
        rows = next(self._rows_to_come)
        self._rows_of_step += rows
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not loss.isfinite().all():
            raise self._diverged("loss", float(loss), rows)
        return loss

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return the loss; SimMIM is asked for nothing else, so that it never holds the logits of a batch."""
        if isinstance(self.model, SimMIMPreTrainedModel):
            inputs = {**inputs, "skip_logits": True}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _run_epoch(self, **kwargs: Any) -> None:  # type: ignore[override]  # it is called by keywords
        """Run an epoch, or what a resumed run has left of it."""
        if self._is_over():
            self.control.should_training_stop = True
            return
        epoch = kwargs["epoch"]
        done = kwargs["steps_trained_in_current_epoch"] if epoch == kwargs["epochs_trained"] else 0
        coming = self._batches.batches(epoch)[done:]
        self._rows_to_come = iter(coming)
        self._counted = self._counts(coming)
        self._batches.set_epoch(epoch)
        if hasattr(self.data_collator, "set_epoch"):
            self.data_collator.set_epoch(epoch)
        super()._run_epoch(**kwargs)

    def _is_over(self) -> bool:
        """Tell whether the checkpoint that was loaded is the end of its run."""
        stoppers = [found for found in self.callback_handler.callbacks if isinstance(found, EarlyStoppingCallback)]
        stopped = any(found.early_stopping_patience_counter >= found.early_stopping_patience for found in stoppers)
        return stopped or self.state.global_step >= self.state.max_steps

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """Return the gradient norm; stop before the step if it is not finite."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        rows, self._rows_of_step = self._rows_of_step, []
        # the loss scaling of fp16 looks for the largest scale that overflows, and skips such steps
        if self.accelerator.scaler is None and not torch.as_tensor(norm).isfinite():
            raise self._diverged("gradient norm", float(norm), rows)
        return norm

    def _maybe_log_save_evaluate(
        self, tr_loss: Tensor, grad_norm: Any, model: nn.Module, *args: Any, **kwargs: Any
    ) -> None:
        """Log, evaluate and save where that is due; stop here if the process was asked to."""
        super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, *args, **kwargs)
        # A signal may reach the processes in different steps, and a checkpoint needs all of them.
        signal_number = largest_of(self._interruption.signal_number, self.args)
        if signal_number is not None:
            if not self._checkpoint_path().exists():
                self._save_checkpoint(model, None)
            raise RunInterrupted(signal_number, str(self._checkpoint_path()))

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Say what a checkpoint lacks; weights that are tied to others are not in it and need not be."""
        assert isinstance(self.model, PreTrainedModel)
        missing = [name for name in load_result.missing_keys if name not in self.model.all_tied_weights_keys]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Load the weights of a checkpoint."""
        with _load_failures_named(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Load the state of the optimizer and of the learning rate."""
        with _load_failures_named(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Load the state of everything random."""
        with _load_failures_named(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_best_model(self) -> None:
        """Load the weights of the lowest validation loss, which transformers goes on without if they are missing."""
        if self.state.best_model_checkpoint is not None:  # by its name: the folder of the run may have been moved
            best = self._folder / Path(self.state.best_model_checkpoint).name
            check_manifest(best, "training.load_best_model_at_end needs it: bring it back, then go on with --resume")
            self.state.best_model_checkpoint = str(best)
        with _load_failures_named(self.state.best_model_checkpoint):
            super()._load_best_model()

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Build the optimizer; what the settings ask for may not fit the model."""
        with _settings_named("training.optim", self.args.optim):
            return super().create_optimizer(*args, **kwargs)

    def create_scheduler(self, *args: Any, **kwargs: Any) -> Any:
        """Build the schedule of the learning rate; what the settings ask for may not fit the number of steps."""
        with _settings_named("training.lr_scheduler_type", self.args.lr_scheduler_type):
            return super().create_scheduler(*args, **kwargs)

    def _checkpoint_path(self) -> Path:
        return self._folder / f"checkpoint-{self.state.global_step}"

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._draft is None else str(self._draft)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint to a temporary path, move it into place, and remove surplus ones."""
        for name, weight in model.named_parameters():
            if not weight.isfinite().all():
                raise self._diverged(f"weight {name}", float("nan"), [])
        path = self._checkpoint_path()
        if self.args.world_size > 1:
            self._save_shared_checkpoint(path, model, trial)
        else:
            with write_failures_named(path, self._folder), replaced_folder(path) as draft:
                self._fill_checkpoint(draft, path, model, trial)
        if self.args.should_save:
            self._remove_old_checkpoints(path)

    def _save_shared_checkpoint(self, path: Path, model: nn.Module, trial: Any) -> None:
        """Let every process write its part of a checkpoint, which the first one begins and ends."""
        with ExitStack() as stack:
            draft = None
            if self.args.should_save:
                stack.enter_context(write_failures_named(path, self._folder))
                draft = stack.enter_context(replaced_folder(path))
            self._fill_checkpoint(Path(same_for_all(str(draft))), path, model, trial)
        dist.barrier()

    def _fill_checkpoint(self, draft: Path, path: Path, model: nn.Module, trial: Any) -> None:
        self._draft = draft.parent
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self._draft = None
        if self.state.best_global_step:
            best = path.with_name(f"checkpoint-{self.state.best_global_step}")
            self.state.best_model_checkpoint = str(best) if best == path or best.exists() else None
        if self.args.world_size > 1:
            dist.barrier()
        if self.args.should_save:
            if self.state.best_global_step:
                self.state.save_to_json(os.path.join(draft, TRAINER_STATE_NAME))  # noqa: PTH118
            write_manifest(draft)

    def _remove_old_checkpoints(self, newest: Path) -> None:
        limit = self._save_total_limit
        if not limit or limit < 0:
            return
        kept = {newest, Path(self.state.best_model_checkpoint or newest)}
        found = checkpoints_in(self._folder)[::-1]
        # those that are not whole go first; their sizes tell quickly
        spare = sorted((path for path in found if path not in kept), key=lambda path: not fault_of(path, hashes=False))
        for path in spare[: max(0, len(found) - max(limit, len(kept)))]:
            remove_folder(path)

    def _diverged(self, what: str, value: float, rows: list[int]) -> DivergedError:
        numbers = ", ".join(str(row + 1) for row in sorted(rows)[:_SHOWN_ROWS])
        more = f" and {len(rows) - _SHOWN_ROWS} more" if len(rows) > _SHOWN_ROWS else ""
        look = f", or look at the training rows {numbers}{more} (counted from 1)" if rows else ""
        return DivergedError(
            f"step {self.state.global_step + 1 if rows else self.state.global_step}: the {what} is {value}, so the run "
            f"stops and saves nothing of it. Try max_grad_norm 1 or less, bf16 off, a lower learning_rate (in a new "
            f"run){look}. {what_is_left(self._folder)}"
        )


@contextmanager
def _load_failures_named(checkpoint: str | None) -> Iterator[None]:
    """Turn whatever torch, safetensors or transformers raise about a checkpoint into one clear error."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{checkpoint}: cannot load the checkpoint: {reason}. Move the folder away to go on from one before it"
        ) from error


@contextmanager
def _settings_named(key: str, value: object) -> Iterator[None]:
    """Turn what an optimizer or a schedule raises about its settings into one clear error."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, ArithmeticError) as error:
        raise ConfigError(f"{key}={value}: cannot be built: {' '.join(str(error).split())[:300]}") from error
