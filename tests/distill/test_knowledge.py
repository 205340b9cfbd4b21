"""Each kind of knowledge: a case computed by hand, its gradient, and what is refused before the first step."""

import dataclasses
import math

import pytest
import torch

from asr_kd.core.config import load_config, to_dict
from asr_kd.data.loader import Batch
from asr_kd.distill.losses.distillation_loss import ModelDims
from asr_kd.distill.losses.fsp import fsp
from asr_kd.distill.losses.hidden_states import FeatureLossConfig
from asr_kd.distill.losses.inputs import KDInputs
from asr_kd.distill.losses.kd import KDConfig
from asr_kd.distill.losses.registry import KD_LOSSES
from asr_kd.distill.losses.rkd import cosines, distances
from asr_kd.distill.losses.spec import LossSpec
from asr_kd.distill.losses.spkd import gram
from asr_kd.distill.objective import needs_online_teacher
from asr_kd.models.acoustic import ModelOutput
from asr_kd.targets.batch_targets import BatchTargets, PaddedFrames

STUDENT, TEACHER = {"layer0": 3, "layer1": 2}, {"layer0": 2, "layer1": 4, "layer2": 2}
SIDES = ModelDims(STUDENT, TEACHER, classes=3, stored=True)


def kind(name, sides=SIDES, **options):
    torch.manual_seed(0)
    return KD_LOSSES[name](load_config(KD_LOSSES[name].Config, options), sides)


def batch(frames, targets=None, is_supervised=False):
    """A batch of utterances of so many frames. targets: (B, T, C) probabilities, all classes."""
    frames_B = torch.tensor(frames)
    shape = (len(frames), max(frames))
    if targets is None:
        known = BatchTargets()
    else:
        log_p = torch.tensor(targets).log()
        ids = torch.arange(log_p.shape[-1]).expand_as(log_p)
        outside = torch.arange(shape[1]) >= frames_B[:, None]
        ids, log_p = ids.masked_fill(outside[..., None], -1), log_p.masked_fill(outside[..., None], -torch.inf)
        known = BatchTargets(PaddedFrames(ids, log_p, None))
    return Batch(torch.zeros(*shape, 1), frames_B, known, "s", 1.0, ["u"], [], None, is_supervised)


def trace(logits, **layers):
    return ModelOutput(torch.as_tensor(logits), {name: torch.as_tensor(x) for name, x in layers.items()})


def random_inputs(frames=(5, 3), is_supervised=False, seed=1):
    """With values behind the ends of utterances that must not matter."""
    draw = torch.Generator().manual_seed(seed)
    shape = (len(frames), max(frames))
    rand = lambda width: torch.randn(*shape, width, generator=draw)
    student = trace(rand(3), **{n: rand(w) for n, w in STUDENT.items()})
    teacher = trace(rand(3), **{n: rand(w) for n, w in TEACHER.items()})
    targets = torch.randn(*shape, 3, generator=draw).softmax(-1).tolist()
    return KDInputs(batch(frames, targets, is_supervised), student, teacher)


def test_the_response_is_the_kl_from_the_stored_posteriors():
    logits = torch.tensor([[[0.2, 0.3, 0.5], [1 / 3, 1 / 3, 1 / 3]]]).log()
    inputs = KDInputs(batch([2], [[[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]]]), trace(logits), None)
    first = 0.7 * math.log(0.7 / 0.2) + 0.2 * math.log(0.2 / 0.3) + 0.1 * math.log(0.1 / 0.5)
    second = 0.5 * math.log(1.5) + 0.5 * math.log(0.75)
    sides = ModelDims(STUDENT, None, 3)
    assert kind("kd", sides)(inputs).mean.item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert kind("kd", sides)(KDInputs(batch([2], None, is_supervised=True), trace(logits), None)) is None


