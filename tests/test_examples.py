"""Every script in examples/ runs as it stands, but for smaller numbers, writes what it says, and shows what it claims."""

import importlib
import io
import re
import subprocess
import sys
from pathlib import Path

import gallery_pictures
import numpy as np
import pytest
from PIL import Image

import simsim

EXAMPLES = Path(__file__).parent.parent / "examples"
SHORTER = {  # by example: what becomes what, each once; and what it then has to print
    "two_starts": ({"steps=20_000": "steps=500", "alpha_ratio=20.0))": "alpha_ratio=20.0, steps=500))",
                    'engine="flow"))': 'engine="flow", steps=500))'},
                   r"SGD, step 46 437 - -\nSGD in turn, step 2 40 - -\nflow, t \S+e\+07 \S+e\+07 \S+e\+18 \S+e\+18\n"),
    "four_phases": ({"seed=0)": "seed=0, steps=600)"},
                    r"(?s)phase   I ends at step 46\nphase  II ends at step 437\nphase III ends not within this run\n"),
    "collapse": ({"STEPS = 10_000": "STEPS = 650"},
                 r"head frozen: dimensional collapse, effective rank 1\.0\d, .* ends at (0\.99\d|1\.000), .*\n"
                 r"head trained: no collapse, effective rank 2\.00, .* ends at 0\.0\d+, .*\n"
                 r"predicted by eq\. 14: neuron 1 on v_1, neuron 2 on v_1\n"),
    "sample_and_network": ({"STEPS = 2000": "STEPS = 500"}, r"at step \d+ the head has its peak, 0\.0[23]\d\n"),
    "lecture": ({"STEPS = 10_000": "STEPS = 650", "RUNS = 40": "RUNS = 3", "(0.25, 0.5, 1.0, 2.0, 4.0)": "(1.0, 4.0)",
                 '((1.0, "0.1"), (0.1, "0.45"), (0.01, "0.7"))': '((1.0, "0.1"),)'},
                r"(?s)frozen head: loss .*no batch norm: complete collapse.*1 times the threshold: \S+ of 3 runs"
                r".*at most 0\.5775 by eq"),
    "own_figure": ({"simsim.Config()": "simsim.Config(steps=600)"}, r"out/trajectory\.npz: \d+ logged steps of gram"),
    "flow_four_phases": ({}, r"(?s)all features learned.*\bIV .* PASS\n.*the head rises to 0\.99\d of its bound"),
    "rise_and_fall": ({"(0.01, 0.1, 1.0, 10.0)": "(0.01, 10.0)"},
                      r"kappa  0\.01: .*= 0\.99\d of .*learned\nkappa    10: .*= 0\.98\d of .*learned\n"),
    "second_life": ({}, r"both neurons hold v_1 from t = \S+e\+09 to \S+e\+16; at the end: all features learned\n"),
    "neuron_correlations": ({}, r"trained head: 1 neurons hold v_1, 1 hold v_2; effective rank 2\.000\n"
                                r"frozen head: 2 neurons hold v_1, 0 hold v_2; effective rank 1\.000\n"),
    "head_in_pictures": ({}, r"within III with the head: v_1 .*e-2\d, v_2 .*e-12\n"),
    "neurons_moving": ({"frames=60": "frames=3"}, r"<Trajectory: .* all features learned>\n"),
    "success_against_d": ({"[10**2, 10**3, 10**4, 10**5, 10**6], 40": "[10**2, 10**5], 4"},
                          r"d = 100 .* of 4 starts learn both; eq\. 25: .*\nd = 100000 .* of 4 starts learn both; "
                          r"eq\. 25: 0\.\d\d of these, 0\.8\d of all\n"),
    "frozen_fates": ({"range(2000)": "range(100)"}, r"100 of 100 fates as predicted; 0 failures\n"),
    "certificates": ({"KAPPAS = 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0": "KAPPAS = 1e-3, 1.0",
                      "sys.argv) > 1 else 1.0": "sys.argv) > 1 else 0.03"},
                     r"(?s)d = 20, ratio 1\.5 \| 2 \| 2 \| 4 of 4 \| 0 \| .*Of \d+ starts \d+ have a certified end; 0 of "),
    "unpicked": ({"range(16)": "range(6, 8)", "steps=20_000": "steps=2_000"},
                 r"(?s)seed  6: SGD ends phases I II III IV .*1 of 2 starts go through all four phases "
                 r"\(95 %: 0\.09 to 0\.91\) by t = 24; "),
    "same_law": ({"range(300)": "range(12)", "range(1000, 1300)": "range(1000, 1012)"},
                 r"(?s) sgd: 12 runs.*gram: 12 runs.*same law of the ends of phase I\? p = \d"),
    "linear_noise": ({'"default": simsim.Config()': '"default": simsim.Config(steps=30)',
                      "options.names or STARTS": 'options.names or ["default"]',
                      "default=200": "default=4"}, r"\| default \| nowhere \| [01]\.\d{3} ± \d\.\d{3} \| .* \| - \|\n"),
    "benchmark": ({"{200: 50, 1_000: 10, 10_000: 1}": "{200: 1, 1_000: 1}", "BLOCK_STEPS, 64": "2, 3", "WHOLE = 1_000": "WHOLE = 9",
                   "REST = 0.02": "REST = 0.0", 'default=25': "default=2", "(10**4, 10**6, 10**8), 10": "(10**4,), 1"},
                  r"(?s)sgd +float64 +200 .*gram, simulate .*bare NumPy +float64 +3,072 .*normals alone .*LSODA, a flow .*the same end 1 of 1 times"),
}


