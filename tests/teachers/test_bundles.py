"""wav2vec 2.0 and HuBERT answer as asr_kd's own models do, and come from files that describe themselves."""

import json
import urllib.error

import numpy as np
import pytest
import torch
from bundles import LABELS, small_bundle, small_config
from safetensors.torch import save_file

from asr_kd.core.runtime import has_bf16
from asr_kd.inventory.tokens import BLANK, SPACE
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.registry import load_models, models_fingerprint
from asr_kd.teachers.wav2vec2 import Wav2Vec2Teacher
from asr_kd.teachers.wav2vec2_files import load_bundle, public_bundles, public_config, save_bundle

CPU = torch.device("cpu")
MODES = ("layer_norm", "group_norm")


def waves(*samples):
    rng = np.random.default_rng(0)
    return [rng.normal(0.01, 0.1, n).astype(np.float32) for n in samples]


@pytest.mark.parametrize("mode", MODES)
def test_frames_are_those_of_the_convolutions_and_answers_those_of_torchaudio_with_our_order(mode):
    model = small_bundle(mode)
    inference = Inference(model, CPU, "float32")
    assert model.inventory.symbols == (BLANK, SPACE, "'", "A", "E", "T")
    assert model.inventory.frame_shift_s == inference.frontend.frame_shift_s == 0.02
    for n in (399, 400, 719, 720, 16000, 16123):
        (wave,) = waves(n)
        x_BTF, frames_B = inference.features([wave])
        assert frames_B.tolist() == [max(0, (n - 400) // 320 + 1)] == [inference.frontend.num_frames(n)]
        if n < 400:
            continue
        whole = torch.from_numpy(wave[: 320 * (int(frames_B) - 1) + 400])[None]
        if model.config.normalise_waveform:
            whole = torch.nn.functional.layer_norm(whole, whole.shape)
        with torch.inference_mode():
            theirs_TC = model.network(whole)[0][0].log_softmax(-1)
        wanted_TC = theirs_TC[:, [LABELS.index(label) for label in ("-", "|", "'", "A", "E", "T")]]
        np.testing.assert_allclose(inference.log_posteriors(x_BTF, frames_B)[0], wanted_TC, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("precision", ["float32", *(["bf16"] if has_bf16(torch.device("cpu")) else [])])
def test_padding_changes_nothing_beyond_rounding(mode, precision):
    inference = Inference(small_bundle(mode), CPU, precision)
    given = waves(16000, 5000, 400, 9500, 300)
    together_BTC = inference.log_posteriors(*inference.features(given)).numpy()
    tolerance = 1e-5 if precision == "float32" else 0.03
    for wave, log_p_TC in zip(given[:-1], together_BTC, strict=False):
        alone_TC = inference.log_posteriors(*inference.features([wave]))[0].numpy()
        np.testing.assert_allclose(np.exp(log_p_TC[: len(alone_TC)]), np.exp(alone_TC), atol=tolerance)


def test_group_norm_in_a_batch_would_have_been_another_answer():
    model = small_bundle("group_norm")
    short, long = waves(4000, 16000)
    padded_BN = torch.zeros(2, 16000)
    padded_BN[0, :4000], padded_BN[1] = torch.from_numpy(short), torch.from_numpy(long)
    with torch.inference_mode():
        batched = model.network(padded_BN, torch.tensor([4000, 16000]))[0][0, :12].log_softmax(-1)
        alone = model.network(torch.from_numpy(short)[None])[0][0].log_softmax(-1)
    assert not model.exact_in_batches and (batched - alone).abs().max() > 1e-2


def test_one_model_has_one_fingerprint_in_all_its_files(tmp_path):
    model = small_bundle()
    save_bundle(tmp_path / "own.safetensors", model, {"source": "a test"})
    torch.save(model.network.state_dict(), tmp_path / "plain.pth")
    save_file(model.network.state_dict(), tmp_path / "plain.safetensors")
    described = json.dumps({"architecture": model.config.architecture, "labels": LABELS, "normalise_waveform": True})
    for name in ("plain.pth", "plain.safetensors"):
        (tmp_path / f"{name}.json").write_text(described)
    names = [f"bundle:{tmp_path / name}" for name in ("own.safetensors", "plain.pth", "plain.safetensors")]
    assert {models_fingerprint([name]) for name in names} == {model.fingerprint}
    x_BTF, frames_B = Inference(model, CPU).features(waves(8000))
    for name in names:
        torch.testing.assert_close(load_models([name])(x_BTF, frames_B), model(x_BTF, frames_B))
    assert small_bundle(seed=1).fingerprint != model.fingerprint


def test_models_of_one_inventory_and_front_end_answer_together(tmp_path):
    for seed in (0, 1):
        save_bundle(tmp_path / f"{seed}.safetensors", small_bundle(seed=seed))
    both = load_models([f"bundle:{tmp_path / '0.safetensors'}", f"bundle:{tmp_path / '1.safetensors'}"])
    x_BTF, frames_B = Inference(both, CPU).features(waves(8000))
    mean = sum(small_bundle(seed=s)(x_BTF, frames_B).softmax(-1) for s in (0, 1)) / 2
    torch.testing.assert_close(both(x_BTF, frames_B).exp(), mean)


def test_a_file_under_its_public_name_needs_no_description(tmp_path, monkeypatch):
    bundle = public_bundles()["WAV2VEC2_ASR_BASE_960H"]
    config = public_config(bundle)
    assert config.hops.hop == 320 and config.hops.window == 400 and not config.normalise_waveform
    small = {**config.architecture, "encoder_num_layers": 1, "encoder_embed_dim": 32, "encoder_num_heads": 2}
    small |= {"encoder_ff_interm_features": 32, "extractor_conv_layer_config": small_config().architecture[
        "extractor_conv_layer_config"]}  # fmt: skip
    monkeypatch.setattr(bundle, "_params", small)
    model = Wav2Vec2Teacher(public_config(bundle))
    weights = model.network.state_dict()
    rows = [0, 0, 0, 0, *range(1, 29)]  # as fairseq saved it: three outputs behind the blank that nothing uses
    weights |= {name: weights[name][rows] for name in ("aux.weight", "aux.bias")}
    torch.save(weights, tmp_path / bundle._path)
    assert load_bundle(str(tmp_path / bundle._path)).fingerprint == model.fingerprint


def test_all_public_bundles_have_an_inventory():
    for name, bundle in public_bundles().items():
        inventory = public_config(bundle).inventory()
        assert inventory.symbols[:2] == (BLANK, SPACE) and inventory.num_classes == len(bundle.get_labels()), name


def test_without_a_network_a_name_is_refused_with_the_file_to_give(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(ValueError, match=r"cannot be fetched from https://download.pytorch.org/\S+ .*no network") as e:
        load_bundle("bundle:WAV2VEC2_ASR_BASE_960H")
    assert "give --teacher bundle:FOLDER/wav2vec2_fairseq_base_ls960_asr_ls960.pth" in str(e.value)
    assert "\n" not in str(e.value)


def test_what_is_no_bundle_is_refused_with_a_way_out(tmp_path):
    with pytest.raises(ValueError, match=r"bundle:NOWHERE: no such file, and no bundle.*HUBERT_ASR_LARGE"):
        load_bundle("bundle:NOWHERE")
    torch.save(small_bundle().network.state_dict(), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x\.pth: does not describe itself. Write x\.pth\.json"):
        load_bundle(str(tmp_path / "x.pth"))
    description = {"architecture": small_config("group_norm").architecture, "labels": LABELS}
    (tmp_path / "x.pth.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match=r"x\.pth: weights and description do not fit"):
        load_bundle(str(tmp_path / "x.pth"))
    (tmp_path / "x.pth.json").write_text(json.dumps(description | {"labels": LABELS[:-1]}))
    with pytest.raises(ValueError, match=r"x\.pth\.json: .*aux_num_out is 6, there are 5 labels"):
        load_bundle(str(tmp_path / "x.pth"))
    (tmp_path / "y.pth").write_bytes((tmp_path / "x.pth").read_bytes()[:999])
    with pytest.raises(ValueError, match=r"y\.pth: not a whole file of weights"):
        load_bundle(str(tmp_path / "y.pth"))


class Bomb:
    def __reduce__(self):
        return (print, ("boom",))


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, capsys):
    torch.save({"x": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match="not a whole file of weights"):
        load_bundle(str(tmp_path / "bomb.pth"))
    assert "boom" not in capsys.readouterr().out
