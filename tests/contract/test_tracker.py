"""One contract for every tracker: whatever is repeated or interrupted, each run, param and row stands there once."""

from __future__ import annotations

import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient

from lfray import names
from lfray.errors import TrackingError
from lfray.record import CurvePoint, defined, undefined
from lfray.tracking import layout, view
from lfray.tracking.contract import SweepInfo, Tracker, TrackerRefused
from lfray.tracking.memory import MemoryStore, MemoryTracker
from lfray.tracking.mlflow_store import MlflowTracker
from lfray.tracking.spool import BackgroundTracker
from tests.contract.builders import (
    START_MS,
    make_config,
    make_curve,
    make_failure,
    make_measures,
    make_record,
    make_sweep,
    make_trial,
)  # fmt: skip
from tests.contract.server import serving

# mlflow 3.17 uses a loader that sqlalchemy 2.1 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

CONFIG = make_config()
TRIAL = make_trial(CONFIG)
RECORD = make_record(CONFIG)


@dataclass(frozen=True)
class RunView:
    """A run as a reader finds it. `rows`: key -> {(step, timestamp, value)} with repeats kept."""

    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    rows: dict[str, list[tuple[int, int, float]]]
    artifacts: frozenset[str]
    datasets: tuple[tuple[str, str], ...]

    def latest(self, key: str) -> float:
        return max(self.rows[key])[2]


class Lab(ABC):
    """A store that survives its trackers."""

    @abstractmethod
    def tracker(self) -> Tracker:
        """A tracker of a fresh process."""

    @abstractmethod
    def sweeps(self) -> list[RunView]:
        """Every parent run."""

    @abstractmethod
    def trials(self) -> list[RunView]:
        """Every nested run, in the order of creation."""


class MemoryLab(Lab):
    def __init__(self) -> None:
        self.store = MemoryStore()

    def tracker(self) -> Tracker:
        return MemoryTracker(self.store)

    def sweeps(self) -> list[RunView]:
        return [self._view(run) for run in self.store.sweeps.values()]

    def trials(self) -> list[RunView]:
        return [self._view(run) for runs in self.store.trials.values() for run in runs.values()]

    @staticmethod
    def _view(run: object) -> RunView:
        from lfray.tracking.memory import MemoryRun

        assert isinstance(run, MemoryRun)
        rows = {key: [(row.step, row.timestamp, row.value) for row in rows] for key, rows in run.rows.items()}
        return RunView(run.name, run.status, run.params, run.tags, rows, frozenset(run.artifacts), tuple(sorted(run.datasets)))


