"""The examples in the documentation run as they stand, and do what the text around them says."""

import dataclasses
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from engine_contract import check_contract
from gradient_check import complex_step, largest_error
from readme_block import excerpt, printed, shown
from z_test import agrees

import simsim
import simsim.explore
from simsim import Config, glossary, network, objectives, population, sgd, simulate, simulate_many, studies
from simsim.trajectory import STORED

ROOT = Path(__file__).parent.parent
SECTIONS = ("objective", "of all moments", "head", "data law", "activation", "feature", "optimiser", "engine",
            "claim", "law", "column", "study", "picture")  # of docs/extending.md
CONTRACT = Config(d=9, m=2, patches=6, feature_patches=3, alpha_ratio=2.0, sigma=0.7, batch_size=400, steps=300)


def python_blocks(page):
    """The fenced python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def run(block, page):
    namespace = {"__name__": "example"}
    exec(compile(block, page, "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def extending():
    """By section, what its example leaves behind."""
    blocks = python_blocks("docs/extending.md")
    assert len(blocks) == len(SECTIONS)
    return {section: run(block, "docs/extending.md") for section, block in zip(SECTIONS, blocks)}


def enter(monkeypatch, option, table, name, value):
    """Give `value` a name, in a table of the package and among the choices of an option."""
    field = Config.__dataclass_fields__[option]
    monkeypatch.setitem(table, name, value)
    monkeypatch.setattr(field, "metadata", MappingProxyType({**field.metadata, "choices": (*field.metadata["choices"], name)}))


def runs_everywhere(**fields):
    """All engines, the flow among them, run a config, and head and weights move; in the flow the head may come back."""
    for engine in ("gram", "sgd", "flow"):
        config = Config(engine=engine, d=20, batch_size=64, steps=20, alpha_ratio=3.0, feature_patches=4, init_seed=1, **fields)
        ran = simulate(config)
        assert len(ran) > 1 and all(np.isfinite(getattr(ran, name)[1:]).all() for name in STORED if name != "batch_loss")
        assert np.abs(ran.overlaps[-1] - ran.overlaps[0]).max() > 1e-3 and np.abs(ran.head - ran.head[0]).max() > 1e-4


# ---- docs/extending.md ----------------------------------------------------------------------------

def test_the_new_objective_has_the_gradient_of_its_loss(extending):
    example, rng = extending["objective"], np.random.default_rng(1)
    losses = example["run"].batch_loss
    assert np.isnan(losses[0]) and np.isfinite(losses[1:]).all() and example["run"].steps[-1] == 50
    kind = example["LogCorrelation"]
    U1, U2, E = *rng.standard_normal((2, 40, 4, 3)), rng.standard_normal((3, 3))

    def loss(U1, U2, E):
        (F, G) = (U1**3).sum(axis=1) @ E.T, (U2**3).sum(axis=1)
        F, G = ((f - f.mean(axis=0)) / np.sqrt(((f - f.mean(axis=0)) ** 2).mean(axis=0)) for f in (F, G))
        return -4 * np.log((1 + (F * G).mean(axis=0)) / 2).sum()

    value, grad = network.chain(U1, U2, E, kind(stop_gradient=False))
    assert value == pytest.approx(loss(U1, U2, E), rel=1e-12)
    for function, x, gradient in ((lambda x: loss(x, U2, E), U1, grad.U1), (lambda x: loss(U1, x, E), U2, grad.U2),
                                  (lambda x: loss(U1, U2, x), E, grad.E)):
        assert largest_error(function, x, gradient, complex_step) < 1e-11
        assert largest_error(function, x, 1.001 * gradient, complex_step) > 1e-4


def test_the_new_data_laws_are_what_is_said_of_them(extending):
    """One has no closed form and says so, in words that the page quotes; of the other all is exact."""
    example = extending["data law"]
    assert "no closed form under the data law Laplace(deviation=1.0)" in example["why"]
    assert {(check.verdict, check.wants) for check in example["report"]} == {("OUTSIDE", "the paper's data")}
    noise = example["Laplace"](2.0).noise(np.random.default_rng(0), (100_000, 2))
    assert agrees(np.stack([noise, noise**2], axis=-1).reshape(-1, 2), [0, 4])
    assert np.isfinite(example["loss"]) and example["shares"].shape == (2, 2)
    config = dataclasses.replace(example["exact"].config, steps=5, batch_size=20_000, feature_patches=4)
    for engine in ("gram", "sgd"):
        ran = simulate(dataclasses.replace(config, engine=engine))
        assert abs(ran.batch_loss[-1] - ran.loss[-1]) < 0.1
    for engine in ("gram", "flow"):
        with pytest.raises(simsim.ConfigError, match=f"engine {engine} is derived for Gaussian noise"):
            simulate(dataclasses.replace(example["literal"].config, engine=engine))


def test_the_other_activation_is_outside_by_name(extending):
    example = extending["activation"]
    assert {(check.verdict, "the cubic activation" in check.wants) for check in example["report"]} == {("OUTSIDE", True)}
    assert np.isfinite(example["run"].loss).all()


def test_the_new_objective_is_what_its_docstring_says(extending):
    objective, simsiam = extending["objective"]["LogCorrelation"](stop_gradient=True), objectives.SimSiam(True)
    c = np.array([1.0, 0.0, -0.9])
    slopes = objective.of_correlations(1 - c, c)[1]
    assert slopes[0] == simsiam.of_correlations(1 - c, c)[1] and np.all(np.diff(slopes) < 0)
    near = np.array([1e-20])  # a misfit that 1 - c does not have any more
    assert objective.of_correlations(near, 1 - near)[0] == pytest.approx(2e-20)


def test_the_new_objective_may_be_entered(extending, monkeypatch):
    kind = extending["objective"]["LogCorrelation"]
    enter(monkeypatch, "objective", objectives.KINDS, "log", kind)
    runs_everywhere(objective="log")
    with pytest.raises(simsim.ConfigError, match="batch_norm"):
        Config(objective="log", batch_norm=False)
    config = Config(objective="log", d=9, m=2, alpha_ratio=2.0, feature_patches=4, stop_gradient=False)
    W, E = np.random.default_rng(2).standard_normal((2, 9)), np.eye(2) + 0.3
    _, grad = population.loss_and_grad(W, E, config)

    def loss(W):
        return population.loss(config, W[:, :2], population.gram_of(W[:, 2:]), E)
    assert largest_error(loss, W, grad.W, complex_step) < 1e-11


def test_the_new_objective_of_all_moments_has_a_flow(extending):
    """Both features are learned at the t_max, and the loss is not SimSiam's; nothing is certified."""
    example = extending["of all moments"]
    path, learned = example["path"], example["learned"]
    assert path.status == simsim.flow.TIMED_OUT and path.time[-1] == pytest.approx(1e9) and sorted(learned) == [0, 1]
    assert "Decorrelated" in simsim.check_theorems(path).title