def test_the_response_of_a_companion_is_the_kl_from_its_answers_on_all_audio():
    student, teacher = torch.tensor([[[0.2, 0.3, 0.5]]]).log(), torch.tensor([[[0.7, 0.2, 0.1]]]).log() + 4
    by_hand = 0.7 * math.log(0.7 / 0.2) + 0.2 * math.log(0.2 / 0.3) + 0.1 * math.log(0.1 / 0.5)
    for is_supervised in (False, True):
        inputs = KDInputs(batch([1], None, is_supervised), trace(student), trace(teacher))
        assert kind("kd", source="online")(inputs).mean.item() == pytest.approx(by_hand, rel=1e-5)


def test_selected_frames_are_those_where_someone_speaks():
    blank, speaks = [0.98, 0.01, 0.01], [0.1, 0.8, 0.1]
    student = torch.tensor([[blank, blank, speaks]]).log()
    sides = ModelDims(STUDENT, None, 3)
    selected = kind("kd", sides, frame_matching="non_blank", max_blank_prob=0.95)
    wrong = 0.1 * math.log(0.1 / 0.98) + 0.8 * math.log(80) + 0.1 * math.log(10)
    missed = 0.98 * math.log(9.8) + 0.01 * math.log(0.01 / 0.8) + 0.01 * math.log(0.1)
    inputs = KDInputs(batch([3], [[blank, speaks, blank]]), trace(student), None)  # the first frame says nothing twice
    assert selected(inputs).mean.item() == pytest.approx((wrong + missed) / 2, rel=1e-4)


def test_spikes_that_come_a_little_later_cost_nothing_when_delays_are_allowed():
    blank, spike, sides = [0.9, 0.05, 0.05], [0.1, 0.8, 0.1], ModelDims(STUDENT, None, 3)
    teacher = [[spike, spike, blank, blank, blank], [blank, spike, blank, spike, blank]]
    student = torch.tensor([[blank, blank, spike, spike, blank], [blank, blank, spike, blank, spike]]).log()
    inputs = KDInputs(batch([5, 5], teacher), trace(student), None)
    late = kind("kd", sides, frame_matching="shifted", max_shift_frames=2)(inputs)
    missed = 0.1 * math.log(0.1 / 0.9) + 0.8 * math.log(0.8 / 0.05) + 0.1 * math.log(0.1 / 0.05)
    # Two frames late, the first two have nothing before them; one frame late, the second utterance costs nothing.
    assert late.mean.item() == pytest.approx(2 * missed / 10, rel=1e-5)
    assert kind("kd", sides)(inputs).mean > 2 * late.mean
    for match in ("aligned", "shifted"):
        same = KDInputs(batch([5, 5], teacher), trace(torch.tensor(teacher).log()), None)
        assert kind("kd", sides, frame_matching=match)(same).mean.item() == pytest.approx(0, abs=1e-6)
        silent = KDInputs(batch([5, 5], teacher), trace(torch.tensor([[blank] * 5] * 2).log()), None)
        assert kind("kd", sides, frame_matching=match, max_shift_frames=1)(silent).mean.item() == pytest.approx(
            4 * missed / 10
        )