class MlflowLab(Lab):
    def __init__(self, folder: Path) -> None:
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=self.uri)

    def tracker(self) -> Tracker:
        return MlflowTracker(self.uri)

    def sweeps(self) -> list[RunView]:
        return self._views("sweep")

    def trials(self) -> list[RunView]:
        return self._views("trial")

    def search(self, query: str) -> list[str]:
        found = self.client.search_runs(self._experiments(), query, max_results=1000)
        return [run.info.run_name for run in found]

    def _experiments(self) -> list[str]:
        return [experiment.experiment_id for experiment in self.client.search_experiments()]

    def _views(self, kind: str) -> list[RunView]:
        query = f"tags.`{layout.KIND}` = '{kind}'"
        order = ["attributes.start_time ASC", "attributes.run_id"]
        runs = self.client.search_runs(self._experiments(), query, ViewType.ACTIVE_ONLY, 1000, order)
        return [self._view(run.info.run_id) for run in runs]

    def _view(self, run_id: str) -> RunView:
        run = self.client.get_run(run_id)
        rows = {
            key: [(row.step, row.timestamp, row.value) for row in self.client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        }
        datasets = tuple((item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs)
        return RunView(
            run.info.run_name, run.info.status, dict(run.data.params), dict(run.data.tags), rows,
            frozenset(self._files(run_id, "")), datasets,
        )  # fmt: skip

    def _files(self, run_id: str, folder: str) -> Iterator[str]:
        for item in self.client.list_artifacts(run_id, folder or None):
            if item.is_dir:
                yield from self._files(run_id, item.path)
            else:
                yield item.path


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to lay out its tables; each test copies them."""
    folder = tmp_path_factory.mktemp("mlflow")
    MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture(params=["memory", "mlflow"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    if request.param == "memory":
        return MemoryLab()
    shutil.copyfile(request.getfixturevalue("empty_database"), tmp_path / "mlflow.db")
    return MlflowLab(tmp_path)


@pytest.fixture
def mlflow_lab(tmp_path: Path, empty_database: Path) -> MlflowLab:
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return MlflowLab(tmp_path)


def opened(lab: Lab, sweep: SweepInfo | None = None) -> Tracker:
    tracker = lab.tracker()
    tracker.open_sweep(sweep or make_sweep())
    return tracker


class TestTrackerContract:
    def test_a_trial_is_logged_in_whole(self, lab: Lab, tmp_path: Path) -> None:
        predictions = tmp_path / "source.parquet"
        predictions.write_bytes(b"rows")
        adapter = tmp_path / "adapter"
        (adapter / "deep").mkdir(parents=True)
        (adapter / "deep" / "weights.safetensors").write_bytes(b"w")
        tracker = opened(lab)
        tracker.open_trial(make_trial(CONFIG, tags={"reused_from": "other"}))
        tracker.log_curve(CONFIG.trial_id, RECORD.curve[:3])
        tracker.log_record(RECORD, {"predictions.parquet": predictions, "model/adapter": adapter})
        (run,) = lab.trials()
        assert run.name == "lora-r8 ratio-0.2 seed-13"
        assert run.status == "FINISHED"
        expected = {key: value for key, value in RECORD.metrics().items() if not math.isnan(value)}
        assert {key: run.latest(key) for key in expected} == expected
        assert [(step, value) for step, _, value in sorted(run.rows[names.CURVE_TRAIN_LOSS])] == [
            (point.step, point.loss) for point in RECORD.curve
        ]
        assert len(run.rows[names.CURVE_VALIDATION_ACCURACY]) == 2
        assert run.params["rank"] == "8"
        assert run.params["learning_rate"] == "0.0002"
        assert run.params["downsampling_ratio"] == "0.2"
        assert run.params["context.base"] == "lab:gpt2"
        assert run.tags[layout.TRIAL] == CONFIG.trial_id
        assert run.tags[layout.CONFIG] == CONFIG.config_id
        assert run.tags["reused_from"] == "other"
        assert run.artifacts == {"predictions.parquet", "model/adapter/deep/weights.safetensors"}
        assert run.datasets == (("reviews", "0123456789abcdef"),)
        assert tracker.logged_trials() == {CONFIG.trial_id}

    def test_the_parent_holds_the_sweep(self, lab: Lab, tmp_path: Path) -> None:
        spec = tmp_path / "spec.yaml"
        spec.write_text("version: 1\n")
        tracker = opened(lab, make_sweep(params={"train.epochs": "3"}, tags={"team": "x"}, artifacts={"spec.yaml": spec}))
        figure = tmp_path / "front.svg"
        figure.write_text("<svg/>")
        tracker.close_sweep(
            "FINISHED", artifacts={"figures/front.svg": figure}, metrics={"sweep.trials": 3.0}, tags={"done": "yes"}
        )
        (run,) = lab.sweeps()
        assert (run.name, run.status) == ("quick", "FINISHED")
        assert run.params == {"train.epochs": "3"}
        assert run.tags["team"] == "x"
        assert run.tags["done"] == "yes"
        assert run.tags["lfray.python"].startswith("3.")
        assert run.latest("sweep.trials") == 3.0
        assert run.artifacts == {"spec.yaml", "figures/front.svg", "environment.txt"}

    def test_everything_twice_is_everything_once(self, lab: Lab, tmp_path: Path) -> None:
        file = tmp_path / "record.json"
        file.write_text("{}")

        def whole() -> None:
            tracker = opened(lab, make_sweep(params={"a": "1"}, artifacts={"spec.yaml": file}))
            for _ in range(2):
                tracker.open_trial(TRIAL)
                tracker.log_curve(CONFIG.trial_id, RECORD.curve)
                tracker.log_record(RECORD, {"record.json": file})
                tracker.close_sweep(
                    "FINISHED", artifacts={"spec.yaml": file}, metrics={"sweep.hypervolume": 0.5}, tags={"t": "1"}
                )

        whole()
        before = (lab.sweeps(), lab.trials())
        whole()
        assert (lab.sweeps(), lab.trials()) == before

    @pytest.mark.parametrize("steps_before", [0, 7, 20])
    def test_killed_between_curve_and_record(self, lab: Lab, steps_before: int) -> None:
        first = opened(lab)
        first.open_trial(TRIAL)
        first.log_curve(CONFIG.trial_id, RECORD.curve[:steps_before])
        second = opened(lab)
        assert second.logged_trials() == set()
        later = replace(TRIAL, started_at="2026-03-02T00:00:00+00:00")
        second.open_trial(later)
        second.log_curve(CONFIG.trial_id, RECORD.curve[:10])
        second.log_record(RECORD, {})
        (run,) = lab.trials()
        for key, column in {names.CURVE_TRAIN_LOSS: "loss", names.CURVE_LEARNING_RATE: "learning_rate"}.items():
            expected = [(p.step, START_MS + 1000 * p.step, getattr(p, column)) for p in RECORD.curve]
            assert sorted(run.rows[key]) == expected
        assert run.status == "FINISHED"
        assert second.logged_trials() == {CONFIG.trial_id}

    def test_a_step_logged_with_another_value_stays_single(self, lab: Lab) -> None:
        first = opened(lab)
        first.open_trial(TRIAL)
        first.log_curve(CONFIG.trial_id, [CurvePoint(0, 0.0, 0.123, 2e-4)])
        second = opened(lab)
        second.open_trial(TRIAL)
        second.log_record(RECORD, {})
        (run,) = lab.trials()
        assert min(run.rows[names.CURVE_TRAIN_LOSS])[2] == 0.123
        assert len(run.rows[names.CURVE_TRAIN_LOSS]) == len(RECORD.curve)

    def test_timestamps_come_from_stored_data(self, lab: Lab) -> None:
        tracker = opened(lab)
        tracker.open_trial(TRIAL)
        tracker.log_record(RECORD, {})
        (run,) = lab.trials()
        assert run.rows[names.ACCURACY.key] == [(0, START_MS + 30_500, RECORD.metrics()[names.ACCURACY.key])]

    def test_undefined_values_are_tags(self, lab: Lab) -> None:
        tracker = opened(lab)
        tracker.open_trial(TRIAL)
        tracker.log_record(RECORD, {})
        (run,) = lab.trials()
        key = names.EQUALIZED_ODDS_DIFFERENCE.key
        assert key not in run.rows
        assert f"{key}/community" not in run.rows
        assert run.tags[f"undefined.{key}"] == "group_is_label"
        assert run.tags[f"undefined.{key}/community"] == "group_is_label"
        assert run.tags[f"undefined.{names.GPU_SECONDS.key}"] == "no_gpu"

    def test_a_loss_that_is_not_finite_is_a_tag(self, lab: Lab) -> None:
        curve = (*make_curve(3), CurvePoint(99, 3.0, math.nan, 0.0))
        tracker = opened(lab)
        tracker.open_trial(TRIAL)
        tracker.log_record(make_record(CONFIG, curve=curve, failure=make_failure()), {})
        (run,) = lab.trials()
        assert {row[0] for row in run.rows[names.CURVE_TRAIN_LOSS]} == {0, 5, 10}
        assert run.tags["undefined.train.loss"] == "non_finite"

    def test_a_failed_trial(self, lab: Lab) -> None:
        tracker = opened(lab)
        tracker.open_trial(TRIAL)
        tracker.log_record(make_record(CONFIG, measures=(), failure=make_failure()), {})
        (run,) = lab.trials()
        assert run.status == "FAILED"
        assert run.tags[layout.STATE] == "FAILED"
        assert run.tags[layout.FAILURE] == "train: NonFiniteLoss: loss became NaN at step 40"
        assert run.artifacts == {"traceback.txt"}
        assert tracker.logged_trials() == {CONFIG.trial_id}

    def test_a_failed_trial_that_passes_when_run_again(self, lab: Lab) -> None:
        first = opened(lab)
        first.open_trial(TRIAL)
        seconds = (defined(names.TRAIN_SECONDS, 1.0), undefined(names.ACCURACY, "trial_failed"))
        first.log_record(make_record(CONFIG, measures=seconds, curve=make_curve(2), failure=make_failure()), {})
        second = opened(lab)
        second.open_trial(TRIAL)
        second.log_record(RECORD, {})
        second.log_record(RECORD, {})
        (run,) = lab.trials()
        assert run.status == "FINISHED"
        assert run.tags[layout.STATE] == "COMPLETED"
        assert layout.FAILURE not in run.tags
        assert "undefined.accuracy" not in run.tags
        assert [(step, value) for step, _, value in sorted(run.rows[names.TRAIN_SECONDS.key])] == [(0, 1.0), (1, 12.5)]
        assert run.latest(names.ACCURACY.key) == RECORD.metrics()[names.ACCURACY.key]

    def test_hostile_names_and_long_values(self, lab: Lab) -> None:
        groups = ("Māori / Pasifika", "..", "", "日" * 90, "日" * 89 + "月", "a:2f:b", "a/b")
        measures = make_measures(groups)
        params = {
            "data.groups.target.flags.ünï": "x", "/etc": "y", "a//b": "z", "": "empty", "long": "v" * 9000, "k" * 400: "1",
            "k" * 401: "2", "tab\there": "日",
        }  # fmt: skip
        tags = {"wörld?": "t" * 9000, "x" * 300: "1"}
        record = make_record(CONFIG, measures=measures)
        tracker = opened(lab, make_sweep(name="naïve 'quoted' \"name\"", experiment="Größe / Übung", params=params, tags=tags))
        tracker.open_trial(make_trial(CONFIG, params=params, tags=tags))
        tracker.log_record(record, {})
        again = opened(lab, make_sweep(name="naïve 'quoted' \"name\"", experiment="Größe / Übung", params=params, tags=tags))
        assert again.logged_trials() == {CONFIG.trial_id}
        (run,) = lab.trials()
        assert len(run.params) == len(params)
        assert len(run.params["long"]) == 6000
        assert "t" * 7997 + "..." in run.tags.values()
        finite = [value for value in record.metrics().values() if not math.isnan(value)]
        assert sorted(run.latest(key) for key in run.rows if not key.startswith("train.")) == sorted(finite)
        assert max(map(len, run.rows)) <= 250
        (sweep,) = lab.sweeps()
        assert len(sweep.params) == len(params)

    def test_more_metrics_and_params_than_one_call_takes(self, lab: Lab) -> None:
        groups = tuple(f"group {number}" for number in range(200))
        params = {f"p{number}": "v" * 6000 for number in range(230)}
        tracker = opened(lab, make_sweep(params=params))
        tracker.open_trial(make_trial(CONFIG, params=params))
        record = make_record(CONFIG, measures=make_measures(groups))
        tracker.log_record(record, {})
        (run,) = lab.trials()
        assert len(run.params) == 230
        assert len(run.rows) > 1400
        assert all(len(rows) == 1 for key, rows in run.rows.items() if not key.startswith("train."))

    def test_an_extended_sweep(self, lab: Lab) -> None:
        tracker = opened(lab, make_sweep(params={"axes.rank": "0, 2", "train.epochs": "3"}))
        tracker.close_sweep("FINISHED", artifacts={}, metrics={"sweep.hypervolume": 0.5, "sweep.nothing": math.nan}, tags={})
        tracker = opened(lab, make_sweep(params={"axes.rank": "0, 2, 8", "train.epochs": "3", "extra": "1"}))
        tracker.close_sweep("FINISHED", artifacts={}, metrics={"sweep.hypervolume": 0.25}, tags={})
        (run,) = lab.sweeps()
        assert run.params == {"axes.rank": "0, 2", "train.epochs": "3", "extra": "1"}
        assert run.tags["lfray.now.axes.rank"] == "0, 2, 8"
        assert "lfray.now.train.epochs" not in run.tags
        assert run.latest("sweep.hypervolume") == 0.25
        assert "sweep.nothing" not in run.rows
        opened(lab, make_sweep(params={"axes.rank": "0, 2"}))
        assert lab.sweeps()[0].tags["lfray.now.axes.rank"] == "0, 2"

    def test_trials_still_open_end_with_the_sweep(self, lab: Lab) -> None:
        first = opened(lab)
        first.open_trial(TRIAL)
        other = make_config(seed=14)
        second = opened(lab)
        second.open_trial(make_trial(other))
        second.log_record(make_record(other), {})
        second.close_sweep("KILLED", artifacts={}, metrics={}, tags={})
        assert {run.name[-7:]: run.status for run in lab.trials()} == {"seed-13": "KILLED", "seed-14": "FINISHED"}
        third = opened(lab)
        third.open_trial(TRIAL)
        assert {run.status for run in lab.trials()} == {"RUNNING", "FINISHED"}

    def test_two_sweeps_share_an_experiment_and_a_trial(self, lab: Lab) -> None:
        for name in ("one", "two"):
            tracker = opened(lab, make_sweep(name=name))
            assert tracker.logged_trials() == set()
            tracker.open_trial(TRIAL)
            tracker.log_record(RECORD, {})
        assert sorted(run.name for run in lab.sweeps()) == ["one", "two"]
        assert sorted(run.tags[layout.SWEEP] for run in lab.trials()) == ["one", "two"]

    def test_an_absent_artifact_is_refused_before_anything_is_logged(self, lab: Lab, tmp_path: Path) -> None:
        tracker = opened(lab)
        tracker.open_trial(TRIAL)
        with pytest.raises(TrackerRefused, match="must exist"):
            tracker.log_record(RECORD, {"predictions.parquet": tmp_path / "absent"})
        (run,) = lab.trials()
        assert run.rows == {}
        assert tracker.logged_trials() == set()


class TestMlflow:
    """What only MLflow can get wrong."""

    def test_a_search_does_not_find_undefined_values(self, mlflow_lab: MlflowLab) -> None:
        low = make_config(seed=1)
        tracker = opened(mlflow_lab)
        for config, value in ((CONFIG, math.nan), (low, 0.05)):
            tracker.open_trial(make_trial(config))
            measure = defined(names.EQUALIZED_ODDS_DIFFERENCE, value, attribute="community")
            tracker.log_record(make_record(config, measures=(measure,)), {})
        assert mlflow_lab.search('metrics."fair.equalized_odds_difference" < 0.1') == [low.label]
        assert mlflow_lab.search("tags.`undefined.fair.equalized_odds_difference` = 'non_finite'") == [CONFIG.label]
        assert sorted(mlflow_lab.search("params.rank = '8' and params.method = 'lora'")) == sorted([CONFIG.label, low.label])

    def test_a_lost_answer_makes_no_second_run(self, mlflow_lab: MlflowLab) -> None:
        """A run that the server made and never told about is found again; a duplicate of it is removed."""
        tracker = opened(mlflow_lab)
        tracker.open_trial(TRIAL)
        (run,) = mlflow_lab.client.search_runs(mlflow_lab._experiments(), f"tags.`{layout.KIND}` = 'trial'")
        mlflow_lab.client.create_run(run.info.experiment_id, start_time=START_MS + 5, tags=dict(run.data.tags))
        second = opened(mlflow_lab)
        second.open_trial(TRIAL)
        second.log_record(RECORD, {})
        (view,) = mlflow_lab.trials()
        assert view.status == "FINISHED"

    def test_artifacts_lie_beside_the_database(self, mlflow_lab: MlflowLab, tmp_path: Path) -> None:
        opened(mlflow_lab)
        assert list((tmp_path / "mlartifacts").rglob("environment.txt"))

    def test_a_deleted_experiment(self, mlflow_lab: MlflowLab) -> None:
        opened(mlflow_lab)
        experiment = mlflow_lab.client.get_experiment_by_name("lab quickstart")
        mlflow_lab.client.delete_experiment(experiment.experiment_id)
        with pytest.raises(TrackerRefused, match=r"is deleted\. Restore it"):
            opened(mlflow_lab)

    def test_an_experiment_that_a_server_made(self, mlflow_lab: MlflowLab) -> None:
        mlflow_lab.client.create_experiment("lab quickstart", artifact_location="mlflow-artifacts:/7")
        with pytest.raises(TrackerRefused, match="Give the server's address"):
            opened(mlflow_lab)

    def test_a_run_deleted_under_our_hands(self, mlflow_lab: MlflowLab) -> None:
        tracker = opened(mlflow_lab)
        tracker.open_trial(TRIAL)
        (run,) = mlflow_lab.client.search_runs(mlflow_lab._experiments(), f"tags.`{layout.KIND}` = 'trial'")
        mlflow_lab.client.delete_run(run.info.run_id)
        with pytest.raises(TrackerRefused, match="refused"):
            tracker.log_record(RECORD, {})

    @pytest.mark.parametrize(
        ("uri", "error", "words"),
        [
            ("./mlruns", TrackerRefused, "no longer writes to folders"),
            ("file:///tmp/mlruns", TrackerRefused, "no longer writes to folders"),
            ("sqlite:///{folder}/broken.db", TrackingError, "not a database"),
            ("nonsense://x", TrackerRefused, "must be sqlite"),
            ("postgresql://user:secret@127.0.0.1:1/x", TrackerRefused, "needs the package"),
        ],
    )
    def test_a_wrong_address(self, uri: str, error: type[TrackingError], words: str, tmp_path: Path) -> None:
        (tmp_path / "broken.db").write_text("this is text, and long enough to be no header of SQLite" * 20)
        with pytest.raises(error, match=words) as caught:
            MlflowTracker(uri.format(folder=tmp_path))
        assert "secret" not in str(caught.value)

    def test_a_server_that_is_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        tracker = MlflowTracker("http://someone:secret@127.0.0.1:9")
        with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9") as caught:
            tracker.open_sweep(make_sweep())
        assert not isinstance(caught.value, TrackerRefused)
        assert "secret" not in str(caught.value)

    def test_the_writer_thread_logs_as_the_caller_would(
        self, mlflow_lab: MlflowLab, tmp_path: Path, empty_database: Path
    ) -> None:
        other = tmp_path / "other"
        other.mkdir()
        shutil.copyfile(empty_database, other / "mlflow.db")
        spooled_lab = MlflowLab(other)
        spool = BackgroundTracker(spooled_lab.tracker())
        for tracker in (mlflow_lab.tracker(), spool):
            tracker.open_sweep(make_sweep())
            for _ in range(2):
                tracker.open_trial(TRIAL)
                tracker.log_curve(CONFIG.trial_id, RECORD.curve[:5])
            tracker.log_record(RECORD, {})
            tracker.close_sweep("FINISHED", artifacts={}, metrics={"sweep.trials": 1.0}, tags={})
        report = spool.close()
        assert (report.unlogged, report.errors, report.sweep_logged) == ((), (), True)
        assert [replace(run, tags={}) for run in spooled_lab.trials()] == [replace(run, tags={}) for run in mlflow_lab.trials()]

    def test_a_view_is_written_once_and_kept(self, mlflow_lab: MlflowLab) -> None:
        sweep = make_sweep(axes=("rank",), objectives=(names.ACCURACY.key,))
        tracker = opened(mlflow_lab, sweep)
        experiment = mlflow_lab.client.get_experiment_by_name("lab quickstart")
        (key,) = (key for key in experiment.tags if key.startswith(view.TAG_PREFIX))
        assert tracker.page().endswith(key.removeprefix(view.TAG_PREFIX))
        mlflow_lab.client.set_experiment_tag(experiment.experiment_id, key, "edited by a person")
        opened(mlflow_lab, sweep)
        assert mlflow_lab.client.get_experiment_by_name("lab quickstart").tags[key] == "edited by a person"
        assert "viewStateShareKey" not in opened(mlflow_lab).page()

    @pytest.mark.slow
    def test_over_a_server(self, tmp_path: Path, empty_database: Path) -> None:
        """Through HTTP, artifacts included; interrupted, and once more in whole."""
        shutil.copyfile(empty_database, tmp_path / "mlflow.db")
        (tmp_path / "predictions.csv").write_text("a,b\n")
        groups = tuple(f"group {number}" for number in range(120))
        record = make_record(CONFIG, measures=make_measures(groups))
        with serving(tmp_path) as server:
            lab = MlflowLab(tmp_path)
            first = MlflowTracker(server)
            first.open_sweep(make_sweep(params={"a": "1"}))
            first.open_trial(TRIAL)
            first.log_curve(CONFIG.trial_id, RECORD.curve[:7])
            for _ in range(2):
                tracker = MlflowTracker(server)
                tracker.open_sweep(make_sweep(params={"a": "1"}))
                tracker.open_trial(TRIAL)
                tracker.log_record(record, {"tables/predictions.csv": tmp_path / "predictions.csv"})
                tracker.close_sweep("FINISHED", artifacts={}, metrics={"sweep.trials": 1.0}, tags={})
            assert tracker.logged_trials() == {CONFIG.trial_id}
            client = MlflowClient(tracking_uri=server)
            (run,) = client.search_runs(lab._experiments(), f"tags.`{layout.KIND}` = 'trial'")
            assert [item.path for item in client.list_artifacts(run.info.run_id, "tables")] == ["tables/predictions.csv"]
            history = client.get_metric_history(run.info.run_id, names.CURVE_TRAIN_LOSS)
            assert sorted(row.step for row in history) == [point.step for point in RECORD.curve]
            finite = {key: value for key, value in record.metrics().items() if not math.isnan(value)}
            assert {key: run.data.metrics[key] for key in finite} == finite

    @pytest.mark.slow
    def test_two_hundred_trials(self, mlflow_lab: MlflowLab, capsys: pytest.CaptureFixture[str]) -> None:
        configs = [make_config(seed=seed) for seed in range(200)]
        tracker = opened(mlflow_lab)
        started = time.perf_counter()
        for config in configs:
            tracker.open_trial(make_trial(config))
            tracker.log_record(make_record(config), {})
        logged = time.perf_counter()
        assert opened(mlflow_lab).logged_trials() == {config.trial_id for config in configs}
        with capsys.disabled():
            seconds = logged - started
            print(
                f"\n200 trials logged in {seconds:.1f} s ({200 / seconds:.0f}/s), found in {time.perf_counter() - logged:.1f} s"
            )
