"""Kernels against the plain formulas: values, forces, and what training on forces differentiates."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.config import ModelConfig, NeighborList
from lamtrain.model.environment import EnvironmentMatrix, Geometry
from lamtrain.model.gate_softmax import gate_softmax
from lamtrain.model.gather import gather_rows, join, split
from lamtrain.model.kernels import choose, closed_form
from lamtrain.model.kernels.choose import kernels
from lamtrain.model.kernels.native import FORCED, KINDS, available, native, run
from lamtrain.model.kernels.plain import neighbor_sums
from lamtrain.model.lam import LamModel
from lamtrain.model.pairs import Angles, Sums
from lamtrain.model.typed_embedding import TypedEmbedding
from tests.lamtrain.model_cases import build_model, model_config, structure

COMPILED = pytest.param("cpp", marks=pytest.mark.skipif(not available(), reason="the kernels were not compiled at installation"))

ROOT = Path(__file__).parents[3]

OCCUPIED = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)  # slots of two atoms


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def softmax_case(phantom: int):
    tensors = random(2, 3, 2, 4, seed=0), random(2, 3, 4, seed=1), random(2, 3, 4, seed=2), random(2, 3, 4, seed=3)
    return tensors, lambda kernel: lambda *t: kernel(*t, phantom)


@pytest.mark.parametrize("phantom", [0, 9])
@pytest.mark.parametrize("name", ["plain", "closed", COMPILED])
def test_the_gated_softmax_has_the_right_first_and_second_derivatives(name, phantom):
    tensors, bind = softmax_case(phantom)
    kernel = bind(kernels(name).gate_softmax)
    torch.testing.assert_close(kernel(*tensors), bind(gate_softmax)(*tensors), rtol=0, atol=1e-15)
    assert torch.autograd.gradcheck(kernel, tensors) and torch.autograd.gradgradcheck(kernel, tensors)


@pytest.mark.parametrize(("phantom", "gated"), [(0, True), (9, True), (9, False)])
@pytest.mark.parametrize("name", [COMPILED])
def test_the_fused_pair_attention_has_the_right_first_and_second_derivatives(name, phantom, gated):
    x, h2, weight = random(2, 3, 5, seed=0), random(2, 3, 3, seed=1), (random(2, 3, seed=2) * OCCUPIED).detach().requires_grad_()
    matrices = random(5, 10, seed=4), random(10, 5, seed=5), random(5, seed=6)

    def attend(x, m, z, bias, h2, weight, *, fused=True):
        weight = weight**3
        a = Angles(h2, Sums(weight=weight, scale=weight, symmetric=1.0, smooth=True, phantom=phantom), hidden=4, gated=gated)
        if fused:
            return kernels(name).pair_attention(x, m, z, bias, a.fading, a.both, a.logit_scale, a.weight_scale, gated, phantom)
        logits = torch.einsum("nihk,njk->nihj", (x @ m).unflatten(-1, (2, 5)), x)
        y = torch.einsum("nihj,njk->nihk", gate_softmax(logits, *a.gate_shift_weight, phantom), x).flatten(2) @ z + bias
        return y * OCCUPIED.unsqueeze(2)

    tensors = (x, *matrices, h2, weight)
    torch.testing.assert_close(attend(*tensors), attend(*tensors, fused=False), rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(attend, tensors)
    channels = lambda x, *t: attend(x, *(m.detach() for m in matrices), *t)  # noqa: E731
    assert torch.autograd.gradcheck(channels, (x, h2, weight)) and torch.autograd.gradgradcheck(channels, (x, h2, weight))
    alone = lambda x: channels(x, h2.detach(), weight.detach())  # noqa: E731
    assert torch.autograd.gradcheck(alone, x) and torch.autograd.gradgradcheck(alone, x)


@pytest.mark.parametrize("name", [COMPILED])
def test_the_fused_neighbor_sums_have_the_right_first_and_second_derivatives(name):
    weight = random(4, 6, seed=0)
    neighbors = [torch.randint(0, 4, (n, 3), generator=torch.Generator().manual_seed(n)) for n in (1, 3)]
    g1, pairs = random(4, 6, seed=1), [random(n, 3, 4, seed=2 + n) for n in (1, 3)]
    scales, turns = [random(n, 3, seed=6 + n) for n in (1, 3)], [random(n, 3, 3, seed=10 + n) for n in (1, 3)]
    scales[1] = (scales[1] * torch.cat([OCCUPIED[:1], OCCUPIED])).detach().requires_grad_()

    def sums(g1, w, *rest, fused=True):
        g2, a, h = rest[:2], [a**3 for a in rest[2:4]], rest[4:]
        h = [h * a.unsqueeze(1) for h, a in zip(h, a)]
        if fused:
            return kernels(name).neighbor_sums(g1, w, list(g2), list(a), list(h), neighbors)
        conv, moment = neighbor_sums(g1, [(a.unsqueeze(-1) * g) @ w for a, g in zip(a, g2)], list(h), neighbors)
        return conv, moment, torch.cat([torch.bmm(h, g) for h, g in zip(h, g2)])

    tensors = (g1, weight, *pairs, *scales, *turns)
    for got, expected in zip(sums(*tensors), sums(*tensors, fused=False), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(sums, tensors)
    channels = lambda g1, *rest: sums(g1, weight.detach(), *rest)  # noqa: E731
    assert torch.autograd.gradgradcheck(channels, (g1, *tensors[2:]))
    alone = lambda *g2: sums(g1.detach(), weight.detach(), *g2, *(t.detach() for t in tensors[4:]))  # noqa: E731
    assert torch.autograd.gradcheck(alone, tuple(pairs)) and torch.autograd.gradgradcheck(alone, tuple(pairs))


@pytest.mark.parametrize("excluded", [False, True])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("name", [COMPILED])
def test_the_fused_environment_has_the_right_first_and_second_derivatives(name, centered, excluded):
    """Edges before, within and behind the switch."""
    matrix = EnvironmentMatrix(NeighborList(5.0, 6, 1.5, not centered), 2).double()
    matrix.mean[:], matrix.std[:] = torch.rand(2, 4), 0.5 + torch.rand(2, 4)
    types, seen = torch.tensor([0, 1, 0]), (torch.rand(3, 6) > 0.3).double() if excluded else None
    vectors = (random(3, 6, 3, seed=0) * torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5, 5.0]).view(6, 1)).detach().requires_grad_()

    def results(v, kind):
        matrix.kernels = kind
        env = matrix(Geometry(v, env_protection=0.01, seen=seen), types)
        return env.switch, env.radial, env.direction

    fused = lambda v: results(v, kernels(name))  # noqa: E731
    for got, expected in zip(fused(vectors), results(vectors, kernels("plain")), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(fused, vectors) and torch.autograd.gradgradcheck(fused, vectors)


@pytest.mark.parametrize(("mode", "one_sided", "faded"), [("concat", False, False), ("strip", False, True), ("strip", True, False)])
@pytest.mark.parametrize("name", [COMPILED])
def test_the_fused_moment_has_the_right_first_and_second_derivatives(name, mode, one_sided, faded):
    """By the environment, the fading, the types' embeddings and all weights."""
    torch.manual_seed(1)
    net = TypedEmbedding([3, 6, 5], tebd_dim=3, mode=mode, one_sided=one_sided, activation_function="tanh", resnet_dt=False).double()
    a, b = torch.tensor([[0, 1, 1], [1, 0, 0]]), torch.tensor([[1], [0]])
    matrix, fade, tebd = random(2, 3, 4, seed=0), random(2, 3, seed=1), random(2, 3, seed=2)
    weights = tuple(p.detach().requires_grad_() for p in net.parameters())

    fused = kernels(name).moment

    def results(matrix, fade, tebd, *weights, kind=fused):
        def moment(net):
            tables, fading = net.tables(tebd), fade if faded else None
            if kind is None:
                return torch.bmm(matrix.transpose(1, 2), net(matrix[..., 0], a, b, tables, fade=fading if mode == "strip" else None))
            return kind(matrix, net.rows(a, b, tables), net.fused_weights(tables), tables.pairs, fading)

        return torch.func.functional_call(_Call(net, moment), {f"net.{k}": w for (k, _), w in zip(net.named_parameters(), weights)}, ())

    tensors = (matrix, fade, tebd, *weights)
    plain = lambda *t: results(*t, kind=None)  # noqa: E731
    torch.testing.assert_close(results(*tensors), plain(*tensors), rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(results, tensors)
    moved = lambda matrix, fade: results(matrix, fade, *(t.detach() for t in tensors[2:]))  # noqa: E731
    assert torch.autograd.gradgradcheck(moved, (matrix, fade))

    def trained(function) -> list[torch.Tensor]:
        slopes = torch.autograd.grad(function(*tensors).sin().sum(), (matrix, fade), create_graph=True, allow_unused=True)
        loss = sum((slope**2).sum() for slope in slopes if slope is not None)
        return [grad for grad in torch.autograd.grad(loss, (tebd, *weights), allow_unused=True) if grad is not None]

    for got, expected in zip(trained(results), trained(plain), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


class _Call(torch.nn.Module):
    """A function of a module, so that its parameters can be given."""

    def __init__(self, net, function):
        super().__init__()
        self.net, self.function = net, function

    def forward(self):
        return self.function(self.net)


@pytest.mark.parametrize("attended", [False, True])
@pytest.mark.parametrize("name", [COMPILED])
def test_the_fused_pair_update_has_the_right_first_and_second_derivatives(name, attended):
    x, z, weight = random(2, 3, 5, seed=0), random(2, 3, 5, seed=1), random(5, 5, seed=2)
    bias, r, scale, shift = (random(5, seed=k) for k in range(3, 7))

    def update(x, z, w, b, r, scale, shift, *, fused=True):
        if fused:
            return kernels(name).pair_update(x, w, b, r, *((z, scale, shift) if attended else (None, None, None)), 1e-3)
        y = x + r * torch.tanh(x @ w + b)
        return y + torch.nn.functional.layer_norm(z, (5,), scale, shift, eps=1e-3) if attended else y

    tensors = (x, z, weight, bias, r, scale, shift)
    torch.testing.assert_close(update(*tensors), update(*tensors, fused=False), rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(update, tensors)
    channels = lambda x, z: update(x, z, *(t.detach() for t in tensors[2:]))  # noqa: E731
    assert torch.autograd.gradgradcheck(channels, (x, z))


@pytest.mark.parametrize("name", [COMPILED])
def test_the_fused_node_update_has_the_right_first_and_second_derivatives(name):
    u, conv, linear, r, q = random(3, 5, seed=0), random(3, 5, seed=1), random(3, 5, seed=2), random(5, seed=3), random(5, seed=4)

    def update(u, conv, linear, r, q, *, fused=True):
        if fused:
            return kernels(name).node_update(u, [(r, conv, False), (q, linear, True)])
        return u + r * conv + q * torch.tanh(linear)

    tensors = (u, conv, linear, r, q)
    torch.testing.assert_close(update(*tensors), update(*tensors, fused=False), rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(update, tensors)
    nodes = lambda *t: update(*t, r.detach(), q.detach())  # noqa: E731
    assert torch.autograd.gradgradcheck(nodes, (u, conv, linear))


def test_phantom_columns_are_padded_columns():
    """A wider row, filled up with columns of logit -20 and weight 0, gives what the count of such columns gives."""
    s, c, b, d = (t.detach() for t in softmax_case(0)[0])
    wide = [torch.nn.functional.pad(t, (0, 5)) for t in (s, c, b, d)]
    wide[2][..., 4:] = -20.0
    torch.testing.assert_close(gate_softmax(*wide, 0)[..., :4], gate_softmax(s, c, b, d, 5), rtol=1e-14, atol=0)
    torch.testing.assert_close(closed_form.gate_softmax(*wide, 0)[..., :4], gate_softmax(s, c, b, d, 5), rtol=1e-14, atol=0)


def test_rows_of_neighbours_can_be_differentiated_twice():
    neighbors = [torch.tensor([[0, 2], [1, 1]]), torch.tensor([[2, 0]])]
    values = random(3, 4, seed=0)
    assert all(torch.equal(got, values[n]) for got, n in zip(gather_rows(values, neighbors), neighbors))
    curved = lambda v: [g**2 for g in gather_rows(v.sin(), neighbors)]  # noqa: E731
    assert torch.autograd.gradcheck(curved, values) and torch.autograd.gradgradcheck(curved, values)


@pytest.mark.parametrize("dim", [0, -1])
def test_what_is_split_joins_again_and_both_have_second_derivatives(dim):
    whole, sizes = random(5, 5, seed=0), [2, 1, 2]
    assert torch.equal(join(split(whole, sizes, dim), dim), whole)
    curved = lambda v: join([k * part**3 for k, part in enumerate(split(v.sin(), sizes, dim))], dim)  # noqa: E731
    assert torch.autograd.gradcheck(curved, whole) and torch.autograd.gradgradcheck(curved, whole)


@pytest.mark.parametrize(
    "variant", [{}, {"repformer": {"update_h2": True, "attn2_has_gate": False}}, {"smooth": False}, {"repinit": {"type_one_side": True}}]
)
@pytest.mark.parametrize("name", ["closed", COMPILED])
def test_a_training_step_has_the_same_gradients_with_any_kernels(name, variant):
    config = model_config(heads={"dft": "energy_force", "relaxed": "denoise"}, **variant)
    frames = Frames.from_list([structure(9, seed=1), structure(12, seed=2, periodic=(False,) * 3), structure(5, seed=3)])
    batch = collate(frames.with_(head=np.array([0, 0, 1], np.int32)), config, chunk_atoms=8)
    plain, fused = (_gradients(build_model(config).train().use_kernels(k), batch) for k in ("plain", name))
    for a, b in zip(plain, fused, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11 * float(a.abs().max()) + 1e-13)


@pytest.mark.parametrize("name", ["closed", COMPILED])
def test_atoms_without_neighbours_train_with_any_kernels(name):
    lone, pair = structure(1, periodic=(False,) * 3), structure(2, seed=1, periodic=(False,) * 3)
    apart = replace(pair, positions=np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0]]))
    for frames in ([lone], [lone, apart], [lone, structure(6, seed=2)]):
        batch = collate(Frames.from_list(frames), model_config(), chunk_atoms=2)
        plain, fused = (_gradients(build_model(model_config()).train().use_kernels(k), batch) for k in ("plain", name))
        for a, b in zip(plain, fused, strict=True):
            torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11 * float(a.abs().max()) + 1e-13)