TABLES = {"certificates"}  # what prints, and writes nothing


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(text):
    """The files in out/ that the docstring of an example says it writes."""
    docstring = text.split('"""')[1]
    return {name for sentence in re.findall(r"[Ww]rites ([^:]*?)\.(?:\s|$)", docstring)
            for name in re.findall(r"out/\w+\.(?:png|pdf|gif|html)", sentence)}


@pytest.mark.parametrize("name", SHORTER)
def test_an_example_runs_and_shows_what_it_says(name, monkeypatch, capsys, tmp_path):
    text, (shorter, shown) = (EXAMPLES / f"{name}.py").read_text(), SHORTER[name]
    files = set() if name in TABLES else written(text) or {f"out/{name}.png"}
    for old, new in shorter.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    monkeypatch.setattr(importlib.import_module("simsim.plots.webpage"), "FRAMES", 3)
    exec(compile(text, str(EXAMPLES / f"{name}.py"), "exec"), {"__name__": "__main__"})
    simsim.plots.plt.close("all")
    out = capsys.readouterr().out
    assert re.search(shown, out), out
    made = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}  # a sweep's is runs/
    assert files <= made <= files | {"out/trajectory.npz"} and all((tmp_path / name).stat().st_size > 1000 for name in made)


def test_a_study_in_small(tmp_path):
    """As a script of its own, since its worker processes import it."""
    done = subprocess.run([sys.executable, EXAMPLES / "studies.py", "theorem-3"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("theorem-3: ") and "PASS" in done.stdout
    written = {path.name for path in (tmp_path / "runs/theorem-3-quick").iterdir()}
    assert {"study.csv", "claims.json", "claims.txt", "figure.png"} <= written


def gallery():
    """[(number, names, text)] of the sections of examples/README.md."""
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\d+)\. ([^\n]*)\n(.*?)(?=^## |^Next: )", page, re.MULTILINE | re.DOTALL)
    return [(int(number), re.findall(r"\[(\w+)\.py\]\(\1\.py\)", title), text) for number, title, text in sections]


def test_every_example_is_run_and_in_the_gallery():
    """Numbered, each once, with a picture unless it prints tables, and three lines."""
    names = [path.stem for path in EXAMPLES.glob("*.py")]
    assert sorted(names) == sorted([*SHORTER, "studies", "theory_tables", "noise_laws"])  # of which the last two are in test_tables
    assert [number for number, *_ in gallery()] == list(range(1, len(gallery()) + 1))
    assert sorted(name for _, found, _ in gallery() for name in found) == sorted(names)
    for _, found, text in gallery():
        *pictures, words = text.strip().split("\n\n")
        assert len(words.splitlines()) == 3, found
        drawn = [one for one in pictures if re.fullmatch(r"!\[.+\]\(\.\./docs/.+\.png\)", one)]
        assert drawn == pictures and len(drawn) == (len(found) == 1), found


def test_the_pictures_of_the_gallery_are_there_and_small():
    shown = {EXAMPLES / path for _, _, text in gallery() for path in re.findall(r"\]\((\S+\.png)\)", text)}
    assert all(path.stat().st_size <= gallery_pictures.MOST for path in shown)
    made = {path.resolve() for path in gallery_pictures.GALLERY.iterdir()}
    assert made <= {path.resolve() for path in shown} and len(made) >= 14


def test_a_small_picture_is_small(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (900, 1200, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    with Image.open(io.BytesIO(gallery_pictures.small(tmp_path / "noise.png"))) as image:
        assert image.size == (720, 540)
    assert set(gallery_pictures.SHOWN) <= {path.stem for path in EXAMPLES.glob("*.py")}
