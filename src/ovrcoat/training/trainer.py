"""Training loop of one stage, on one process or many (Hugging Face Accelerate).

The samples of a step depend on the seed and the step alone, so a resumed run is exact. Every loss term is
divided by the denominators of all processes together, so several processes compute what one would.

With `micro_batch_size`, a process splits its share of the batch and averages the terms of the parts. Each
part is divided by its own denominators. If the parts contain different numbers of masks, the masks of a part
with few of them have a larger weight than in one piece. Stochastic depth is drawn for each process and part.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ovrcoat.errors import ConfigError, OvrcoatError, TrainingError
from ovrcoat.system.atomic_write import cannot_write
from ovrcoat.training.config import ScheduleConfig
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import LossTerm
from ovrcoat.training.objective import Objective
from ovrcoat.training.progress import StageProgress
from ovrcoat.training.samples import GuardedSamples, SampleNumbers, Samples, sample_seed
from ovrcoat.training.schedule import learning_rate_factor
from ovrcoat.training.sharding import average_gradients, clip_gradients, shard
from ovrcoat.training.stages import Stage, parameter_groups
from ovrcoat.training.state import ParameterAverage, resume, save_state
from ovrcoat.training.step_log import StepLog

NO_LOSS_TERMS = ("grad_norm", "learning_rate")  # the other numbers in the record of a step are loss terms
DROP_PATH_SEED_OFFSET = 7  # separates the seeds of stochastic depth from those of the samples


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run that do not change its result.

    Attributes:
        folder: for the log and the training state.
        save_every: steps between saved states.
        workers: data loading processes.
        fingerprint: settings that a resumed run must share.
        accept_changed_data: resume although the content of the datasets has changed.
        progress: show the progress on stderr.
        on_step: called after each step with the number of completed steps.
    """

    folder: Path
    save_every: int
    workers: int
    fingerprint: dict[str, Any]
    accept_changed_data: bool = False
    progress: bool = True
    on_step: Callable[[int], None] | None = None