def test_the_new_head_starts_and_moves_as_it_says(extending, monkeypatch):
    example = extending["head"]
    start, E = example["run"].head[[0, -1]]
    above = np.triu(np.ones((3, 3), bool), 1)
    assert np.array_equal(start[above], [0.1] * 3) and example["run"].steps[-1] == 50
    assert np.all(E[above] != start[above]) and np.array_equal(E[~above], np.eye(3)[~above])
    enter(monkeypatch, "head", simsim.heads.KINDS, "upper", example["Upper"])
    runs_everywhere(head="upper")
    without = dataclasses.replace(example["run"].config, head="trained")
    assert np.array_equal(simulate(without).head[0], np.eye(3))


def test_a_third_feature_is_an_option(extending):
    example = extending["feature"]
    assert example["run"].overlaps.shape[1:] == (3, 3) and example["run"].config.alphas == (6.0, 2.0, 1.0)
    assert example["strongest"].shape == (3,) and example["strongest"].max() <= 2
    assert Config(features=3, alpha_ratio=9.0, alpha_weak=2.0).alphas == pytest.approx((18.0, 6.0, 2.0))
    assert "OUTSIDE" in str(simsim.check_theorems(example["run"]))


def test_the_new_optimiser_is_what_its_docstring_says(extending):
    """On any gradients, with decay and with a target; and it has trained, otherwise than heavy ball does."""
    example, rng = extending["optimiser"], np.random.default_rng(0)
    optimiser = example["Nesterov"](Config(momentum=0.9, lr=0.1, weight_decay=0.5, target_momentum=0.8))
    blocks = w, t, v = rng.standard_normal((3, 5))
    for step, g in enumerate(rng.standard_normal((4, 5))):
        v = 0.9 * v + (g + 0.5 * w)
        w = w - 0.1 * ((g + 0.5 * w) + 0.9 * v)
        t = 0.8 * t + 0.2 * w
        A, b = optimiser.step(step)
        blocks = A @ blocks - np.multiply.outer(b, g)
        np.testing.assert_allclose(blocks, [w, t, v], atol=1e-14)
    heavy_ball = simulate(example["config"])
    assert example["state"].step == 50
    assert np.abs(example["state"].overlaps[0] - heavy_ball.overlaps[-1]).max() > 1e-6


