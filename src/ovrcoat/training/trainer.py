"""One stage: the loop from samples to weights, on one process or many (Hugging Face Accelerate).

What a step sees depends on seed and step alone, and each loss term is divided by what all processes have
together. So a run that was interrupted goes on exactly, and several processes do what one would.

With `micro_batch_size` a process takes its share in parts, one after the other, and averages their terms.
Each part is divided by its own number of masks (and its own weights of the category term): if the parts hold
different numbers of masks, those of a part with few count more than they would in one piece. Parts with
equally many masks give the same mask and dice terms. Stochastic depth is drawn per process and part, so it
differs, too.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ovrcoat.errors import ConfigError, TrainingError
from ovrcoat.training.config import ScheduleConfig
from ovrcoat.training.crops import Crop
from ovrcoat.training.losses import LossTerm
from ovrcoat.training.objective import Objective
from ovrcoat.training.samples import SampleNumbers, Samples, sample_seed
from ovrcoat.training.schedule import rate_factor
from ovrcoat.training.stages import Stage, parameter_groups
from ovrcoat.training.state import RunningMean, resume, save_state
from ovrcoat.training.step_log import StepJournal

OTHER_RANDOMNESS = 7  # keeps the seeds of stochastic depth apart from those of samples


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a stage is run, beside what it learns: nothing here changes a result."""

    folder: Path
    save_every: int
    workers: int
    fingerprint: dict[str, Any]  # settings that a resumed run must share
    progress: bool = True
    after_step: Callable[[int], None] = lambda step: None  # told the number of steps done