class StageTrainer:
    """Trains the network of an `Objective` in place.

    Args:
        objective: network and losses.
        stage: what is trained.
        samples: the training samples.
        accelerator: an `accelerate.Accelerator`, which connects the processes.
        seed: of the whole run.
        options: folder, intervals, progress.
        fsdp: shard the network among the processes, if there are several.

    Raises:
        ConfigError: the batch cannot be divided among the processes.
        TrainingError: the folder contains the state of a run with other settings.
    """

    def __init__(
        self,
        objective: Objective,
        stage: Stage,
        samples: Samples,
        *,
        accelerator: Any,
        seed: int,
        options: RunOptions,
        fsdp: bool = False,
    ) -> None:
        self.schedule: ScheduleConfig = objective.settings.schedule
        if self.schedule.batch_size % accelerator.num_processes:
            raise ConfigError(
                f"a batch of {self.schedule.batch_size} cannot be divided among {accelerator.num_processes} "
                "processes; choose a multiple"
            )
        self.accelerator, self.samples, self.seed, self.options = accelerator, samples, seed, options
        network = objective.network
        self.trained = stage.prepare(network)
        self.is_sharded = fsdp and accelerator.num_processes > 1
        if self.is_sharded:
            shard(objective, network)
            self.trained = stage.prepare(network)  # the sharded parameters are new objects
        self.optimizer = torch.optim.AdamW(
            parameter_groups(
                network,
                stage,
                learning_rate=self.schedule.peak_learning_rate,
                weight_decay=self.schedule.weight_decay,
            ),
            foreach=False if self.is_sharded else None,  # sharded and other tensors cannot share an operation
        )
        self._skip_reasons: set[str] = set()
        self._peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        ema = self.schedule.ema
        self.average = ParameterAverage(self.trained, decay=ema) if ema is not None else None
        self.first_step = resume(
            self.state_path,
            self.trained,
            self.optimizer,
            settings=options.fingerprint,
            average=self.average,
            accept_changed_data=options.accept_changed_data,
        )
        self.network = network
        self.objective = objective if self.is_sharded else accelerator.prepare_model(objective)

    @property
    def state_path(self) -> Path:
        """The file with the training state."""
        return self.options.folder / "state.pt"

    def run(self) -> None:
        """Train to the end. The network is then in eval mode, with averaged weights if `ema` is set.

        Raises:
            TrainingError: a loss or its gradient is not finite; the message gives step, terms and images.
            DatasetError: an image or its labels cannot be used.
            OutputError: a log or the state cannot be written.
        """
        steps = self.schedule.steps
        show = self.options.progress and self.accelerator.is_main_process
        batches = self._batches()
        with (
            StepLog(self._log_path(), first_step=self.first_step) as log,
            StageProgress(
                self.options.folder.name, first_step=self.first_step, steps=steps, enabled=show
            ) as progress,
        ):
            for step in range(self.first_step, steps):
                began = time.monotonic()
                crops = next(batches)
                record = self._step(step, crops)
                skipped = [reason for crop in crops for reason in crop.skipped]
                progress.update(step + 1, loss=_total_loss(record), terms=record)
                if skipped:
                    record["skipped"] = len(skipped)
                    self._report_skipped(skipped, progress)
                log.add({"step": step, "seconds": round(time.monotonic() - began, 3)} | record)
                self._track(record, step)
                if self.options.on_step is not None:
                    self.options.on_step(step + 1)  # before the state, after which it would not be repeated
                if (step + 1) % self.options.save_every == 0 or step + 1 == steps:
                    self._save(step + 1)
        if self.average is not None:
            self.average.copy_to(self.trained)
        self.network.eval()

    def _track(self, record: dict[str, float], step: int) -> None:
        """Send the numbers of a step to the trackers."""
        stage = self.options.folder.name  # trackers need it: steps start from 0 in every stage
        try:
            self.accelerator.log({f"{stage}/{name}": value for name, value in record.items()}, step=step)
        except OSError as error:
            raise cannot_write(self.options.folder.parent / "ovrcoat", error) from error

    def _report_skipped(self, reasons: Sequence[str], progress: StageProgress) -> None:
        """Show each reason once."""
        for reason in reasons:
            if reason not in self._skip_reasons:
                self._skip_reasons.add(reason)
                progress.note(f"warning: skipped: {reason}")

    def _log_path(self) -> Path:
        """Each process has its own log; log.jsonl is that of the main process."""
        rank = self.accelerator.process_index
        return self.options.folder / ("log.jsonl" if rank == 0 else f"log.{rank}.jsonl")

    def _batches(self) -> Iterator[list[Crop]]:
        """This process's share of every step, from the first step on."""
        numbers = SampleNumbers(
            first_step=self.first_step,
            steps=self.schedule.steps,
            batch_size=self.schedule.batch_size,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        loader = torch.utils.data.DataLoader(
            GuardedSamples(self.samples),
            batch_size=None,
            sampler=numbers,
            num_workers=self.options.workers,
            persistent_workers=False,
        )
        crops = _raise_errors(loader)
        share = self.schedule.batch_size // self.accelerator.num_processes
        return iter(lambda: list(islice(crops, share)), [])

    def _step(self, step: int, crops: Sequence[Crop]) -> dict[str, float]:
        """Run one optimization step; return the weighted terms, the gradient norm and the learning rate."""
        factor = learning_rate_factor(step, self.schedule)
        for group, peak in zip(self.optimizer.param_groups, self._peak_rates, strict=True):
            group["lr"] = peak * factor
        # stochastic depth is the only randomness that the samples do not seed
        torch.manual_seed(
            sample_seed(self.seed + DROP_PATH_SEED_OFFSET, step * self.accelerator.num_processes)
            + self.accelerator.process_index
        )
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._backward(crops)
        norm = clip_gradients(self.trained.values(), self.schedule.max_grad_norm)
        totals = self.accelerator.reduce(torch.stack([*terms.values()]), reduction="mean")
        numbers = torch.cat((totals, norm[None])).tolist()  # the only read: it waits for the device
        names = (*terms, "grad_norm")
        record = {name: round(value, 6) for name, value in zip(names, numbers, strict=True)}
        record["learning_rate"] = self.schedule.peak_learning_rate * factor
        if not all(map(math.isfinite, numbers)):
            raise TrainingError(
                f"the loss or its gradient is not finite at step {step}: {record}; images: "
                f"{', '.join(crop.name for crop in crops)}. The weights were not changed by this step; try a "
                "smaller learning rate"
            )
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.trained)
        return record

    def _backward(self, crops: Sequence[Crop]) -> dict[str, Tensor]:
        """Accumulate the gradients of all micro-batches; return the mean of each weighted term."""
        size = self.schedule.micro_batch_size or len(crops)
        parts = [crops[start : start + size] for start in range(0, len(crops), size)]
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                terms = self._share_denominators(self.objective(part))
                values = {name: term.value() / len(parts) for name, term in terms.items()}
                self.accelerator.backward(torch.stack(list(values.values())).sum())
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
        if self.is_sharded:
            average_gradients(self.trained.values())
        return sums

    def _share_denominators(self, terms: dict[str, LossTerm]) -> dict[str, LossTerm]:
        """Replace denominators by their mean over all processes, as gradients are averaged, too."""
        if self.accelerator.num_processes == 1:
            return terms
        lengths = [len(term.denominators) for term in terms.values()]
        denominators = torch.cat([term.denominators.detach().float() for term in terms.values()])
        means = self.accelerator.reduce(denominators, reduction="mean").split(lengths)
        # the floor applies to the sum over all processes
        processes = self.accelerator.num_processes
        return {
            name: term.divided_by(mean.clamp(min=term.floor / processes))
            for (name, term), mean in zip(terms.items(), means, strict=True)
        }

    def _save(self, step: int) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process or self.is_sharded:
            save_state(
                self.state_path,
                self.trained,
                self.optimizer,
                step=step,
                settings=self.options.fingerprint,
                average=self.average,
                is_main=self.accelerator.is_main_process,
            )
        self.accelerator.wait_for_everyone()


def _raise_errors(items: Iterable[Crop | OvrcoatError]) -> Iterator[Crop]:
    """Yield crops; raise errors that worker processes returned, and an error if such a process died."""
    try:
        for item in items:
            if isinstance(item, OvrcoatError):
                raise item
            yield item
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise TrainingError(
            f"a data loading process ended unexpectedly ({str(error).splitlines()[0]}); it may have been "
            "killed for lack of memory. Use fewer workers, or none (workers: 0)"
        ) from error


def _total_loss(record: Mapping[str, float]) -> float:
    """Return the sum of the loss terms in the record of a step."""
    return sum(value for name, value in record.items() if name not in NO_LOSS_TERMS)
