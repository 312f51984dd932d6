"""The command line, end to end in a temporary directory, and every refusal."""

import base64
import dataclasses
import html
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import simsim
import simsim.plots.webpage
import simsim.plots
from simsim import Config, FlowError, Trajectory, config, flow, folder, run, terminal
from simsim.config import _option
from simsim.files.archives import read_arrays, write_arrays
from simsim.sgd.recorder import log_type

FILES = {"config.json", "trajectory.npz", "report.json", "report.txt", "phases.png", "last.npz"}
SHORT = ["--m", "2", "--alpha-ratio", "20", "--steps", "40", "--batch-size", "32", "--d", "10", "--t-max", "0.1"]
NOBODY = 65534  # the user that owns nothing
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_main_command(tmp_path):
    command = [sys.executable, "-m", "simsim.run", *SHORT, "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert "verdict" in done.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    whole = (tmp_path / "out/report.txt").read_text()
    story = done.stdout.split("\n\n")[1].replace("--resume out", "--resume DIR")
    assert all(line in whole for line in story.splitlines())  # the story is in both
    assert [check["claim"] for check in report["checks"] if check["brief"]] and len(whole) > len(done.stdout)
    assert (tmp_path / "out/phases.png").read_bytes().startswith(b"\x89PNG")
    assert Trajectory.load("out/trajectory.npz").steps[-1] == 40
    assert "\r" not in done.stderr  # progress is for terminals


@pytest.mark.parametrize("kind, start", [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_picture_of_a_run_is_of_the_kind_asked_for(kind, start):
    """And a folder that has one of another kind, of the same run, has both in the end."""
    out = Path("out")
    assert run.main([*SHORT, "--out", "out", "--quiet", "--format", kind]) == 0
    assert {path.name for path in out.iterdir()} == FILES - {"phases.png"} | {f"phases.{kind}"}
    assert (out / f"phases.{kind}").read_bytes().startswith(start)
    assert run.main([*SHORT, "--out", "out", "--quiet"]) == 0
    assert {path.name for path in out.iterdir()} == FILES | {f"phases.{kind}"}


def test_a_kind_of_picture_that_is_none(capsys):
    assert run.main([*SHORT, "--out", "out", "--format", "tif"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--format" in err and "tif" in err and not Path("out").exists()


def test_json_quiet_and_no_plot(tmp_path, capsys):
    assert run.main([*SHORT, "--json", "--quiet", "--no-plot"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["checks"] and err == ""
    (folder_made,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder_made.iterdir()} == FILES - {"phases.png"}
    assert "steps-40" in folder_made.name


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "out"
    words = ["--engine", "flow", "--d", "1e4", "--lr", "1", "--head-lr", "0.1", "--init-seed", "3", "--no-plot"]
    assert run.main([*words, "--report-html", "--compare", "head=frozen", "--out", str(out)]) == 0
    return out / "report.html"


def test_the_whole_story_on_one_page(page):
    """Rows, hypotheses and remarks of the report, its pictures and those of the run beside it, sixty frames of each, how it
    was made; nothing is fetched from elsewhere."""
    text, report = page.read_text(), json.loads((page.parent / "report.json").read_text())
    for check in report["checks"]:
        verdict = check["verdict"] + (f" without {check['wants']}" if check["wants"] else "")
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in (check["claim"], check["rule"], check["words"]["predicted"],
                                                                     check["words"]["measured"], verdict))
        assert f"<tr>{cells}</tr>" in text, check
    title = html.escape(report["title"]).replace("\n", "<br>")
    assert f"<p>{title}</p>" in text and all(f"<p>{html.escape(remark)}</p>" in text for remark in report["remarks"])
    assert all(html.escape(one["name"]) in text for one in report["hypotheses"]) and len(report["hypotheses"]) > 3
    pictures = re.findall(r'<img class="([a-z]*)" alt="([^"]*)" [^>]*src="data:image/svg\+xml;base64,([^"]*)"', text)
    assert [kind for kind, *_ in pictures] == ["wide", "narrow", "wide", "narrow", "", "", ""]
    assert len({picture for *_, picture in pictures}) == 7
    assert all(b"<svg" in base64.b64decode(picture)[:1000] for *_, picture in pictures)
    assert "pulls at the second neuron" in pictures[-1][1] and text.count("<figcaption>Neurons in the plane") == 2
    assert len(re.findall(r"frames\[\d+\] = ", text)) == 2 * 60
    assert text.count("<h3>head=trained</h3>") == text.count("<h3>head=frozen</h3>") == 4  # story, picture, motion, table
    assert "".join(f"<li>{html.escape(line)}</li>" for line in report["story"]) in text and len(report["story"]) > 3
    assert not any(f"<p>{html.escape(line)}</p>" in text for line in report["story"])  # nor is it told again above the table
    assert "Thm 3  every neuron ends on v_1" in text  # of the run beside
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text  # else a telephone shows a screen, small
    for word in (f"simsim {simsim.__version__}, python ", "date: 20", "<code>python -m simsim.run", "How to cite",
                 "<dt>share</dt>"):
        assert word in text, word
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) >= 4 and all(source.startswith("data:") or not source for source in sources)


def test_the_page_and_the_picture_have_the_flow_beside(monkeypatch):
    drawn, phases = [], simsim.plots.phases

    def page(run, report, flow=None, beside=None, made=None):
        drawn.append(("page", run, flow))
        return ""

    def picture(run, flow=None, band=False):
        drawn.append(("picture", run, flow))
        return phases(run, flow=flow, band=band)

    monkeypatch.setattr("simsim.plots.page", page)
    monkeypatch.setattr("simsim.plots.phases", picture)
    assert run.main([*SHORT, "--report-html", "--out", "out"]) == 0
    assert [kind for kind, *_ in drawn] == ["picture", "page"]
    for _, trained, beside in drawn:
        assert beside.config.engine == "flow" and beside.time[-1] >= 0.1  # its t_max
        np.testing.assert_array_equal(beside.overlaps[0], trained.overlaps[0])


def test_a_page_of_a_run_that_has_no_plane(tmp_path):
    assert run.main([*SHORT, "--features", "1", "--no-plot", "--report-html", "--out", str(tmp_path / "one")]) == 0
    assert "<script" not in (tmp_path / "one" / "report.html").read_text()


# What a reader sees and does: sizes, colours, words, and what buttons do to the first animation.
PROBE = """<script>
const wait = milliseconds => new Promise(done => setTimeout(done, milliseconds));
(async () => {
  await wait(500);
  const all = names => [...document.querySelectorAll(names)].filter(element => element.offsetWidth);
  const box = element => element.getBoundingClientRect(), style = getComputedStyle(document.body);
  const seen = {width: innerWidth, needed: document.documentElement.scrollWidth, text: document.body.innerText,
    ink: style.color, paper: style.backgroundColor, filter: getComputedStyle(all("figure img")[0]).filter,
    cards: all(".picture, .animation").map(card => getComputedStyle(card).backgroundColor),
    points: all(".picture img").map(image => image.offsetWidth / (image.naturalWidth * 0.75)),
    cut: all("h1, h2, h3, p, li, dd, td, button, input, code, figcaption").filter(
      element => box(element).left < 0 || box(element).right > innerWidth + 0.5).map(element => element.outerHTML.slice(0, 80)),
    labels: all("td").slice(0, 5).map(cell => getComputedStyle(cell, "::before").content),
    tops: all("h3").slice(0, 2).map(heading => box(heading).top)};
  const place = () => document.querySelector(".anim-slider").value, frame = () => document.querySelector(".animation img").src;
  const press = name => document.querySelector(`.animation button[title="${name}"]`).click();
  press("Pause"); press("First frame"); seen.first = place(); const start = frame();
  press("Next frame"); seen.next = place();
  press("Last frame"); seen.last = place(); seen.moved = frame() != start;
  press("Previous frame"); seen.previous = place();
  press("First frame"); press("Play"); await wait(900); press("Pause"); seen.played = place();
  await wait(500); seen.paused = place();
  const shown = document.createElement("pre"); shown.id = "seen"; shown.textContent = JSON.stringify(seen);
  document.body.append(shown);
})();
</script>"""


def opened(page, tmp_path, width, dark):
    """What the PROBE finds in a page that a browser opens in a window of this width."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser that opens pages without a screen is installed: {', '.join(BROWSERS)}")
    copy = tmp_path / "page.html"
    copy.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000",
             f"--window-size={width},900", f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", copy.as_uri()]
    done = subprocess.run([browser, *words], capture_output=True, text=True, timeout=120, check=True)
    return json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)[1]))


@pytest.mark.parametrize("width, dark", [(390, False), (390, True), (1280, False), (1280, True)])
def test_the_page_is_read_and_plays_in_a_browser(page, tmp_path, width, dark):
    """Nothing is cut off or too small to read, ink stands out from paper, buttons do what they say."""
    seen = opened(page, tmp_path, width, dark)
    assert seen["width"] == width and seen["needed"] <= width and seen["cut"] == []
    assert min(seen["points"]) >= 0.99 and len(seen["points"]) == 5  # pixels of a point: letters of 8 points and more stay so
    brightness = {name: sum(map(int, re.findall(r"\d+", seen[name])[:3])) / 765 for name in ("ink", "paper")}
    lighter, darker = ("ink", "paper") if dark else ("paper", "ink")
    assert brightness[lighter] > 0.85 and brightness[darker] < 0.15
    assert seen["filter"] == "none" and set(seen["cards"]) == {"rgb(255, 255, 255)"}  # colours are the same day and night
    for words in ("Neuron 1 learned v_1", "What pulls at the second neuron", "Thm 1", "NOT REACHED", "head=frozen",
                  "Neuron 2, which the head spares v_1", "python -m simsim.run --d 10000", "arXiv:2205.06226"):
        assert words in seen["text"], words
    labels = ["none", '"PASS if: "', '"predicted: "', '"measured: "', '"verdict: "']
    assert seen["labels"] == (labels if width < 500 else ["none"] * 5)
    assert (seen["tops"][0] == seen["tops"][1]) == (width > 1000)  # side by side
    assert seen["first"] == "0" and seen["next"] == "1" and seen["last"] == "59" and seen["previous"] == "58" and seen["moved"]
    assert int(seen["played"]) > 2 and seen["paused"] == seen["played"]


def test_the_command_on_a_page_makes_that_run(page, tmp_path):
    """Word by word; and of every kind of option."""
    command, = re.findall(r"<code>(.*?)</code>", page.read_text())
    words = shlex.split(html.unescape(command))
    assert words[:3] == ["python", "-m", "simsim.run"]
    options = run.parse(words[3:])
    assert run.asked(options)[1] == Trajectory.load(page.with_name("trajectory.npz")).config
    assert options.report_html and options.compare == ["head=frozen"]
    simsim.State.start(Config(features=3, m=3)).save("begin.npz")
    for given in (["--features", "3", "--strengths", "7,2,0.12345678901234", "--m", "3", "--no-batch-norm", "--lr", "1e-7",
                   "--start", "begin.npz"],
                  ["--head", "random", "--head-diagonal", "free", "--no-stop-gradient", "--lr", "0.1234567890123", "--seed", "3"],
                  ["--frequencies", "0.9,0.1", "--patch-counts", "7,4"], []):
        options = run.parse(given)
        _, config = run.asked(options)
        again = run.parse(shlex.split(run._command(options, config))[3:])
        assert run.asked(again)[1] == config and again.start == options.start


def test_a_story_names_the_folder_to_go_on_in(tmp_path, capsys, monkeypatch):
    """The command in a run's story goes on with that very run, whatever its folder is called."""
    monkeypatch.chdir(tmp_path)
    assert run.main(["--steps", "60", "--batch-size", "512", "--log-every", "20", "--no-plot", "--quiet", "--out", "my run"]) == 0
    command, = re.findall(r"^    (python -m simsim\.run --resume .*)$", capsys.readouterr().out, re.MULTILINE)
    words = shlex.split(command)
    assert words[3:6] == ["--resume", "my run", "--steps"] and int(words[6]) > 60
    assert run.main([*words[3:6], "80", "--no-plot", "--quiet"]) == 0
    assert Trajectory.load("my run/trajectory.npz").steps[-1] == 80


def test_a_run_to_compare_with(tmp_path, monkeypatch):
    """It differs in what was asked and in what follows from that by rules; it starts where this one does."""
    told = []
    monkeypatch.setattr("simsim.plots.page", lambda run, report, flow, beside, made: told.append((run, beside)) or "")
    words = [*SHORT, "--no-plot", "--report-html", "--quiet"]
    assert run.main([*words, "--compare", "alpha_ratio=5", "no-such=1", "--out", "no"]) == 2
    assert run.main([*words, "--compare", "alpha-ratio=5", "stop_gradient=false", "--out", "a"]) == 0
    (trained, beside), = told
    (name, other), = beside.items()
    assert name == "alpha-ratio=5 stop_gradient=false"
    assert other.run.config == Config(**{**trained.config.changes(), "alpha_ratio": 5.0, "stop_gradient": False})
    assert other.run.config.lr == pytest.approx(16 * trained.config.lr) and other.run.config.steps == 40
    assert other.flow.config.engine == "flow" and other.report.title == simsim.check_theorems(other.run).title
    assert run.main([*words, "--compare", "kappa=0.3", "lr=1e-4", "--out", "c"]) == 0
    config = told.pop()[1]["kappa=0.3 lr=1e-4"].run.config
    assert config.lr == 1e-4 and config.kappa == pytest.approx(0.3, rel=1e-15)
    simsim.State.from_weights(np.random.default_rng(0).standard_normal((2, 10)) / 3).save("begin.npz")
    assert run.main([*words, "--start", "begin.npz", "--compare", "head=frozen", "--out", "b"]) == 0
    trained, beside = told[1]
    np.testing.assert_allclose(beside["head=frozen"].run.overlaps[0], trained.overlaps[0], rtol=1e-14)


@pytest.mark.parametrize("words, why", [
    (["head=frosen"], "`head` = 'frosen' is not possible: choose from trained, frozen"),
    (["heda=frozen"], "`heda` = 'frozen' is not possible: there is no such option; did you mean `head`?"),
    (["head"], "it must be FIELD=VALUE"), (["head=frozen", "head=random"], "it is there twice"),
    (["lr=x"], "'x' is not a number"),
    (["kappa=1", "head-lr=1"], "give one of them"), (["batch_norm=maybe"], "batch_norm is true or false"),
    (["m=2"], "that is this run itself"),
    (["d=3"], "`d` = 3 is not possible")])
def test_what_cannot_be_compared_is_refused_before_anything_is_computed(words, why, capsys, monkeypatch):
    monkeypatch.setattr(simsim.folder, "train", None)
    assert run.main([*SHORT, "--report-html", "--compare", *words, "--out", "out"]) == 2
    err, = capsys.readouterr().err.splitlines()
    assert "--compare" in err and why in err and not Path("out").exists()


def test_a_comparison_needs_a_page_and_a_start_that_fits(capsys):
    assert run.main([*SHORT, "--compare", "head=frozen", "--out", "out"]) == 2
    assert "ask for it by --report-html" in capsys.readouterr().err
    simsim.State.start(Config()).save("begin.npz")
    assert run.main([*SHORT, "--report-html", "--start", "begin.npz", "--compare", "m=3", "--out", "out"]) == 2
    assert "--compare m=3: --start begin.npz: " in capsys.readouterr().err


def test_a_run_to_compare_with_that_fails_leaves_a_page(capsys, monkeypatch):
    """The page is then of the run alone, and a line says so."""
    whole = simsim.simulate

    def fails(config, **options):
        if config.head == "frozen":
            raise FlowError("it drifted")
        return whole(config, **options)

    monkeypatch.setattr(simsim, "simulate", fails)
    assert run.main([*SHORT, "--features", "1", "--report-html", "--compare", "head=frozen", "--out", "out", "--no-plot"]) == 0
    assert "no run to compare with: it drifted" in capsys.readouterr().err
    assert "<h3>" not in Path("out/report.html").read_text()


def test_running_the_same_again_and_something_else_into_its_folder(capsys):
    assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 0
    before = capsys.readouterr()
    assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 0
    after = capsys.readouterr()
    assert after.out == before.out and "out/ holds this run already" in after.err
    names = {"simsim": simsim}
    for err in (before.err, after.err):  # both say how to load it, in a line of Python
        exec(re.search(r"^.*to load it: (.*)$", err, re.MULTILINE)[1], names)
        assert names.pop("run").config.steps == 40
    assert run.main([*SHORT, "--seed", "1", "--out", "out"]) == 2
    assert "--out out: it holds another run (seed = 0)" in capsys.readouterr().err


def test_without_noise_nothing_moves_and_nothing_breaks(capsys):
    assert run.main([*SHORT, "--feature-patches", "8", "--no-plot", "--out", "out"]) == 0
    assert np.ptp(Trajectory.load("out/trajectory.npz").overlaps, axis=0).max() < 1e-9
    out, err = capsys.readouterr()
    assert "noise: some asked, no patch of a sample here: DOES NOT HOLD" in out
    assert "no flow to compare with" not in err  # nobody asked for it, and nothing would move in it either


@pytest.mark.parametrize("words, beside", [
    ([], True), (["--m", "3", "--d", "12"], True), (["--head", "frozen"], True),
    (["--m", "4", "--d", "12"], True), (["--m", "5", "--d", "12"], False), (["--feature-patches", "8"], False)])
def test_which_runs_have_the_flow_beside(words, beside):
    assert run.main([*SHORT, *words, "--no-plot", "--out", "out"]) == 0
    checks = json.loads(Path("out/report.json").read_text())["checks"]
    assert [bool(check["words"]["flow"]) for check in checks] == [beside] * len(checks)


@pytest.mark.parametrize("begun", [0, 600])
def test_the_time_that_is_left_counts_from_where_this_process_began(begun, monkeypatch):
    """100 steps in 10 s, of 1000; those that a resumed run had before took none of this time."""
    said = []

    class Told:
        def __init__(self, quiet):
            pass

        def show(self, words, last=False):
            said.append((words(10.0), last))

    monkeypatch.setattr(run, "Progress", Told)
    show = run._progress(run.parse([]), Config(steps=1000))
    a, gram = np.array([[[0.9, 0.0], [0.0, 0.01]]]), np.array([np.diag([0.01, 1.0])])
    for step in (begun, begun + 100, 1000):
        show(SimpleNamespace(step=step, overlaps=a, gram=gram))
    left = 10 / 100 * (1000 - begun - 100)
    assert said[1][0].startswith(f"step {begun + 100}/1000   {left:.0f} s left   f_1: v_1 1.00   f_2: v_2 0.00")
    assert [last for _, last in said] == [False, False, True] and " 0 s left" in said[2][0]


def test_an_option_without_effect_is_said_to_have_none(capsys):
    words = [*SHORT, "--no-plot", "--barlow-lambda", "2", "--head", "frozen", "--head-lr", "1"]
    assert run.main(words) == 0
    err = capsys.readouterr().err
    assert "--barlow-lambda 2 has no effect: objective simsiam has none" in err
    assert "--head-lr 1 has no effect: head frozen does not follow its gradient" in err and "--head-scale" not in err


def test_strict(monkeypatch):
    assert run.main([*SHORT, "--no-plot"]) == 0
    monkeypatch.setattr("simsim.report.Report.failed", property(lambda report: True))
    assert run.main([*SHORT, "--no-plot"]) == 0
    assert run.main([*SHORT, "--no-plot", "--strict"]) == 1


BAD = {
    "--patches 7": "even",
    "--patches seven": "not a number",
    "--feature-patches 9": "at most patches = 8",
    "--patch-counts 9,4": "at most patches = 8",
    "--patch-counts 7,4,4": "as many as features",
    "--patch-counts 4,7 --alpha-ratio 1": "must come first",
    "--d 3": "at least m + features = 4",
    "--engine sgd --d 1e9": "GiB",
    "--d 10.5": "an integer",
    "--lr -1": "above 0",
    "--lr -1e-3": "above 0",
    "--lr nan": "finite",
    "--head-lr -2": "at least 0",
    "--head linear": "trained, frozen",
    "--engine warp": "sgd",
    "--steps 0": "at least 1",
    "--batch-size 1": "at least 3",
    "--alpha-ratio 0": "at least 1",
    "--seed -1": "at least 0",
    "--dtype int8": "float64, float32",
    "--log-every 0": "at least 1",
    "--steps": "expected one argument",
    "--step 5": "did you mean --steps",
    "--frobnicate": "no such option",
    "--sigma 1e-200": "at least",
    "--alpha-weak 1e60": "at most",
    "--engine flow --feature-patches 8": "with head trained nothing moves",
    "--engine flow --feature-patches 8 --objective naive": "with head frozen nothing moves",
    "--engine flow --feature-patches 8 --m 1 --head random": "with one neuron nothing moves",
    "--engine flow --feature-patches 8 --objective barlow --barlow-lambda 0": "with head frozen nothing moves",
    "--time-limit 0": "a number of seconds above 0",
    "--time-limit soon": "a number of seconds above 0",
    "--steps 1e30": "at most",
    "--batch-size 1e9": "GiB",
    "--steps 1e9 --log-every 1": "more than",
    "--m " + "9" * 400: "at most",
    "--lr " + "9" * 400: "too large",
    "--engine flow --lr 1e-300 --head-lr 1e-3": "kappa",
    "--sigma 1e-20": "alpha_ratio * alpha_weak / sigma at most",
    "--m 64 --d 100 --steps 1e7 --log-every 1": "a log of 10000002 steps",
    "--out ": "name a folder",
    "--resume nowhere": "no interrupted run",
    "--seed 1e300": "at most 340282366920938463463374607431768211455",
    "--init-seed 1e300": "at most 340282366920938463463374607431768211455",
    "--out " + "x" * 300: "File name too long",
    "--out below/" + "x" * 300: "File name too long",
    "--resume " + "x" * 300: "File name too long",
    "--head fro\nzen": "trained, frozen",
    "--frob\nnicate": "no such option",
    "--resume": "name the folder",
}


@pytest.mark.parametrize("words, allowed", BAD.items())
def test_bad_input_gets_one_line(words, allowed, tmp_path, capsys):
    assert run.main(words.split(" ")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert any(word in err for word in words.split() if word.startswith("--")) and allowed in err
    if len(words.split()) == 2 and "no such option" not in err and "e" not in words.split()[1]:
        assert words.split()[1] in err
    assert list(tmp_path.iterdir()) == []  # refused before anything was written


def test_folders_that_cannot_serve(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/config.json").write_text("{}")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/report.txt").write_text("mine")
    for out, reason in {"file": "not a folder", "file/below": "cannot be written",
                        "taken": "not a run's", "foreign": "of unknown origin"}.items():
        assert run.main([*SHORT, "--out", out]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f"--out {out}: " in err and reason in err
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "taken/config.json").read_text() == "{}"


@pytest.fixture
def a_user(tmp_path):
    """Somebody who may not write anywhere, in a folder of their own: root becomes nobody meanwhile."""
    root = os.geteuid() == 0
    if root:
        assert run.main([*SHORT, "--no-plot", "--out", "first"]) == 0  # imports what root alone may be able to read
        os.chown(tmp_path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield
    if root:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no such permissions")
def test_a_read_only_folder(capsys, a_user):
    assert run.main([*SHORT, "--no-plot", "--out", "open"]) == 0
    os.mkdir("locked", mode=0o500)
    assert run.main([*SHORT, "--no-plot", "--out", "locked"]) == 2
    assert "cannot be written: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_corrupt_checkpoint(tmp_path, capsys, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/checkpoint.npz").write_bytes(content)
    assert run.main(["--resume", "out"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--resume out" in err and "simsim wrote" in err


def interrupted_at(step, monkeypatch, out="out"):
    """Interrupt the run SHORT after a step, in the folder `out`."""
    with monkeypatch.context() as patch:
        patch.setattr(run, "_progress", lambda *_: lambda state: state.step == step and signal.raise_signal(2))
        assert run.main([*SHORT, "--no-plot", "--out", out]) == 130


DAMAGES = [
    lambda arrays: arrays.update(step=np.int64(41)), lambda arrays: arrays.update(step=1.5),
    lambda arrays: arrays.update(step=np.int64(3)), lambda arrays: arrays.update(log_rows=np.int64(3)),
    lambda arrays: arrays.update(weights_factor=np.full((1, 2, 2), np.nan)),
    lambda arrays: arrays.update(weights_overlaps=arrays["weights_overlaps"].astype(np.float32)),
    lambda arrays: arrays.update(head=np.ones(2)), lambda arrays: arrays.pop("head"),
    lambda arrays: arrays.pop("log_sha256"), lambda arrays: arrays.update(config="[]"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_that_does_not_fit_together_is_refused_and_kept(tmp_path, capsys, monkeypatch, damage):
    """Its checksum is right, but it is none that a run wrote."""
    interrupted_at(15, monkeypatch)
    arrays = read_arrays("out/checkpoint.npz")
    damage(arrays)
    write_arrays("out/checkpoint.npz", arrays)
    before = (tmp_path / "out/checkpoint.npz").read_bytes()
    capsys.readouterr()
    assert run.main(["--resume", "out"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "out/checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("alter", [
    lambda arrays: arrays.update(head=2 * arrays["head"]),
    lambda arrays: arrays.update(weights_factor=arrays["weights_factor"] + np.ones((2, 2))),
    lambda arrays: arrays.update(weights_overlaps=np.nextafter(arrays["weights_overlaps"], 9)),
    lambda arrays: arrays.update(format=np.zeros(2)), lambda arrays: arrays.pop("sha256"),
])
def test_an_altered_checkpoint_is_refused(capsys, monkeypatch, alter):
    """All that it holds would fit."""
    interrupted_at(15, monkeypatch)
    arrays = dict(np.load("out/checkpoint.npz"))
    alter(arrays)
    np.savez("out/checkpoint.npz", **arrays)
    capsys.readouterr()
    assert run.main(["--resume", "out"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "--resume out: out/checkpoint.npz is not a file that simsim wrote" in err


@pytest.mark.parametrize("alter", [
    lambda rows: rows["gram"].__imul__(-1), lambda rows: rows["time"].__imul__(7), lambda rows: rows["head"].fill(0),
    lambda rows: rows.resize(len(rows) - 1, refcheck=False),
])
def test_an_altered_log_is_refused(tmp_path, capsys, monkeypatch, alter):
    interrupted_at(15, monkeypatch)
    rows = np.fromfile("out/checkpoint.log", log_type(Config()))
    alter(rows)
    rows.tofile("out/checkpoint.log")
    capsys.readouterr()
    assert run.main(["--resume", "out"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "out/checkpoint.log is not its log" in err
    (tmp_path / "out/checkpoint.log").unlink()
    assert run.main(["--resume", "out"]) == 2
    assert "out/checkpoint.log is missing" in capsys.readouterr().err


def test_config_and_checkpoint_of_different_runs(tmp_path, capsys, monkeypatch):
    interrupted_at(15, monkeypatch)
    about = json.loads((tmp_path / "out/config.json").read_text())
    about["config"]["seed"] = 1
    (tmp_path / "out/config.json").write_text(json.dumps(about))
    capsys.readouterr()
    assert run.main(["--resume", "out"]) == 2
    assert "config.json and checkpoint.npz are of different runs" in capsys.readouterr().err


def test_a_stdout_that_fails_costs_nothing(tmp_path):
    command = [sys.executable, "-m", "simsim.run", *SHORT, "--no-plot", "--out", "out"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and "stdout: No space left" in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {"phases.png"}


@pytest.mark.parametrize("engine", ["flow", "gram"])
def test_a_flow_that_fails(engine, capsys, monkeypatch):
    """As what was asked for it ends with status 3; beside a run of SGD it is missing, and the run says so."""
    def fails(*_, **__):
        raise FlowError("at t = 1 the step became too small")
    monkeypatch.setattr("simsim.simulate" if engine == "flow" else "simsim.flow.follow", fails)
    words = SHORT if engine == "gram" else ["--engine", "flow", "--d", "1e4", "--lr", "1", "--head-lr", "1"]
    assert run.main([*words, "--no-plot", "--quiet", "--out", "out"]) == (3 if engine == "flow" else 0)
    said = "stopped: at t = 1" if engine == "flow" else "no flow to compare with: at t = 1"
    assert capsys.readouterr().err == f"simsim: {said} the step became too small\n"


def test_a_complete_run_is_not_resumed(capsys):
    assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 0
    assert run.main(["--resume", "out"]) == 2
    assert "complete" in capsys.readouterr().err


def test_ctrl_c_leaves_a_usable_folder_and_resume_goes_on(tmp_path, capsys, monkeypatch):
    whole = [*SHORT, "--out", "whole"]
    assert run.main(whole) == 0

    def interrupt(state):
        if state.step == 15:
            signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(run, "_progress", lambda *_: interrupt)
    assert run.main([*SHORT, "--out", "out"]) == 130
    err = capsys.readouterr().err
    assert "interrupted after step 15 of 40; go on with: python -m simsim.run --resume out" in err
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {"last.npz"} | {"checkpoint.npz", "checkpoint.log"}
    assert Trajectory.load("out/trajectory.npz").steps[-1] <= 15

    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run.main([*SHORT, "--out", "out"]) == 2  # would lose what is there
    assert run.main(["--resume", "out", "--steps", "50"]) == 2
    assert "a resumed run keeps its options" in capsys.readouterr().err
    assert run.main(["--resume", "--out", "out"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    for name in ("trajectory.npz", "report.json", "phases.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_kill_and_resume_give_the_same_trajectory(tmp_path):
    options = [*SHORT[:4], "--steps", "20000", "--batch-size", "16", "--d", "6", "--t-max", "0.1", "--no-plot"]
    code = ("import sys; from simsim import folder, run; folder.CHECKPOINT_SECONDS = 0.05; "
            f"sys.exit(run.main({[*options, '--out', 'killed']!r}))")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    checkpoint, deadline = tmp_path / "killed/checkpoint.npz", time.monotonic() + 60
    while not (checkpoint.exists() and np.load(checkpoint)["step"] > 500):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed/trajectory.npz").exists()
    assert run.main(["--resume", "killed", "--no-plot"]) == 0
    assert run.main([*options, "--out", "whole"]) == 0
    assert (tmp_path / "killed/trajectory.npz").read_bytes() == (tmp_path / "whole/trajectory.npz").read_bytes()


def test_training_that_breaks_off_keeps_what_it_has(tmp_path, capsys):
    assert run.main([*SHORT, "--lr", "1e200", "--no-plot", "--out", "out"]) == 3
    assert "stopped: neuron" in capsys.readouterr().err
    assert Trajectory.load("out/trajectory.npz").steps.tolist() == [0]


@pytest.mark.parametrize("words", ["--sigma 1e20", "--alpha-weak 1e-20", "--alpha-ratio 1e15", "--lr 1e40",
                                   "--head-lr 1e60", "--head frozen --sigma 1e12",
                                   "--engine sgd --dtype float32 --alpha-ratio 1e8"])
def test_extremes_are_reported_in_numbers(words, capfd, monkeypatch):
    """No nan and no warning (here an error) in the report, nor anything but lines of simsim's own on stderr."""
    monkeypatch.setattr(run, "FLOW_SECONDS", 0.2)
    assert run.main([*SHORT, *words.split(), "--no-plot", "--quiet", "--out", "out"]) == 0
    out, err = capfd.readouterr()
    assert "nan" not in out.lower() and all(line.startswith("simsim: ") for line in err.splitlines())
    trajectory = Trajectory.load("out/trajectory.npz")
    for name in ("loss", "shares", "head_shares", "correlations", "norms"):
        assert np.isfinite(getattr(trajectory, name)).all()
    assert any(np.ptp(getattr(trajectory, name), axis=0).any() for name in ("overlaps", "gram", "head"))


def test_the_flow_beside_says_when_it_gave_up(capsys, monkeypatch):
    monkeypatch.setattr(run, "FLOW_SECONDS", 1e-3)
    assert run.main([*SHORT, "--no-plot", "--out", "out"]) == 0
    assert "the flow beside gave up after 0.001 s of computing, at t = " in capsys.readouterr().out


def test_thousands_of_patches_take_no_time():
    words = "--patches 20000 --feature-patches 10000 --batch-size 3 --m 1 --steps 2 --no-plot --out out"
    subprocess.run([sys.executable, "-m", "simsim.run", *words.split()], check=True, capture_output=True, timeout=60)


OUTPUT = ["--out", "--resume", "--no-plot", "--report-html", "--compare", "--json", "--quiet", "--strict", "--version"]


def test_help_lists_every_option(capsys):
    """Those of Config, each with what it means and its default if it has one, and those of the output."""
    with pytest.raises(SystemExit) as done:
        run.main(["--help"])
    assert done.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Config):
        switch = field.type is bool
        flag = ("--no-" if switch else "--") + field.name.replace("_", "-")
        assert re.search(rf" {flag} (?:\S+ )?{re.escape(' '.join(field.metadata['help'].split()))}", text), flag
        if not switch and field.default is not None:
            assert f"[{field.default}]" in text, flag
    assert all(f" {flag} " in text for flag in OUTPUT)
    assert len(re.findall(r" --[a-z]", text)) >= len(dataclasses.fields(Config)) + len(OUTPUT)


def test_default_folders_differ():
    names = {folder.default_folder(Config(**change)) for change in ({}, {"m": 3}, {"head": "frozen"}, {"seed": 1})}
    assert len(names) == 4


def test_a_switch_turns_on_what_is_off_and_off_what_is_on(monkeypatch):
    """An option that is off by default is --name, one that is on --no-name; both reach the Config."""
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Later(simsim.Config):
        nesterov: bool = _option(False, "training", None, "look ahead", paper=False)

    monkeypatch.setattr(simsim, "Config", Later)
    monkeypatch.setattr(config, "Config", Later)
    config.switches.cache_clear()
    try:
        options = run.parse(["--nesterov", "--no-batch-norm"])
        assert options.nesterov is True and options.batch_norm is False
        assert config.flag("nesterov") == "--nesterov" and config.flag("batch_norm") == "--no-batch-norm"
        with pytest.raises(run.Refusal):
            run.parse(["--no-nesterov"])
    finally:
        config.switches.cache_clear()


def test_a_flow_that_takes_too_long_says_so_and_writes_what_it_has(tmp_path, capsys):
    """And it begins anew when it is called again, with the time that it needs."""
    words = ["--engine", "flow", "--d", "100", "--no-plot", "--out", str(tmp_path / "run")]
    assert run.main([*words, "--time-limit", "1e-9"]) == 3
    out, err = capsys.readouterr()
    assert "stopped by --time-limit 1e-09 at t = " in out and "stopped by --time-limit 1e-09 at t = " in err
    cut = Trajectory.load(tmp_path / "run" / "trajectory.npz")
    assert cut.status == flow.GAVE_UP and "too long" in cut.message
    assert run.main(words) == 0
    assert Trajectory.load(tmp_path / "run" / "trajectory.npz").status in flow.CERTIFIED


def test_a_run_of_sgd_stopped_by_its_time_limit_goes_on(tmp_path, capsys):
    words = ["--d", "12", "--batch-size", "33", "--steps", "60", "--no-plot", "--out", str(tmp_path / "run")]
    assert run.main([*words, "--time-limit", "1e-9"]) == 3
    assert "stopped by --time-limit 1e-09 after step 0 of 60; go on with: " in capsys.readouterr().err
    assert run.main(["--resume", str(tmp_path / "run"), "--no-plot"]) == 0
    assert Trajectory.load(tmp_path / "run" / "trajectory.npz").steps[-1] == 60


def test_the_line_on_stderr_says_how_far_a_flow_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(terminal, "SECONDS", 0.0)
    assert run.main(["--engine", "flow", "--d", "100", "--no-plot", "--out", str(tmp_path / "run")]) == 0
    lines = re.findall(r"t = ([\d.e+-]+)   \d+ s   f_1: v_[12] [\d.]+   f_2: v_[12]", capsys.readouterr().err)
    assert len(lines) > 50 and float(lines[-1]) > float(lines[0])
