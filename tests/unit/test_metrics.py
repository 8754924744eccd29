from typing import get_type_hints

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from agents.metrics import METRICS, Kind, Metrics, MetricSpec

TYPES = {Kind.COUNTER: Counter, Kind.GAUGE: Gauge, Kind.HISTOGRAM: Histogram}


def test_the_table_and_the_attributes_of_metrics_name_the_same_metrics_with_the_same_types():
    declared = get_type_hints(Metrics)
    assert {spec.attribute: TYPES[spec.kind] for spec in METRICS} == declared


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_a_metric_is_named_as_prometheus_asks_and_is_explained_in_a_sentence(spec: MetricSpec):
    assert spec.name.startswith("driftline_")
    assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
    assert spec.help.endswith(".")
    assert len(spec.help) > 15


@pytest.mark.parametrize("spec", METRICS, ids=lambda spec: spec.name)
def test_a_metric_is_scraped_under_the_name_of_the_table(spec: MetricSpec):
    metrics = Metrics()
    metric = getattr(metrics, spec.attribute)
    child = metric.labels(*spec.labels) if spec.labels else metric
    child.observe(0.2) if spec.kind is Kind.HISTOGRAM else child.inc()
    suffix = "_count" if spec.kind is Kind.HISTOGRAM else ""
    labels = {name: name for name in spec.labels}
    samples = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
    }
    assert (spec.name + suffix, tuple(sorted(labels.items()))) in samples


def test_two_workers_in_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.records.labels(topic="driftline.predictions").inc(3)
    assert one.value("driftline_records_total", topic="driftline.predictions") == 3
    assert other.value("driftline_records_total", topic="driftline.predictions") == 0


def test_metrics_can_share_a_registry_that_is_handed_in():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.registry_models.set(4)
    assert registry.get_sample_value("driftline_registry_models") == 4


def test_the_release_and_the_memory_of_the_process_are_shown():
    text = Metrics().expose().decode()
    assert "driftline_build_info{release=" in text
    assert "process_resident_memory_bytes" in text
