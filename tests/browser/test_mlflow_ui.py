"""What a person sees in MLflow's own pages, in a real browser on a real server."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lfray import names
from lfray.tracking import layout
from lfray.tracking.mlflow_store import MlflowTracker
from tests.contract.builders import make_config, make_failure, make_measures, make_record, make_sweep, make_trial
from tests.contract.server import serving

CHROMIUM = Path(os.environ.get("LFRAY_CHROMIUM", "/usr/bin/chromium"))
WORST, SIZE = names.WORST_GROUP_ACCURACY.key, names.TRAINABLE_PARAMETERS.key
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"Chromium absent: {CHROMIUM}"),
    # mlflow 3.17 uses a loader that sqlalchemy 2.1 calls deprecated.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


@dataclass(frozen=True)
class Site:
    """A running server on a filled store."""

    address: str
    page: str
    labels: tuple[str, ...]
    parent: str
    outside: list[str]
    """Addresses other than the server's that the browser asked for."""


def fill(folder: Path) -> tuple[MlflowTracker, str, list[str]]:
    """Twelve trials of four methods and three ratios."""
    figure = folder / "front.svg"
    figure.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100"><circle cx="50" cy="50" r="40"/></svg>')
    table = folder / "table.csv"
    table.write_text("trial,front\na,1\n")
    tracker = MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}")
    parent = tracker.open_sweep(
        make_sweep(
            params={"train.epochs": "3", "axes.rank": "0, 2, 8"},
            description="How low can the **rank** go?",
            axes=("method", "rank", "downsampling_ratio"),
            objectives=(WORST, SIZE),
        )
    )
    labels = []
    for index, (rank, ratio) in enumerate((rank, ratio) for rank in (0, 2, 8, None) for ratio in (1.0, 0.2, 0.05)):
        config = make_config(rank=rank, ratio=ratio)
        size = 1024.0 * {0: 1, 2: 2, 8: 8, None: 100}[rank]
        measures = tuple(
            replace(measure, value=size) if measure.measure == SIZE else measure
            for measure in make_measures(quality=0.7 + 0.01 * index)
        )
        tracker.open_trial(make_trial(config))
        tracker.log_record(make_record(config, measures=measures), {"predictions.csv": table})
        labels.append(config.label)
    failed = make_config(seed=99)
    tracker.open_trial(make_trial(failed))
    tracker.log_record(make_record(failed, measures=(), failure=make_failure()), {})
    artifacts = {"figures/front.svg": figure, "front.csv": table}
    tracker.close_sweep("FINISHED", artifacts=artifacts, metrics={"sweep.hypervolume": 0.4}, tags={})
    return tracker, parent, [*labels, failed.label]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, MlflowTracker, str, list[str]]]:
    """A server beside a filled database."""
    folder = tmp_path_factory.mktemp("site")
    tracker, parent, labels = fill(folder)
    with serving(folder) as address:
        yield address, tracker, parent, labels


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def site(server: tuple[str, MlflowTracker, str, list[str]]) -> Site:
    address, tracker, parent, labels = server
    return Site(address, tracker.page(), tuple(labels), parent, [])