class StageTrainer:
    """Trains the network inside `objective` in place.

    Args:
        objective: network and losses.
        stage: what trains.
        samples: where crops come from.
        accelerator: `accelerate.Accelerator`, which knows the other processes.
        seed: of the whole training.
        habits: folder, saving, progress.

    Raises:
        ConfigError: the batch cannot be shared out to the processes.
        TrainingError: the folder holds the state of another training.
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
    ) -> None:
        self.schedule: ScheduleConfig = objective.settings.schedule
        if self.schedule.batch_size % accelerator.num_processes:
            raise ConfigError(
                f"a batch of {self.schedule.batch_size} cannot be shared by {accelerator.num_processes} "
                "processes; choose a multiple"
            )
        self.accelerator, self.samples, self.seed, self.options = accelerator, samples, seed, options
        network = objective.network
        self.trained = stage.prepare(network)
        self.optimiser = torch.optim.AdamW(
            parameter_groups(
                network,
                stage,
                learning_rate=self.schedule.peak_rate,
                weight_decay=self.schedule.weight_decay,
            )
        )
        self._peaks = [group["lr"] for group in self.optimiser.param_groups]
        ema = self.schedule.ema
        self.mean = RunningMean(self.trained, decay=ema) if ema is not None else None
        self.first_step = resume(
            self.state_path,
            self.trained,
            self.optimiser,
            settings=options.fingerprint,
            mean=self.mean,
        )
        self.stage = stage
        self.network = network
        self.objective = accelerator.prepare_model(objective)

    @property
    def state_path(self) -> Path:
        """The file that resuming reads."""
        return self.options.folder / "state.pt"

    def run(self) -> None:
        """Train to the end.

        Raises:
            TrainingError: a loss or its gradient is not finite (with step, terms and images).
        """
        steps = self.schedule.steps
        shown = self.options.progress and self.accelerator.is_main_process
        batches = self._batches()
        with (
            StepJournal(self._log_path(), first_step=self.first_step) as journal,
            tqdm(initial=self.first_step, total=steps, unit="step", disable=None if shown else True) as bar,
        ):
            for step in range(self.first_step, steps):
                began = time.monotonic()
                record = self._step(step, next(batches))
                journal.add({"step": step, "seconds": round(time.monotonic() - began, 3)} | record)
                stage = self.options.folder.name  # steps begin anew in every stage
                self.accelerator.log({f"{stage}/{name}": value for name, value in record.items()}, step=step)
                bar.set_postfix({name: f"{value:.3f}" for name, value in record.items()}, refresh=False)
                bar.update()
                if (step + 1) % self.options.save_every == 0 or step + 1 == steps:
                    self._save(step + 1)
                self.options.after_step(step + 1)
        if self.mean is not None:
            self.mean.copy_to(self.trained)
        self.network.eval()

    def _log_path(self) -> Path:
        """Every process has its log; the first one's is the one to read."""
        rank = self.accelerator.process_index
        return self.options.folder / ("log.jsonl" if rank == 0 else f"log.{rank}.jsonl")

    def _batches(self) -> Iterator[list[Crop]]:
        """This process's share of every step from the first one on."""
        numbers = SampleNumbers(
            first_step=self.first_step,
            steps=self.schedule.steps,
            batch_size=self.schedule.batch_size,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        loader = torch.utils.data.DataLoader(
            self.samples,
            batch_size=None,
            sampler=numbers,
            num_workers=self.options.workers,
            persistent_workers=False,
        )
        crops = iter(loader)
        share = self.schedule.batch_size // self.accelerator.num_processes
        return iter(lambda: list(islice(crops, share)), [])

    def _step(self, step: int, crops: Sequence[Crop]) -> dict[str, float]:
        """Forward, backward, clip and step; returns the weighted terms, rate and gradient norm."""
        factor = rate_factor(step, self.schedule)
        for group, peak in zip(self.optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        # of what samples do not seed: stochastic depth
        torch.manual_seed(
            sample_seed(self.seed + OTHER_RANDOMNESS, step * self.accelerator.num_processes)
            + self.accelerator.process_index
        )
        self.optimiser.zero_grad(set_to_none=True)
        at_once = self.schedule.micro_batch_size or len(crops)
        parts = [crops[start : start + at_once] for start in range(0, len(crops), at_once)]
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective):
                terms = self._over_all_processes(self.objective(part))
                values = {name: term.value() / len(parts) for name, term in terms.items()}
                self.accelerator.backward(torch.stack(list(values.values())).sum())
            for name, value in values.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
        norm = nn.utils.clip_grad_norm_(list(self.trained.values()), self.schedule.max_grad_norm)
        totals = self.accelerator.reduce(torch.stack([*sums.values()]), reduction="mean").tolist()
        record = {name: round(value, 6) for name, value in zip(sums, totals, strict=True)} | {
            "gradient_norm": round(float(norm), 6),
            "rate": self.schedule.peak_rate * factor,
        }
        if not all(torch.isfinite(torch.tensor([*totals, float(norm)]))):
            raise TrainingError(
                f"the loss or its gradient is not finite at step {step}: {record}; images: "
                f"{', '.join(crop.name for crop in crops)}. Nothing of this step was kept; a smaller "
                "learning rate may help"
            )
        self.optimiser.step()
        if self.mean is not None:
            self.mean.update(self.trained)
        return record

    def _over_all_processes(self, terms: dict[str, LossTerm]) -> dict[str, LossTerm]:
        """The same terms over the mean of all processes' denominators (gradients are averaged, too)."""
        if self.accelerator.num_processes == 1:
            return terms
        lengths = [len(term.denominators) for term in terms.values()]
        together = torch.cat([term.denominators.detach().float() for term in terms.values()])
        shares = self.accelerator.reduce(together, reduction="mean").split(lengths)
        # a floor of 1 is meant for all processes together
        processes = self.accelerator.num_processes
        return {
            name: term.divided_by(share.clamp(min=term.floor / processes))
            for (name, term), share in zip(terms.items(), shares, strict=True)
        }

    def _save(self, step: int) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            save_state(
                self.state_path,
                self.trained,
                self.optimiser,
                step=step,
                settings=self.options.fingerprint,
                mean=self.mean,
            )
        self.accelerator.wait_for_everyone()
