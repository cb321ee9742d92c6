"""Settings: precedence, messages that name key, value and repair, round trips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import Field, ValidationError, model_validator

from diffpose.platform.base.config import (
    Settings,
    describe,
    differences,
    load_settings,
    read_yaml,
    to_yaml,
    validate,
)
from diffpose.platform.base.errors import ConfigError


class Optics(Settings):
    """A nested part."""

    width: int = Field(640, ge=1, description="pixels across")
    focal: float = 1.5
    names: list[str] = Field(["left", "right"])


class Training(Settings):
    """A nested part with a required key."""

    epochs: int = Field(ge=1, description="passes over the data")
    rate: float = 0.5


class Job(Settings):
    """Does a job."""

    store: str = Field(description="where the poses are")
    optics: Optics = Field(Optics(), description="the lens")
    training: Training = Field(Training(epochs=20, rate=0.25), description="how it learns")
    extra: Training | None = Field(None, description="another round")
    seed: int = Field(0, ge=0, description="of everything")
    limit: int | None = Field(5, description="at most so many")
    label: str | None = "none yet"
    json_file: str | None = None

    @model_validator(mode="after")
    def _apart(self) -> Job:
        if self.seed == 13:
            raise ValueError("seed=13 brings bad luck; take 14")
        return self


def write(folder: Path, text: str, name: str = "job.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def message(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(Job, arguments)
    return str(caught.value)


def test_precedence(tmp_path: Path) -> None:
    first = write(tmp_path, "store: one\nseed: 1\noptics: {width: 10, focal: 2.0}\n", "1.yaml")
    second = write(tmp_path, "seed: 2\noptics: {width: 20}\n", "2.yaml")
    job = load_settings(Job, ["optics.width=30", "--config", first, f"--config={second}"])
    # The command line wins wherever it stands, then the later file, the earlier, the defaults.
    assert (job.optics.width, job.seed, job.optics.focal, job.store) == (30, 2, 2.0, "one")
    assert job.optics.names == ["left", "right"]
    assert job.limit == 5
    swapped = load_settings(Job, ["--config", second, "--config", first])
    assert (swapped.seed, swapped.optics.width) == (1, 10)


def test_the_last_of_two_arguments_wins() -> None:
    assert load_settings(Job, ["store=a", "seed=1", "seed=2"]).seed == 2


def test_lists_and_null() -> None:
    job = load_settings(Job, ["store=a", "optics.names=[up, down, 3]", "limit=null", "label="])
    assert job.optics.names == ["up", "down", "3"]
    assert job.limit is None
    assert job.label is None


def test_lists_are_replaced_and_not_joined(tmp_path: Path) -> None:
    config = write(tmp_path, "store: a\noptics: {names: [x]}\n")
    assert load_settings(Job, ["--config", config]).optics.names == ["x"]
    assert load_settings(Job, ["--config", config, "optics.names=[]"]).optics.names == []


@pytest.mark.parametrize("given", ["training.rate=0.125", "yaml"])
def test_a_part_given_partly_keeps_the_defaults_of_its_field(tmp_path: Path, given: str) -> None:
    config = write(tmp_path, "store: a\ntraining: {rate: 0.125}\n")
    arguments = ["--config", config] if given == "yaml" else ["store=a", given]
    assert load_settings(Job, arguments).training == Training(epochs=20, rate=0.125)


def test_a_part_that_is_off_by_default_asks_for_its_required_keys() -> None:
    assert load_settings(Job, ["store=a", "extra.epochs=3"]).extra == Training(epochs=3)
    assert "'extra.epochs' is required" in message("store=a", "extra.rate=0.5")


@pytest.mark.parametrize(
    "text", ["0042", "1.10", "1e3", "2024-01-01", "2024-13-45", "on", "1:30", "a=b", "s3://b/k"]
)
def test_texts_stay_as_typed(text: str) -> None:
    job = load_settings(Job, [f"store={text}", f"label={text}"])
    assert (job.store, job.label) == (text, text)


def test_numbers_in_files_become_texts(tmp_path: Path) -> None:
    assert load_settings(Job, ["--config", write(tmp_path, "store: 7\n")]).store == "7"


@pytest.mark.parametrize(
    ("argument", "key", "value", "repair"),
    [
        ("seed=many", "seed", "'many'", "valid integer"),
        ("seed=-1", "seed", "-1", "greater than or equal to 0"),
        ("seed=1.5", "seed", "1.5", "valid integer"),
        ("optics.width=0", "optics.width", "0", "greater than or equal to 1"),
        ("optics.focal=wide", "optics.focal", "'wide'", "valid number"),
        ("optics.names=left", "optics.names", "'left'", "valid list"),
        ("optics.names=[[1]]", "optics.names.0", "[1]", "valid string"),
        ("store=[a, b]", "store", "['a', 'b']", "valid string"),
        ("optics=round", "optics", "'round'", "valid dictionary"),
        ("seed=2024-13-45", "seed", "2024-13-45", "not valid YAML"),
    ],
)
def test_wrong_values(argument: str, key: str, value: str, repair: str) -> None:
    text = message("store=a", argument)
    assert f"{key}={value}" in text
    assert repair in text
    assert len(text.splitlines()) == 1


def test_all_wrong_keys_are_named_at_once() -> None:
    lines = message("seed=x", "optics.width=y").splitlines()
    assert len(lines) == 3
    assert any("'store' is required: give store=VALUE" in line for line in lines)
    assert any("seed='x'" in line for line in lines)
    assert any("optics.width='y'" in line for line in lines)


def test_a_rule_over_several_keys_shows_its_own_words() -> None:
    text = message("store=secret", "seed=13")
    assert text == "The settings do not fit together: seed=13 brings bad luck; take 14."


def test_unknown_keys() -> None:
    assert message("store=a", "sed=1") == "Unknown setting 'sed'. Did you mean 'seed'?"
    nested = message("store=a", "optics.widht=1")
    assert nested == "Unknown setting 'widht' under 'optics'. Did you mean 'width'?"
    optional = message("store=a", "extra.epochs=1", "extra.epoch=1")
    assert optional == "Unknown setting 'epoch' under 'extra'. Did you mean 'epochs'?"
    far = message("store=a", "optics.qqq=1")
    assert "Did you mean" not in far
    assert "Known keys: focal, names, width." in far


def test_required_key() -> None:
    assert message("seed=1") == "The setting 'store' is required: give store=VALUE."


def test_subkey_below_a_plain_value() -> None:
    text = message("seed=1", "seed.low=2", "store=a")
    assert "seed.low= sets a key below seed" in text
    assert "plain value" in text


@pytest.mark.parametrize("argument", ["seed", "=3"])
def test_arguments_that_are_no_settings(argument: str) -> None:
    text = message("store=a", argument)
    assert repr(argument) in text
    assert "expected key=value" in text


def test_bad_yaml_on_the_command_line() -> None:
    text = message("store=a", "optics.names=[left")
    assert "optics.names=[left is not valid YAML" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"store: [a\n", "is not valid YAML"),
        (b"store: \xff\xfe\n", "is not valid YAML"),
        (b"store: 2024-13-45\n", "is not valid YAML"),
        (b"- a\n- b\n", "must hold key: value pairs, found list"),
        (b"hello\n", "must hold key: value pairs, found str"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    text = message("--config", str(tmp_path / "bad.yaml"))
    assert str(tmp_path / "bad.yaml") in text
    assert expected in text


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    config = write(tmp_path, "# nothing but words\n")
    assert load_settings(Job, ["--config", config, "store=a"]) == Job(store="a")


def test_missing_file_lists_recipes(tmp_path: Path) -> None:
    text = message("--config", str(tmp_path / "none.yaml"))
    assert "There is no configuration file" in text
    assert "none.yaml" in text
    assert "configs/train/frame_cpu.yaml" in text
    assert "configs/preprocess/mocap.yaml" in text
    assert "There is no configuration file" in message("--config", str(tmp_path))


def test_recipes_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_yaml("configs/preprocess/mocap.yaml")["source"]["kind"] == "mocap"
    write(tmp_path, "own: 1\n", "mocap.yaml")
    assert read_yaml("mocap.yaml") == {"own": 1}


@pytest.mark.parametrize("arguments", [["--json", "out.json"], ["--json=out.json"]])
def test_json_option(arguments: list[str]) -> None:
    assert load_settings(Job, ["store=a", *arguments]).json_file == "out.json"


@pytest.mark.parametrize("option", ["--config", "--json"])
def test_option_without_its_file(option: str) -> None:
    assert message("store=a", option) == f"{option} needs a file name after it."


@pytest.mark.parametrize("option", ["--seed=1", "--verbose", "--help-me"])
def test_unknown_option(option: str) -> None:
    text = message("store=a", option)
    assert f"Unknown option {option!r}" in text
    assert "key=value" in text
    assert "--help" in text


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load_settings(Job, [option])
    assert caught.value.code == 0
    assert capsys.readouterr().out == describe(Job)


def test_help_lists_keys_with_defaults_and_meaning() -> None:
    lines = [line.strip() for line in describe(Job).splitlines()]
    assert lines[0] == "Does a job."
    assert "store  (required)  where the poses are" in lines
    assert "seed  (default 0)  of everything" in lines
    assert "optics.*  the lens" in lines
    assert "optics.width  (default 640)  pixels across" in lines
    # What the field says, not what the class of the part says.
    assert "training.epochs  (default 20)  passes over the data" in lines
    assert "training.rate  (default 0.25)" in lines
    assert "extra.epochs  (required)  passes over the data" in lines


def test_settings_are_frozen() -> None:
    job = Job(store="a")
    with pytest.raises(ValidationError, match="frozen"):
        job.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        job.optics.width = 3  # type: ignore[misc]
    assert (job.seed, job.optics.width) == (0, 640)


def test_yaml_round_trip(tmp_path: Path) -> None:
    job = load_settings(
        Job,
        [
            "store=0042",
            "optics.names=['yes', 'no']",
            "limit=null",
            "training.rate=1e-5",
            "label=on",
        ],
    )
    config = write(tmp_path, to_yaml(job))
    assert validate(Job, read_yaml(config)) == job
    assert load_settings(Job, ["--config", config]) == job
    assert list(yaml.safe_load(to_yaml(job))) == list(Job.model_fields)


def test_differences() -> None:
    saved = json.loads(Job(store="a", seed=1).model_dump_json())
    now = Job(store="b", optics=Optics(width=2, names=["left"]), seed=3)
    fields = ("optics", "seed", "training")
    assert differences(now, saved, fields) == [
        "optics.names: saved ['left', 'right'], now ['left']",
        "optics.width: saved 640, now 2",
        "seed: saved 1, now 3",
    ]
    assert differences(now, json.loads(now.model_dump_json()), list(Job.model_fields)) == []
    assert differences(now, {}, ("seed",)) == ["seed: saved None, now 3"]
    assert differences(now, saved, ()) == []
