"""The catalogue of figures, its documentation, the dashboard and the alerts say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recorderd.server.http.metrics import CATALOGUE, PREFIX, Page, metrics_text

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "etc/grafana/recorderd.json").read_text())
RULES = yaml.safe_load((ROOT / "etc/prometheus/recorderd.rules.yml").read_text())
NAMES = {PREFIX + metric.name: metric for metric in CATALOGUE}


def test_the_documentation_has_every_figure_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]+) \| ([^|]+) \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    said = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), doc) for name, kind, labels, doc in rows}
    assert said == {name: (one.kind, one.labels, one.doc) for name, one in NAMES.items()}


def test_names_follow_the_conventions() -> None:
    assert len(NAMES) == len(CATALOGUE)
    for metric in CATALOGUE:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
        assert set(metric.labels) <= {"camera", "storage", "cause"}


def expressions() -> list[str]:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return shown + [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("expression", expressions())
def test_dashboard_and_alerts_ask_for_figures_and_labels_that_exist(expression: str) -> None:
    for name in re.findall(r"\brecorderd_\w+", expression):
        assert name in NAMES, name
    for name, labels in re.findall(r"(recorderd_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=|!=)", labels)) <= set(NAMES[name].labels)
    for name in re.findall(r"(?:rate|increase)\((recorderd_\w+)", expression):
        assert NAMES[name].kind == "counter", name
    assert expression.count("(") == expression.count(")")


def test_the_dashboard_is_whole() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        assert panel["datasource"]["uid"] == "${source}"
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells
    assert DASHBOARD["templating"]["list"][0]["name"] == "source"


def test_every_alert_says_what_to_do() -> None:
    for rule in RULES["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert len(rule["annotations"]["summary"]) > 20


def test_a_figure_outside_the_catalogue_stops_the_page() -> None:
    with pytest.raises(KeyError):
        metrics_text([], [], [], {"made_up": 1.0}, {}, {})
    with pytest.raises(ValueError, match="labels"):
        Page().add("storage_state", 1, "main")


def test_values_and_labels_are_written_as_the_format_wants() -> None:
    page = Page()
    page.add("storage_free_bytes", 123456789012345.0, 'a"b\\c\nd')
    assert page.text().splitlines()[2] == 'recorderd_storage_free_bytes{storage="a\\"b\\\\c\\nd"} 123456789012345'