@pytest.mark.parametrize("engine", ["the example's", *sgd.ENGINES])
def test_engines_keep_the_contract(extending, engine):
    kind = sgd.ENGINES.get(engine, extending["engine"]["PatchByPatch"])
    check_contract(kind, CONTRACT, step_at_random=engine == "gram")


def wrong_engines(right):
    """Subclasses of an engine with a mistake in each, and the point of the contract that is then named."""

    class OtherStart(right):
        def __init__(self, configs):
            super().__init__(configs)
            self.W *= 1.001

    class HiddenState(right):
        def __init__(self, configs):
            super().__init__(configs)
            self.arrays = {}

    class StatefulSamples(right):
        calls = 0

        def moments(self, step):
            self.calls += 1
            return super().moments(step + self.calls)

    class WithoutUnits(right):
        def moments(self, step):
            return super().moments(step) * self.config.sigma**6

    class TwiceTheStep(right):
        def descend(self, mixing, A, b):
            super().descend(mixing, A, b)
            super().descend(mixing, A, b)

    class TargetStays(right):
        def descend(self, mixing, A, b):
            super().descend(mixing[:, :self.config.m], A, b)

    class TargetMoves(right):
        def descend(self, mixing, A, b):
            super().descend(np.concatenate([mixing, mixing], axis=1)[:, :2 * self.config.m], A, b)

    class WithoutMemory(right):
        def descend(self, mixing, A, b):
            super().descend(mixing, np.eye(len(b)), b)

    class ThroughTheWeights(right):
        def __init__(self, configs):
            super().__init__(configs)
            self.target = 0

    class RoundingVaries(right):
        def moments(self, step):
            return super().moments(step) + 1e-30 * np.eye(2 * self.config.m)

    class OneForAll(right):
        def moments(self, step):
            return super().moments(step) * (1 + 1e-15 * (len(self.configs) > 1))

    class Objects(right):
        def moments(self, step):
            C = super().moments(step)
            if not np.isfinite(C).all():
                raise FloatingPointError("what overflows is for the loop to find")
            return C

    class NoNeighbours(right):
        @classmethod
        def together(cls, config):
            return 0

    return [(OtherStart, "points 1 and 2"), (HiddenState, "point 3"), (StatefulSamples, "point 4: the batch"),
            (WithoutUnits, "point 4: the moments"), (TwiceTheStep, "point 5"), (TargetStays, "point 5\n"),
            (TargetMoves, "point 5: stop-gradient"), (Objects, "what overflows"), (RoundingVaries, "point 6: what does not vary"),
            (OneForAll, "point 7"), (NoNeighbours, "point 8"),
            (WithoutMemory, "point 5: A"), (ThroughTheWeights, "point 4: the target")]


def test_an_engine_that_breaks_the_contract_is_told_where(extending):
    for wrong, point in wrong_engines(extending["engine"]["PatchByPatch"]):
        with pytest.raises((AssertionError, FloatingPointError), match=point):
            check_contract(wrong, CONTRACT)


def test_the_new_engine_trains(extending, monkeypatch):
    example = extending["engine"]
    assert example["state"].step == 20 and np.isfinite(example["state"].batch_loss).all()
    started = sgd.start(example["configs"]).engine
    assert np.all(np.abs(example["state"].overlaps - started.overlaps).max(axis=(1, 2)) > 1e-3)
    enter(monkeypatch, "engine", sgd.ENGINES, "patches", example["PatchByPatch"])
    monkeypatch.setitem(simsim.memory.ENGINES, "patches", simsim.memory.ENGINES["sgd"])
    config = Config(engine="patches", d=12, batch_size=33, steps=20)
    together = simulate_many(config, range(3))
    assert np.array_equal(together[2].overlaps[-1], example["state"].overlaps[2])
    assert np.array_equal(together[2].gram, simulate(config.reseeded(2, config.init_seed)).gram)


