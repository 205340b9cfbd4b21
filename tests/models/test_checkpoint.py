import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from asr_kd.frontend.fbank import FrontEndConfig
from asr_kd.inventory.senones import Senones
from asr_kd.models.acoustic import build_model
from asr_kd.models.checkpoint import init_from_checkpoint, load_model, model_fingerprint, read_description, save_model
from asr_kd.models.config import ModelConfig

INVENTORY = Senones.monophone(["SIL", "A", "B"])


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = ModelConfig(num_layers=1, hidden_size=8, bidirectional=True)
    model = build_model(config, INVENTORY, FrontEndConfig(mel_bins=20))
    model.set_normalisation(torch.arange(60.0), torch.arange(60.0))
    model.log_prior_C.copy_(torch.randn(INVENTORY.num_classes))
    return model.eval()


def test_a_file_alone_rebuilds_the_model(model, tmp_path):
    save_model(tmp_path, model, {"step": 7})
    again = load_model(tmp_path)
    assert not again.training
    assert (again.config, again.inventory, again.frontend) == (model.config, model.inventory, model.frontend)
    x_BTF, frames_B = torch.randn(2, 9, 60), torch.tensor([9, 4])
    assert torch.equal(again(x_BTF, frames_B)[0], model(x_BTF, frames_B)[0])
    assert torch.equal(again.log_prior_C, model.log_prior_C)
    assert read_description(tmp_path)["notes"] == {"step": 7}


def test_the_same_model_gives_the_same_bytes(model, tmp_path):
    save_model(tmp_path / "a.safetensors", model, {"x": 1, "y": 2})
    save_model(tmp_path / "b.safetensors", load_model(tmp_path / "a.safetensors"), {"y": 2, "x": 1})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_fingerprint_changes_with_weights_and_description_but_not_with_notes(model, tmp_path):
    save_model(tmp_path / "a", model, {"step": 7})
    save_model(tmp_path / "b", model, {"step": 8})
    assert model_fingerprint(tmp_path / "a") == model_fingerprint(tmp_path / "b" / "model.safetensors")
    with torch.no_grad():
        model.output.bias[0] += 1e-3
    save_model(tmp_path / "c", model)
    model.frontend = FrontEndConfig(mel_bins=20, cmn_window_s=4.0)
    save_model(tmp_path / "d", model)
    assert len({model_fingerprint(tmp_path / name) for name in "acd"}) == 3


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_named(model, tmp_path, kept):
    save_model(tmp_path, model)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a whole safetensors file"):
        load_model(tmp_path)


def write_with_header(folder, **changes):
    header = {"kind": "acoustic model", "version": 1, **changes}
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors", metadata={"asr_kd": json.dumps(header)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "language model"}, "holds a language model"),
        ({"version": 99}, "model version 99, this asr_kd reads 1"),
        ({}, "damaged"),
    ],
)
def test_another_kind_or_version_is_refused(tmp_path, changes, message):
    write_with_header(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)


def test_someone_elses_safetensors_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no model there"):
        load_model(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"no model of asr_kd"):
        load_model(tmp_path)


def test_weights_are_taken_over_only_from_a_model_made_alike(tmp_path):
    torch.manual_seed(0)
    inventory = Senones.monophone(["SIL", "A", "B"])
    config = ModelConfig(num_layers=1, hidden_size=8)
    saved = build_model(config, inventory, FrontEndConfig())
    saved.set_normalisation(torch.full((192,), 2.0), torch.full((192,), 3.0))
    save_model(tmp_path, saved)
    same = build_model(ModelConfig(num_layers=1, hidden_size=8, dropout=0.5), inventory, FrontEndConfig())
    init_from_checkpoint(same, tmp_path)
    for name, value in saved.state_dict().items():
        assert torch.equal(value, same.state_dict()[name]), name
    for other in (
        build_model(ModelConfig(num_layers=2, hidden_size=8), inventory, FrontEndConfig()),
        build_model(config, Senones.monophone(["SIL", "A", "C"]), FrontEndConfig()),
        build_model(config, inventory, FrontEndConfig(low_hz=80.0)),
    ):
        with pytest.raises(ValueError, match="differs from this run's"):
            init_from_checkpoint(other, tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["output.bias", "feature_mean_F", "log_prior_C"])
def test_a_model_that_is_not_finite_is_refused_by_whoever_reads_it(model, tmp_path, name, value):
    model.state_dict()[name][1] = value
    save_model(tmp_path, model)
    with pytest.raises(ValueError, match=rf"model\.safetensors: {name} holds weights that are not finite"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", {"hidden_size": 10**9}),
        ("model", {"num_layers": 10**12}),
        ("model", {"hidden_size": 60000, "num_layers": 9}),
        ("model", {"num_heads": True}),
        ("model", None),
        ("inventory", []),
        ("inventory", {"kind": []}),
        ("inventory", {"kind": "tokens", "units": 3}),
        ("frontend", {"mel_bins": 10**9}),
        ("frontend", {"frame_stacking": -1}),
        ("notes", "none"),
        ("version", {"a": 1}),
        ("version", [1]),
        ("kind", ["x"] * 10**5),
    ],
)
def test_an_odd_header_is_one_clear_line(model, tmp_path, key, value):
    save_model(tmp_path, model)
    file = tmp_path / "model.safetensors"
    with safe_open(file, "pt") as f:
        description = json.loads(f.metadata()["asr_kd"])
    save_file(load_file(file), file, {"asr_kd": json.dumps(description | {key: value})})
    with pytest.raises(ValueError, match=r"model\.safetensors: ") as e:
        load_model(file)
    assert "\n" not in str(e.value) and len(str(e.value)) < 500


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "null", "[" * 5000, '{"kind": "acoustic model"}', '{"kind": 1' + "0" * 5000 + "}"]
)
def test_a_header_that_is_no_description_is_one_clear_line(tmp_path, text):
    save_file({"x": torch.ones(2)}, tmp_path / "model.safetensors", {"asr_kd": text})
    for read in (load_model, read_description, model_fingerprint):
        with pytest.raises(ValueError, match=r"model\.safetensors: ") as e:
            read(tmp_path)
        assert len(str(e.value)) < 500


def test_a_model_beyond_the_machines_memory_is_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match=r"model: \d+M parameters take \d+ GB, this machine has"):
        build_model(ModelConfig(num_layers=9, hidden_size=60000), INVENTORY, FrontEndConfig())
    for fields in ({"hidden_size": 10**9}, {"num_layers": 10**9}, {"proj_size": 10**9}, {"lookahead": 10**9}):
        with pytest.raises(ValueError, match=rf"model\.{next(iter(fields))} is 1000000000; it must be"):
            ModelConfig(**fields)
