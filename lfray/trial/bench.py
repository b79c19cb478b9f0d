"""What a worker keeps from trial to trial: prepared rows, tokens, the base's weights. Paid for once a worker, not once a trial.

Nothing here can leak from one trial into the next: rows and tokens are read-only views, and a trial works on a deep copy of
the base.
"""

from __future__ import annotations

import copy
import gc
import os
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lfray.data.prepared import open_data
from lfray.data.text import encode_rows
from lfray.engine.meter import resident_gib, steady_heap
from lfray.errors import CapacityError, DataError
from lfray.model.adapt import preload
from lfray.model.base import LoadedModel, load_model
from lfray.model.encode import TextEncoder, encoding_key
from lfray.model.folder import load_tokenizer
from lfray.space.trial import LoraMethod

if TYPE_CHECKING:
    from lfray.data.prepared import PreparedData
    from lfray.data.text import EncodedRows
    from lfray.space.trial import TrialJob

PACKAGES = ("lfray", "torch", "transformers", "peft", "datasets", "ray", "mlflow", "numpy")


class Bench:
    """A worker's caches, and the device it computes on."""

    def __init__(self) -> None:
        self._data: dict[str, PreparedData] = {}
        self._tokens: dict[tuple[str, str], EncodedRows] = {}
        self._models: dict[tuple[object, ...], LoadedModel] = {}
        self._tokenizers: dict[str, Any] = {}
        self._base: tuple[object, ...] | None = None
        """What the base in `_models` was built for."""
        self._cold_gib: float | None = None
        self.retained_gib = 0.0
        """Memory that this process holds of earlier trials, beyond what its first trial started with."""
        self.trials = 0
        """Trials this worker has begun."""
        steady_heap()
        preload()
        import pyarrow.parquet  # noqa: F401 - as `preload`: the first trial ends with it, the others have it

        # What the imports left stays: a collection then looks at the trial's objects only (5 ms in place of 150, four a trial).
        gc.collect()
        gc.freeze()

    def start(self, job: TrialJob) -> torch.device:
        """Set threads, determinism and device for a trial.

        Raises:
            CapacityError: The trial asks for a GPU, or for bf16, that this worker has not.
        """
        self.trials += 1
        torch.set_num_threads(job.execution.cpus)
        torch.use_deterministic_algorithms(True, warn_only=True)
        wants_gpu = job.execution.gpus > 0
        if wants_gpu and not torch.cuda.is_available():
            raise CapacityError(
                f"resources.gpus_per_trial: {job.execution.gpus} asked for, this worker sees no GPU. Check the driver"
            )
        if wants_gpu:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            if job.config.train is not None and job.config.train.precision == "bf16" and not torch.cuda.is_bf16_supported():
                raise CapacityError("train.precision: bf16 is not supported by this GPU. Use precision: fp32")
        return torch.device("cuda" if wants_gpu else "cpu")

    def data(self, job: TrialJob) -> PreparedData:
        """The prepared rows, memory-mapped.

        Raises:
            DataError: The folder holds other rows than the trial was planned with.
        """
        if job.where.data not in self._data:
            self._data[job.where.data] = open_data(Path(job.where.data))
        data = self._data[job.where.data]
        if data.facts.fingerprint != job.config.data.fingerprint:
            raise DataError(
                f"{job.where.data}: must hold the planned rows {job.config.data.fingerprint} (got {data.facts.fingerprint}). Plan again"
            )
        return data

    def tokens(self, job: TrialJob, data: PreparedData) -> EncodedRows:
        """The rows' tokens for this base, memory-mapped; the sweep's preparation wrote them."""
        task, longest = job.config.task, job.config.data.max_tokens
        key = encoding_key(job.config.model.fingerprint, task, longest)
        if (job.where.data, key) not in self._tokens:
            encoder = TextEncoder(self.tokenizer(job), task, longest)
            self._tokens[job.where.data, key] = encode_rows(data, encoder, key=key)
        return self._tokens[job.where.data, key]

    def tokenizer(self, job: TrialJob) -> Any:
        """The base's tokenizer."""
        if job.where.model not in self._tokenizers:
            self._tokenizers[job.where.model] = load_tokenizer(
                Path(job.where.model), trust_remote_code=job.execution.trust_remote_code
            )
        return self._tokenizers[job.where.model]

    def model(self, job: TrialJob) -> LoadedModel:
        """A fresh copy of the base with the task's head; the pristine one stays in memory.

        A 4-bit base is read anew for each trial: a pristine one would take the GPU's memory a second time.

        Raises:
            ModelError: The base cannot be built, or has not the attention that was asked for.
            CapacityError: This worker lacks what the attention or the 4-bit base needs.
        """
        task, method = job.config.task, job.config.method
        quantized = isinstance(method, LoraMethod) and method.quantized
        key = (job.where.model, task.head, task.class_names, job.execution.attention, quantized)
        if key != self._base:
            self._models.clear()  # one base at a time: a worker that changes sweeps must not hold two 7B models
            self._cold_gib = None
            self._base = key
        if quantized:
            self._weigh()
            return self._load(job, quantized=True)
        if key not in self._models:
            self._models[key] = self._load(job, quantized=False)
        pristine = self._models[key]
        self._weigh()
        return LoadedModel(copy.deepcopy(pristine.model), pristine.head_keys, pristine.fresh_keys)

    def _load(self, job: TrialJob, *, quantized: bool) -> LoadedModel:
        task = job.config.task
        return load_model(
            Path(job.where.model),
            head=task.head,
            class_names=task.class_names,
            pad_id=self.tokenizer(job).pad_token_id,
            trust_remote_code=job.execution.trust_remote_code,
            attention=job.execution.attention,
            quantized=quantized,
        )

    def _weigh(self) -> None:
        """Note what the process holds with the pristine base and nothing of a trial: at first, and what has been added since."""
        now = resident_gib()
        if now is None:
            return
        self._cold_gib = now if self._cold_gib is None else self._cold_gib
        self.retained_gib = max(0.0, now - self._cold_gib)


def versions() -> dict[str, str]:
    """Python and the packages whose version can change a number."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def hostname() -> str:
    """Name of this machine."""
    return socket.gethostname()