def test_frames_that_are_surely_blank_on_both_sides_are_not_compared_at_any_bound():
    sides = ModelDims(STUDENT, None, 3)
    sure, unsure = [1.0, 0.0, 0.0], [0.5, 0.25, 0.25]
    student = torch.tensor([[[200.0, 0.0, 0.0], [200.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    inputs = KDInputs(batch([3], [[sure, unsure, sure]]), trace(student), None)
    assert kind("kd", sides, frame_matching="non_blank", max_blank_prob=1.0)(inputs).count == 2


@pytest.mark.parametrize("frames", [1, 2])
def test_an_utterance_shorter_than_the_shifts_is_compared_as_far_as_it_goes(frames):
    blank, spike, sides = [0.9, 0.05, 0.05], [0.1, 0.8, 0.1], ModelDims(STUDENT, None, 3)
    student = trace(torch.tensor([[blank, spike][:frames]]).log())
    inputs = KDInputs(batch([frames], [[spike, blank][:frames]]), student, None)
    missed = 0.1 * math.log(0.1 / 0.9) + 0.8 * math.log(0.8 / 0.05) + 0.1 * math.log(0.1 / 0.05)
    found = kind("kd", sides, frame_matching="shifted", max_shift_frames=3)(inputs)
    assert found.count == frames and found.sum.item() == pytest.approx(missed, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_blank_prob": 0.0}, r"kd\.max_blank_prob is 0\.0; it must lie in \(0, 1\]"),
        ({"max_blank_prob": 1.1}, r"kd\.max_blank_prob is 1\.1; it must lie in \(0, 1\]"),
        ({"max_shift_frames": 0}, r"kd\.max_shift_frames is 0; it must be 1 or more"),
        ({"temperature": 0.0}, r"loss\.temperature is 0\.0"),
    ],
)
def test_wrong_settings_of_kd_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        kind("kd", **options)
    assert kind("kd", max_blank_prob=1.0, max_shift_frames=1).config.max_shift_frames == 1


def test_hidden_layers_are_compared_by_angle_or_by_distance():
    student = trace(torch.zeros(1, 2, 3), layer0=torch.zeros(1, 2, 3), layer1=torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]))
    teacher = trace(torch.zeros(1, 2, 3), layer0=torch.tensor([[[3.0, 3.0], [0.0, 1.0]]]))
    inputs = KDInputs(batch([2]), student, teacher)
    options = {"layers": {"layer1": "layer0"}, "project": False}
    assert kind("hidden_states", **options)(inputs).mean.item() == pytest.approx((1 - math.sqrt(0.5)) / 2, rel=1e-5)
    # squared distances 4 + 9 = 13 and 1; squared lengths 18 and 1
    assert kind("hidden_states", distance="l2", **options)(inputs).mean.item() == pytest.approx(
        (13 + 1) / (18 + 1), rel=1e-5
    )


def test_similarity_compares_who_is_like_whom_whatever_the_widths():
    student = trace(torch.zeros(1, 2, 3), layer1=torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    teacher = trace(torch.zeros(1, 2, 3), layer1=torch.tensor([[[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]]]))
    same = math.sqrt(0.5)  # rows (2, 2) scaled to length 1
    inputs = KDInputs(batch([2]), student, teacher)
    by_hand = (1 - same) ** 2 + same**2
    found = kind("spkd", layers={"layer1": "layer1"})(inputs)
    assert found.mean.item() == pytest.approx(by_hand, rel=1e-5)
    torch.testing.assert_close(gram(torch.tensor([[3.0, 0.0], [0.0, 4.0]])), torch.eye(2))


def test_relations_are_distances_over_their_mean_and_cosines_of_angles():
    triangle = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # sides 3, 4, 5
    torch.testing.assert_close(distances(triangle)[0], torch.tensor([0.0, 3 / 4, 1.0]))
    torch.testing.assert_close(distances(10 * triangle), distances(triangle))
    angles = cosines(triangle)
    assert angles[0, 1, 2].item() == pytest.approx(0, abs=1e-6)  # the right angle
    assert angles[1, 0, 2].item() == pytest.approx(3 / 5, rel=1e-5)
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    student, teacher = (
        trace(torch.zeros(1, 3, 3), layer1=triangle[None]),
        trace(torch.zeros(1, 3, 3), layer2=line[None]),
    )
    inputs = KDInputs(batch([3]), student, teacher)
    huber = lambda a, b: torch.nn.functional.smooth_l1_loss(torch.tensor(a), torch.tensor(b)).item()
    ours, theirs = [0, 0.75, 1, 0.75, 0, 1.25, 1, 1.25, 0], [0, 0.75, 1.5, 0.75, 0, 0.75, 1.5, 0.75, 0]
    found = kind("rkd", angle_weight=0.0)(inputs)
    assert found.mean.item() == pytest.approx(huber(ours, theirs), rel=1e-4)


def test_flow_is_the_mean_product_of_two_layers():
    a, b = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    torch.testing.assert_close(fsp(a, b, torch.tensor([[[2]]])), torch.tensor([[[2.0, 1.5], [1.0, 0.0]]]))
    flow = kind("fsp", width=2)
    inputs = random_inputs()
    found = flow(inputs)
    ours = [flow.learnt[n](inputs.student.hidden_states[x]) for n, x in enumerate(("layer0", "layer1"))]
    theirs = [inputs.teacher.hidden_states[x] @ getattr(flow, f"fixed{n}") for n, x in enumerate(("layer0", "layer2"))]
    by_hand = 0
    for row, n in enumerate((5, 3)):
        own, wanted = (x[0][row, :n].T @ x[1][row, :n] / n for x in (ours, theirs))
        by_hand += ((own - wanted).square().sum() / wanted.square().sum()).item() / 2
    assert found.mean.item() == pytest.approx(by_hand, rel=1e-5)


def test_deeper_layers_teach_earlier_ones_and_are_not_pulled_at():
    inputs = random_inputs()
    for x in (inputs.student.logits_BTC, *inputs.student.hidden_states.values()):
        x.requires_grad_()
    deeper = kind("self_distillation", label_weight=0.0, feature_weight=0.0)
    loss = deeper(inputs)
    log_p, log_q = (
        x[inputs.mask_BT].log_softmax(-1)
        for x in (inputs.student.logits_BTC, deeper.heads[0](inputs.student.hidden_states["layer0"]))
    )
    assert loss.mean.item() == pytest.approx((log_p.exp() * (log_p - log_q)).sum(-1).mean().item(), rel=1e-4)
    kind("self_distillation")(inputs).mean.backward()
    assert inputs.student.hidden_states["layer0"].grad.abs().sum() > 0
    assert inputs.student.hidden_states["layer1"].grad is None and inputs.student.logits_BTC.grad is None


CASES = [
    ("kd", {}),
    ("kd", {"source": "online", "temperature": 2.0}),
    ("kd", {"frame_matching": "non_blank"}),
    ("kd", {"frame_matching": "shifted", "max_shift_frames": 2}),
    ("hidden_states", {"distance": "cosine"}),
    ("hidden_states", {"distance": "l2", "layers": {"layer0": "layer1", "layer1": "layer2"}}),
    ("spkd", {}),
    ("spkd", {"level": "utterances"}),
    ("rkd", {}),
    ("rkd", {"level": "utterances"}),
    ("fsp", {"width": 3}),
    ("self_distillation", {}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_gradients_are_those_of_small_steps(name, options):
    inputs = random_inputs(frames=(5, 3, 4))
    term = kind(name, **options)

    def loss(logits, layer0, layer1):
        student = ModelOutput(logits, {"layer0": layer0, "layer1": layer1})
        return term(KDInputs(inputs.batch, student, inputs.teacher)).mean

    student = inputs.student
    leaves = [x.double().requires_grad_() for x in (student.logits_BTC, *student.hidden_states.values())]
    if name == "self_distillation":  # what teaches is taken as it is: no gradient, though small steps change the loss
        leaves = [x if n == 1 else x.detach() for n, x in enumerate(leaves)]
    # Losses are computed in float32 whatever comes in, hence the large step.
    assert torch.autograd.gradcheck(loss, leaves, eps=1e-3, atol=3e-3, rtol=1e-2)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_what_lies_behind_the_end_of_an_utterance_does_not_matter(name, options):
    inputs = random_inputs(frames=(5, 3, 4))
    term = kind(name, **options)

    def spoilt(trace):
        return ModelOutput(
            *(
                {n: torch.where(inputs.mask_BT[..., None], v, 7.0) for n, v in x.items()}
                if isinstance(x, dict)
                else torch.where(inputs.mask_BT[..., None], x, 7.0)
                for x in (trace.logits_BTC, trace.hidden_states)
            )
        )

    torch.testing.assert_close(
        term(KDInputs(inputs.batch, spoilt(inputs.student), spoilt(inputs.teacher))).mean, term(inputs).mean
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("kd", {}),
        ("kd", {"frame_matching": "non_blank"}),
        ("kd", {"frame_matching": "shifted"}),
        ("hidden_states", {}),
        ("fsp", {"width": 3}),
        ("self_distillation", {"feature_weight": 0.0}),
    ],
)
def test_micro_batches_add_up_to_the_batch(name, options):
    inputs = random_inputs(frames=(5, 3, 4))
    term = kind(name, **options)
    whole, parts = term(inputs), []
    for row, frames in enumerate((5, 3, 4)):
        cut = lambda x, row=row, frames=frames: x[row : row + 1, :frames]
        outputs = [
            ModelOutput(cut(x.logits_BTC), {n: cut(h) for n, h in x.hidden_states.items()})
            for x in (inputs.student, inputs.teacher)
        ]
        targets = inputs.batch.targets.map(cut)
        parts.append(
            term(KDInputs(dataclasses.replace(batch([frames], is_supervised=False), targets=targets), *outputs))
        )
    torch.testing.assert_close(sum(part.sum for part in parts), whole.sum)
    torch.testing.assert_close(sum(part.count for part in parts), whole.count)


@pytest.mark.parametrize(
    ("name", "sides", "options", "message"),
    [
        (
            "hidden_states",
            SIDES,
            {"layers": {"layer7": "layer0"}},
            "hidden_states: the student has no layer layer7; .*layer0, layer1",
        ),
        ("spkd", SIDES, {"layers": {"layer0": "out"}}, "spkd: the teacher has no layer out; .*layer2"),
        ("hidden_states", SIDES, {"layers": {"layer0": "layer1"}, "project": False}, "layer0 is 3 wide, .* layer1 4"),
        ("rkd", ModelDims(STUDENT, None, 3), {}, "rkd: needs an online teacher"),
        ("fsp", SIDES, {"layers": {"layer0": "layer1"}}, "two or more"),
        ("self_distillation", SIDES, {"layers": ["layer1"]}, "layer1 is the student's last layer"),
        (
            "kd",
            ModelDims(STUDENT, None, 3, stored=False),
            {},
            r"^kd: there is no online teacher and there are no stored targets\. Give --targets, or another --mode\.$",
        ),
        (
            "kd",
            ModelDims(STUDENT, TEACHER, 3, stored=False),
            {"source": "stored"},
            r"^kd\.source is stored, but there are no stored targets\. Give --targets DIR\.$",
        ),
    ],
)
def test_what_does_not_fit_is_refused_naming_both_sides(name, sides, options, message):
    with pytest.raises(ValueError, match=message):
        kind(name, sides, **options)


def test_an_entry_of_a_config_is_checked():
    spec = LossSpec("hidden_states", 2.0, FeatureLossConfig(distance="l2"))
    assert load_config(LossSpec, {"kind": "hidden_states", "weight": 2, "distance": "l2"}) == spec
    assert load_config(LossSpec, to_dict(spec)) == spec and "options" not in to_dict(spec)
    for entry, message in (
        ({"kind": "telepathy"}, "kind is telepathy; known: kd, hidden_states"),
        ({"weight": 1}, "kind is None; known: kd"),
        ({"kind": ["kd"]}, r"kind is \['kd'\]; known: kd"),
        ({"kind": "hidden_states", "weight": -1}, "not negative"),
        ({"kind": "hidden_states", "weight": "much"}, "weight is 'much'; a finite number is needed"),
        ({"kind": "hidden_states", "metric": "l2"}, r"x.yaml: losses\.hidden_states: .*metric"),
    ):
        with pytest.raises(ValueError, match=message):
            load_config(LossSpec, entry, name="x.yaml")
    for options in ({"distance": "l2"}, KDConfig()):
        with pytest.raises(ValueError, match=r"losses\.hidden_states: options is .*; FeatureLossConfig is needed"):
            LossSpec("hidden_states", options=options)
    assert not needs_online_teacher([LossSpec("kd"), LossSpec("self_distillation")], stored=True)
    assert needs_online_teacher([LossSpec("kd")], stored=False) and needs_online_teacher([LossSpec("fsp")], stored=True)