def _gradients(model, batch) -> list[torch.Tensor]:
    out = model(batch)
    loss = (out.forces**2).sum() + out.energy.sum() + (out.virial**2).sum()
    if out.displacement is not None:
        loss = loss + (out.displacement**2).sum() + (out.type_logits**2).sum()
    loss.backward(inputs=list(model.parameters()))
    return [out.forces.detach(), out.energy.detach(), out.virial.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def test_auto_takes_the_compiled_kernels_where_there_are_some_and_says_once_where_there_are_none(monkeypatch, capsys):
    assert kernels("auto", "cuda") is kernels("plain")
    if available():
        assert kernels("auto") is kernels("cpp")
    monkeypatch.setattr("lamtrain.model.kernels.native._load", lambda kind: None)
    for cached in (native, choose._compiled, choose._best):
        cached.cache_clear()
    assert kernels("auto") is kernels("auto") is kernels("plain")
    assert capsys.readouterr().err.count("were not compiled when lam was installed") == 1
    with pytest.raises(RuntimeError, match="reinstall with one, or use plain"):
        kernels("cpp")
    for cached in (native, choose._compiled, choose._best):
        cached.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_processor_that_this_one_can_run_gives_the_same_gradients(kind, tmp_path):
    """In a process of its own, since a kind is loaded once."""
    if not available() or kind not in KINDS[KINDS.index(native().processor()) :]:
        pytest.skip(f"this processor does not run {kind}")
    step = (
        "import torch; from lamdata.frames import Frames; from lamtrain.data.batch import collate\n"
        "from tests.lamtrain.model_cases import build_model, model_config, structure\n"
        "from tests.lamtrain.model.test_kernels import _gradients\n"
        "batch = collate(Frames.from_list([structure(12, seed=1), structure(5, seed=3)]), model_config(), chunk_atoms=8)\n"
        "plain, fused = (_gradients(build_model(model_config()).train().use_kernels(k), batch) for k in ('plain', 'cpp'))\n"
        "for a, b in zip(plain, fused, strict=True): torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-11 * float(a.abs().max()) + 1e-13)\n"
    )
    done = subprocess.run([sys.executable, "-c", step], env=os.environ | {FORCED: kind}, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("threads", "atoms"), [(2, 9), (3, 40), (7, 1)])
def test_threads_share_the_work_and_change_no_result_beyond_the_order_of_sums(threads, atoms):
    if not available():
        pytest.skip("the kernels were not compiled at installation")
    batch = collate(Frames.from_list([structure(atoms, seed=1)]), model_config(), chunk_atoms=16)
    before = torch.get_num_threads()
    try:
        results = []
        for count in (1, threads, threads):
            torch.set_num_threads(count)
            results.append(_gradients(build_model(model_config()).train().use_kernels("cpp"), batch))
    finally:
        torch.set_num_threads(before)
    for one, several, again in zip(*results, strict=True):
        torch.testing.assert_close(several, one, rtol=1e-11, atol=1e-13 * float(one.abs().max()) + 1e-15)
        assert torch.equal(several, again)


def test_operators_refuse_what_would_be_read_wrongly():
    if not available():
        pytest.skip("the kernels were not compiled at installation")
    x, w = torch.zeros(2, 3, 5), torch.zeros(5, 5)
    with pytest.raises(RuntimeError, match="float32 or of float64"):
        kernels("cpp").pair_update(x, w.double(), w[0], w[0], None, None, None, 0.0)
    with pytest.raises(ValueError, match="pair_update_value: too few arrays"):
        native().run("pair_update_value", False, [], [6, 5], [0.0], 1)
    with pytest.raises(ValueError, match="too many arrays"):
        run("symmetrize_bilinear", x, [x] * 9, [2, 1, 1, 5], [1.0])
    with pytest.raises(ValueError, match="no operator called nothing"):
        native().run("nothing", False, [], [], [], 1)


@pytest.mark.skipif(not available(), reason="the kernels were not compiled at installation")
def test_compiled_kernels_say_what_they_cannot_do():
    model = build_model(model_config()).use_kernels("cpp")
    batch = collate(Frames.from_list([structure(4)]), model.config)
    weights = list(model.descriptor.repinit.parameters())
    with pytest.raises(RuntimeError, match="no second derivative by its weights"):
        torch.autograd.grad(model(batch, forces=False, virial=False).energy.sum(), weights, create_graph=True)


def test_kernels_for_a_gpu_say_in_a_line_why_there_are_none(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    covered = ModelConfig.medium(["H"])
    for present, named, config, line in [
        (False, "cuda", covered, "triton is not installed; pip install lam[triton]"),
        (True, "cpu", covered, "the triton kernels are for a GPU, and this is a CPU"),
        (True, "cuda", ModelConfig.tiny(["H"]), "the triton kernels do not cover `descriptor.repformer.update_g2_has_g1g1: True`"),
        (True, "cuda", ModelConfig.student(["H"]), "the triton kernels do not cover `descriptor.type: dpa1`"),
    ]:
        monkeypatch.setattr("importlib.util.find_spec", lambda name, present=present: present or None)
        with pytest.raises(RuntimeError) as said:
            kernels("triton", named, config)
        assert str(said.value) == line
    assert kernels("triton", "cuda", covered).name == "triton"


def test_unknown_kernels_are_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match="auto, plain, closed, cpp and triton"):
        kernels("cuda")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["closed", COMPILED])
def test_a_weight_that_is_not_finite_is_seen_in_the_loss_with_any_kernels(name, value):
    """Wherever the plain formulas give NaN or infinity, so do the kernels: a run that diverged must not look like one that learns."""
    config = model_config(repinit={"nsel": 40})
    batch = collate(Frames.from_list([structure(7, seed=1)]), config)
    seen = []
    for parameter in dict(LamModel(config).named_parameters()):
        plain, fused = (_poisoned(config, parameter, value).use_kernels(k)(batch) for k in ("plain", name))
        if not _finite(plain):
            assert not _finite(fused), parameter
            seen.append(parameter)
    assert {name.split(".")[1] for name in seen} >= {"repinit", "three_body", "repformer"}


def _finite(out) -> bool:
    return bool(out.energy.isfinite().all() and out.forces.isfinite().all())


def _poisoned(config, parameter: str, value: float) -> LamModel:
    model = build_model(config)
    with torch.no_grad():
        dict(model.named_parameters())[parameter].flatten()[0] = value
    return model