def test_the_new_claim_is_judged_in_its_own_line(extending):
    """It comes last; of another objective it is OUTSIDE by name, of a neuron that turned it is UNLIKELY."""
    example = extending["claim"]
    check = example["report"][-1]
    assert check.claim == "neuron 1 keeps to its feature" and check.predicted == 1.0 and check.ratio == check.measured
    assert check.verdict == ("PASS" if check.measured >= 0.9 else "UNLIKELY") and check.claim in str(example["report"])
    config = Config(d=50, steps=5, objective="naive")
    asked = simsim.premises.closed(config, simsim.premises.paper_objective(config))
    other = simsim.report.Claim("c", "r", simsim.report.Figure("-"), example["turned"],
                                lambda value: simsim.report.exact(True, False, asked))
    found = simsim.check_theorems(simulate(config), claims=[other])[-1]
    assert found.verdict == "OUTSIDE" and "the paper's objective" in found.wants
    with pytest.raises(TypeError, match="simsim.report.Claim"):
        simsim.check_theorems(simulate(config), claims=["a claim"])


def test_the_new_law_refuses_what_it_is_not_about(extending):
    law = extending["law"]["signal_to_noise"]
    assert extending["law"]["value"] == law(Config(d=10**4)) > law(Config(d=10**6)) > 0
    for options in (dict(objective="barlow"), dict(features=3), dict(power=5), dict(patch_counts=(6, 3))):
        with pytest.raises(ValueError, match="this law is about another setting"):
            law(Config(d=10**4, **options))


def test_the_new_column_is_beside_the_others(extending):
    rows, runs = extending["column"]["rows"], extending["column"]["runs"]
    assert [row["largest_norm"] for row in rows] == [run.norms[-1].max() for run in runs] and "success" in rows[0]
    with pytest.raises(ValueError, match="largest_norm"):
        simsim.sweeps.outcome.require(rows[0])


def test_the_new_study_is_carried_out(extending, tmp_path):
    found, = studies.perform(extending["study"]["mine"], tmp_path / "peaks", quick=True, workers=1)
    assert found.verdict == "PASS" and {path.suffix for path in (tmp_path / "peaks").iterdir()} >= {".csv", ".png", ".txt"}


def test_the_new_picture_has_its_phases(extending):
    ax = extending["picture"]["ax"]
    assert ax.get_ylabel() == "|corr|" and len(ax.get_lines()) >= 1
    simsim.plots.plt.close("all")


# ---- the other pages ----------------------------------------------------------------------------------

def test_the_example_of_the_readme():
    """As it stands, but for a hundredth of its steps."""
    block, = python_blocks("README.md")
    short = block.replace("alpha_ratio=20.0)", "alpha_ratio=20.0, steps=100)")
    assert short != block
    example = run(short, "README.md")
    assert example["run"].config == Config(m=2, alpha_ratio=20.0, steps=100) and len(example["run"]) > 50


def test_the_output_in_the_readme_is_what_its_command_prints():
    """Every line and figure of the story and of the phases."""
    page = (ROOT / "README.md").read_text()
    assert excerpt(page) == shown(printed(page)), "python tests/readme_block.py makes it anew"
    assert "learned v_2 by step" in excerpt(page) and "Thm 1  a neuron for each" in excerpt(page)


def test_the_example_of_a_sweep(tmp_path):
    """As it stands, but for smaller numbers, in a file of its own, which its worker processes import."""
    *_, block = python_blocks("docs/usage.md")
    short = block.replace("[10**4, 10**6]", "[50, 100]").replace("range(100)", "range(2)")
    assert short.count("[50, 100]") == short.count("range(2)") == 1
    (tmp_path / "mine.py").write_text("import simsim\n" + short)
    subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, check=True)
    table, = (tmp_path / "runs/mine").glob("*.csv")
    assert len(table.read_text().splitlines()) == 1 + 4


def test_the_example_of_a_start():
    block, *_ = python_blocks("docs/usage.md")
    config = Config(d=12, batch_size=32, steps=5)
    names = {"simsim": simsim, "config": config, "W": np.random.default_rng(0).standard_normal((2, 12))}
    exec(compile(block, "docs/usage.md", "exec"), names)
    np.testing.assert_allclose(names["run"].overlaps[0], names["W"][:, :2], rtol=1e-15)
    assert names["run"].start_was_given


def test_the_measures_of_a_collapse(capsys):
    """The block of docs/collapse.md as it stands prints the table below it, figure by figure."""
    page = (ROOT / "docs/collapse.md").read_text()
    block, = python_blocks("docs/collapse.md")
    run(block, "docs/collapse.md")
    assert capsys.readouterr().out == re.search(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]


def test_the_glossary_says_what_pages_say():
    """docs/glossary.md has the terms of `simsim.glossary`, in their order and to the letter."""
    items = re.findall(r"^- \*\*(.*?)\*\*: (.*?)(?=^- |^\n|\Z)", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE | re.DOTALL)
    assert [(term, " ".join(text.split())) for term, text in items] == list(glossary.TERMS.items())