@pytest.fixture
def tab(browser: Any, site: Site) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1900, "height": 1100})
    page.set_default_timeout(60_000)
    # The assistant's panel is open on a first visit and covers a quarter of the page.
    page.add_init_script(
        "localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');"
        "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )

    def note(request: Any) -> None:
        if not request.url.startswith((site.address, "data:", "blob:")):
            site.outside.append(request.url)

    page.on("request", note)
    yield page
    page.close()


def screenshot(tab: Any, name: str) -> None:
    """Kept where `LFRAY_SCREENSHOTS` points, for people."""
    folder = os.environ.get("LFRAY_SCREENSHOTS")
    if folder:
        tab.screenshot(path=str(Path(folder) / f"mlflow-{name}.png"))


def texts(tab: Any, column: str) -> list[str]:
    """The cells of one column of the run table, top down."""
    script = "(cells) => cells.map((cell) => [cell.closest('[role=row]').getAttribute('row-index'), cell.innerText.trim()])"
    cells = tab.eval_on_selector_all(f"[role=gridcell][col-id='{column}']", script)
    return [text.splitlines()[-1] for _, text in sorted(cells, key=lambda cell: int(cell[0]))]  # before a name stands its colour


def test_the_table_compares_trials(site: Site, tab: Any) -> None:
    """The link that the sweep prints: readable names, axes and objectives as columns, best worst group first."""
    tab.goto(site.address + site.page)
    tab.wait_for_selector(f"[col-id='metrics.`{WORST}`'][role=gridcell] >> nth=12")
    screenshot(tab, "table")
    assert sorted(texts(tab, "attributes.`Run Name`")) == sorted(site.labels)
    worst = [float(text) for text in texts(tab, f"metrics.`{WORST}`") if text != "-"]
    assert worst == sorted(worst, reverse=True)
    assert len(worst) == 12
    assert set(texts(tab, "params.`rank`")) == {"0", "2", "8", "-"}
    assert set(texts(tab, "params.`downsampling_ratio`")) == {"1", "0.2", "0.05"}
    assert set(texts(tab, "params.`method`")) == {"head", "lora", "full"}
    assert site.outside == []


def test_the_charts_show_parallel_coordinates_and_the_objectives(site: Site, tab: Any) -> None:
    tab.goto(f"{site.address}{site.page}&compareRunsMode=CHART")
    tab.wait_for_selector("text=quick: all trials")
    tab.wait_for_selector("text=quick: objectives in pairs")
    lines = tab.locator("[data-testid='experiment-view-compare-runs-card']").first
    lines.locator("svg text", has_text="lora-r8").first.wait_for()
    for label in ("full", "head", "lora-r2"):
        assert lines.locator("svg text", has_text=label).count() >= 1
    assert lines.locator("canvas").count() >= 1
    tab.wait_for_selector(".scatterlayer .point >> nth=11")
    screenshot(tab, "charts")


def test_the_parent_folds_its_trials(site: Site, tab: Any) -> None:
    """MLflow's own default page: one line a sweep, unfolded to its trials."""
    bare = site.page.partition("?")[0]
    tab.goto(f"{site.address}{bare}?workflowType=machine_learning")
    tab.wait_for_selector("[role=gridcell] >> text=quick")
    assert texts(tab, "attributes.`Run Name`") == ["quick"]
    tab.locator("[role=gridcell][col-id='runDateAndNestInfo'], [role=gridcell][col-id='attributes.`Run Name`']").first.wait_for()
    tab.locator("[role=gridcell] svg[data-icon], [role=gridcell] button").first.click()
    tab.wait_for_selector(f"[role=gridcell] >> text={site.labels[0]}")
    screenshot(tab, "parent-unfolded")
    assert set(texts(tab, "attributes.`Run Name`")) >= {"quick", site.labels[0]}


def test_the_compare_page_draws_parallel_coordinates(site: Site, tab: Any, server: Any) -> None:
    runs = json.dumps([run.run_id for run in server[1]._trials.values()][:12], separators=(",", ":"))
    experiment = site.page.split("/")[3]
    tab.goto(f"{site.address}/#/compare-runs?runs={runs}&experiments=[%22{experiment}%22]".replace('"', "%22"))
    tab.wait_for_selector("text=Parallel Coordinates Plot")
    tab.wait_for_selector(".js-plotly-plot .parcoords canvas, .js-plotly-plot canvas")
    screenshot(tab, "compare")
    body = tab.inner_text("body")
    for label in site.labels[:3]:
        assert label in body
    assert "downsampling_ratio" in body
    assert WORST in body


def test_a_trials_page(site: Site, tab: Any, server: Any) -> None:
    """Name, parent, data set, why a value is undefined; the live curve; artifacts that open."""
    experiment = site.page.split("/")[3]
    run = server[1]._trials[make_config(rank=8, ratio=0.2).trial_id].run_id
    tab.goto(f"{site.address}/#/experiments/{experiment}/runs/{run}?workflowType=machine_learning")
    tab.wait_for_selector("text=lora-r8 ratio-0.2 seed-13")
    tab.wait_for_selector("text=reviews (0123456789abcdef)")
    screenshot(tab, "trial")
    body = tab.inner_text("body")
    assert "quick" in body
    assert "group_is_label" in body
    tab.goto(f"{site.address}/#/experiments/{experiment}/runs/{run}/model-metrics?workflowType=machine_learning")
    tab.get_by_placeholder("Search metric charts").fill(names.CURVE_TRAIN_LOSS)
    tab.wait_for_selector(".js-plotly-plot .scatterlayer path.js-line")
    screenshot(tab, "curve")
    tab.goto(f"{site.address}/#/experiments/{experiment}/runs/{run}/artifacts/predictions.csv?workflowType=machine_learning")
    tab.wait_for_selector("text=predictions.csv")
    tab.wait_for_selector("text=front")
    screenshot(tab, "artifact")


def test_artifacts_come_through_the_server(site: Site) -> None:
    for path, start in (("figures/front.svg", b"<svg"), (layout.ENVIRONMENT, b"python==")):
        with urllib.request.urlopen(f"{site.address}/get-artifact?path={path}&run_uuid={site.parent}", timeout=30) as answer:
            assert answer.read().startswith(start)
