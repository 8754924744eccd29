"""The files around the code agree with the code and with each other."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from agents.settings import PREFIX, Settings
from schemas.topics import TOPICS
from tests.support.kafka import KAFKA

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "detector", "agents")
TEXTS = ("README.md", "CONTRIBUTING.md")
KNOBS_OF_THE_TESTS = {"DRIFTLINE_REQUIRE_KAFKA"}

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = dict(re.findall(r"^([a-z][a-z-]*):.*?## (.+)$", MAKEFILE, re.MULTILINE))


def own_files() -> Iterator[Path]:
    """What belongs to the repository: not what was built, cached or installed in it."""
    folders = (*PACKAGES, "tests", "bench", "examples", "docs", "scripts", ".ci", ".github")
    for path in [*ROOT.iterdir(), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]:
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".log":
            yield path


# The compose file


def test_compose_runs_the_release_of_apache_kafka_that_the_tests_run_without_zookeeper() -> None:
    kafka = COMPOSE["services"]["kafka"]
    assert kafka["image"] == f"apache/kafka:{KAFKA}"
    assert kafka["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"


def test_compose_keeps_what_kafka_has_stored_in_a_named_volume() -> None:
    folder = COMPOSE["services"]["kafka"]["environment"]["KAFKA_LOG_DIRS"]
    mounts = dict(mount.split(":")[:2][::-1] for mount in COMPOSE["services"]["kafka"]["volumes"])
    assert mounts[folder] in COMPOSE["volumes"]


def test_the_broker_of_compose_takes_the_largest_record_of_the_topic_table() -> None:
    largest = max(topic.max_message_bytes for topic in TOPICS.values())
    assert COMPOSE["services"]["kafka"]["environment"]["KAFKA_MESSAGE_MAX_BYTES"] > largest


@pytest.mark.parametrize(
    ("service", "asked"), [("kafka", "kafka-broker-api-versions.sh"), ("worker", "/healthz")], ids=["kafka", "worker"]
)
def test_compose_checks_the_health_of(service: str, asked: str) -> None:
    assert any(asked in word for word in COMPOSE["services"][service]["healthcheck"]["test"])


def test_the_worker_of_compose_starts_after_the_topics_are_made_on_a_healthy_broker() -> None:
    services = COMPOSE["services"]
    assert services["topics"]["command"] == ["topics", "create"]
    assert services["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    assert services["worker"]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_compose_can_run_several_workers_side_by_side() -> None:
    worker = COMPOSE["services"]["worker"]
    assert "container_name" not in worker
    assert "hostname" not in worker
    assert f"{PREFIX}GROUP_INSTANCE_ID" not in worker["environment"]
    for port in worker["ports"]:
        assert re.search(r":\d+-\d+:\d+$", port), f"{port}: the second worker would find the port taken"


def test_the_worker_of_compose_is_given_the_time_to_stop_cleanly() -> None:
    grace = COMPOSE["services"]["worker"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings.model_fields["request_timeout_s"].default


# The image


def test_the_image_starts_the_worker_as_an_ordinary_user_and_checks_its_health() -> None:
    last_stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", last_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK (?:.|\n)*/healthz", last_stage, re.MULTILINE)
    assert 'ENTRYPOINT ["driftline"]\nCMD ["worker"]' in last_stage


def test_the_image_is_built_from_all_that_its_build_copies() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        for source in line.split()
    }
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == let_in
    assert all((ROOT / source).exists() for source in copied)


# Names that users type


@pytest.mark.parametrize("name", ["docker-compose.yml", "Dockerfile", *TEXTS])
def test_every_environment_variable_named_is_a_setting_in(name: str) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z0-9_]*", (ROOT / name).read_text())) - KNOBS_OF_THE_TESTS
    settings = {PREFIX + field.upper() for field in Settings.model_fields}
    wrong = {
        variable
        for variable in named
        if variable not in settings
        and not (variable.endswith("_") and any(setting.startswith(variable) for setting in settings))
    }
    assert wrong == set()


@pytest.mark.parametrize("name", TEXTS)
def test_every_make_target_named_exists_in(name: str) -> None:
    named = set(re.findall(r"(?:^|[`\s])make ([a-z][a-z-]+)\b(?=[^\n]*(?:`|$))", code_of(ROOT / name)))
    assert named <= set(TARGETS)


def code_of(markdown: Path) -> str:
    """The code blocks and code spans of a page, one a line."""
    return "\n".join(re.findall(r"```(?:.|\n)*?```|`[^`\n]+`", markdown.read_text()))


def test_make_says_what_each_target_does() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(TARGETS)
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(f"make {target}" in listed.stdout for target in TARGETS)


def test_continuous_integration_runs_the_linters_and_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^(?:timeout .+ )?(make .+)$", script, re.MULTILINE) == ["make lint", "make test"]
    assert "export DRIFTLINE_REQUIRE_KAFKA=1" in script
    assert "make test" in code_of(ROOT / "README.md")


def test_setup_refuses_an_interpreter_that_does_not_fit_with_one_line(tmp_path: Path) -> None:
    too_old = tmp_path / "python"
    too_old.write_text("#!/bin/sh\nexit 1\n")
    too_old.chmod(0o755)
    tried = subprocess.run(
        [ROOT / "scripts" / "setup", tmp_path / "venv"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(too_old)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 1
    assert tried.stderr == f"setup: PYTHON={too_old} is not a working Python 3.11, 3.12 or 3.13\n"
    assert not (tmp_path / "venv").exists()


# Versions and dependencies


def test_the_version_is_the_newest_of_the_changelog() -> None:
    versions = re.findall(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == PROJECT["project"]["version"]


def requirements(*extras: str) -> list[Requirement]:
    """The declared dependencies with those of some extras."""
    project = PROJECT["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != project["name"]]


def test_every_dependency_has_a_tested_version_within_its_bounds() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    tested = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for requirement in requirements("local", "demo", "dev"):
        assert requirement.specifier.contains(tested[canonicalize_name(requirement.name)]), requirement


def test_every_library_imported_is_a_declared_dependency() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in requirements("local", "demo")}
    declared |= {"mode-streaming", "pydantic-core"}  # halves of faust-streaming and pydantic, which fix their versions
    distributions = packages_distributions()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for module in third_party_imports(path):
                names = {canonicalize_name(name) for name in distributions.get(module, [module])}
                assert names & declared, f"{path.relative_to(ROOT)} imports {module}"


def third_party_imports(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports, without ours and those of Python."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    return modules - sys.stdlib_module_names - {*PACKAGES, "__future__"}


def test_the_command_that_is_installed_exists() -> None:
    module, _, function = PROJECT["project"]["scripts"]["driftline"].partition(":")
    source = ROOT.joinpath(*module.split("."))
    path = source.with_suffix(".py") if source.with_suffix(".py").exists() else source / "__init__.py"
    names = {getattr(node, "name", None) for node in ast.parse(path.read_text()).body}
    assert function in names


# What must not be here


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    homes = [r"/[h]ome/\w+", r"/[U]sers/\w+", r"[A-Z]:\\[U]sers", r"/[r]oot/"]
    here = [re.escape(str(ROOT))] if len(ROOT.parts) > 2 else []
    machine = re.compile("|".join([*homes, *here]).encode())
    named = {
        str(path.relative_to(ROOT)): found[0] for path in own_files() if (found := machine.search(path.read_bytes()))
    }
    assert named == {}


CLOCKS_AND_DICE = {"now", "utcnow", "today", "default_rng", "time_ns", "perf_counter", "monotonic"}


@pytest.mark.parametrize("package", ["schemas", "detector"])
def test_neither_asks_a_clock_nor_makes_a_random_generator(package: str) -> None:
    asked = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) in CLOCKS_AND_DICE
    ]
    assert asked == []