def test_a_symbol_of_a_report_belongs_to_a_term():
    """Each has its line beside the term that says it at length, and the pattern finds it there or in the line."""
    for term, pattern, said in glossary.SYMBOLS:
        assert term in glossary.TERMS and re.search(pattern, said.replace("_l", "_1").replace("_j", "_1")), term


def test_the_example_of_pictures(tmp_path, monkeypatch):
    _, block, _ = python_blocks("docs/usage.md")
    monkeypatch.chdir(tmp_path)
    run = simsim.simulate(Config(engine="flow", d=10**4, lr=1.0, head_lr=0.1, init_seed=3, feature_patches=4))
    exec(compile(block, "docs/usage.md", "exec"), {"simsim": simsim, "run": run})
    assert (tmp_path / "phases.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "substitution.gif").exists()


def test_how_do_i(tmp_path, monkeypatch, capsys):
    """The blocks of docs/howto.md in their order; each prints what stands below it, and leaves its pictures."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/howto.md").read_text()
    names = {"__name__": "example"}
    for block, output in re.findall(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/howto.md", "exec"), names)
        printed = capsys.readouterr().out
        assert printed == output or not output, block
    assert {path.name for path in tmp_path.iterdir()} == {"stop_gradient.png", "phase_two.gif", "theory.png", "mine.png", "column.pdf"}
    assert (names["runs"]["without"].shares[-1, :, 0] > 0.5).all() and names["mine"].steps[-1] == 1000
    assert None not in names["large"].milestones[:3] and (tmp_path / "column.pdf").read_bytes().startswith(b"%PDF")
    simsim.plots.plt.close("all")


def test_the_notebook_of_how_do_i_shows_and_moves():
    """What its cells name is there: a slider for kappa, a flow that follows it, and its animation as a page."""
    page = (ROOT / "docs/howto.md").read_text()
    cells, = re.findall(r"^```text\n%matplotlib widget\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    shown = []
    lines = cells.replace("from IPython.display import HTML\n", "").replace("10**6", "300").replace("frames=40", "frames=2")
    names = {"HTML": shown.append}
    exec(compile(lines, "docs/howto.md", "exec"), names)
    explorer = names["figure"].explorer
    assert "kappa" in explorer.sliders and explorer.run.config.d == 300 and "<img" in shown[0]
    explorer.sliders["kappa"].set_val(0.0)
    explorer.update()
    assert explorer.run.config.kappa == 1.0
    simsim.plots.plt.close("all")


def test_every_public_name_of_pictures_is_in_the_manual():
    section = (ROOT / "docs/usage.md").read_text().split("## Pictures")[1].split("\n## ")[0]
    assert {name for name in simsim.plots.__all__ if not re.search(rf"`{name}\b|\.{name}\(", section)} == set()


def test_pages_have_no_other_examples():
    pages = ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
    assert {page for page in pages if python_blocks(page)} == {
        "README.md", "docs/collapse.md", "docs/extending.md", "docs/howto.md", "docs/tutorial.md", "docs/usage.md"}  # the tutorial's: test_book


def commands():
    """(page, words) of every command in an indented block or a fence of the pages."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for line in re.findall(r"^(?:    )?(?:.*&& )?(?:\.venv/bin/)?python3? (.*)$", page.read_text(), re.MULTILINE):
            if "DIR" not in line and "..." not in line and not line.startswith("-c"):
                yield page.name, shlex.split(line, comments=True)


@pytest.mark.parametrize("page, words", list(commands()),
                         ids=lambda value: value if isinstance(value, str) else " ".join(value)[:60])
def test_every_command_of_the_pages_is_one(page, words):
    """Its options are taken, or its file is there; running it is for the reader."""
    if words[:2] == ["-m", "simsim.run"]:
        simsim.run.asked(simsim.run.parse(words[2:]))
    elif words[:2] == ["-m", "simsim.explore"]:
        simsim.dials.require_shown(simsim.explore.parse(words[2:]))
    elif words[:2] == ["-m", "simsim.study"]:
        assert importlib.import_module("simsim.studies.command").parse(words[2:]).name in studies.STUDIES
    elif words[0].startswith("examples/") or words[0].startswith("tests/"):
        assert (ROOT / words[0]).exists()
    else:
        assert words[:2] in (["-m", "simsim.sweep"], ["-m", "venv"]), words
