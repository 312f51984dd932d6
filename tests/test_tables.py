"""The tables of docs/theory.md and docs/results.md that examples/theory_tables.py makes: cells computed anew."""

import decimal
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from simsim import flow, noise_laws

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "examples" / "theory_tables.py"
FALSE_ALARM = 1e-4  # of one comparison, if what is printed is the law of the starts that are looked at, which are fixed
FEW = 40  # starts, of the hundreds behind a cell


@pytest.fixture(scope="module")
def tables():
    """The functions of the script; what they compute is kept for all tests."""
    return runpy.run_path(str(SCRIPT))


def printed(page, header):
    """The rows of cells of the table of a page whose header line begins so."""
    lines = iter((ROOT / "docs" / page).read_text().splitlines())
    next(line for line in lines if line.startswith(f"| {header} |"))
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.replace(r"\|", "").strip("| ").split("|")])


def row_of(page, header, first):
    row, = (row[1:] for row in printed(page, header) if row[0] == first)
    return row


def numbers(cell):
    """The numbers of a cell with half a unit of their last digits."""
    values = [decimal.Decimal(text) for text in cell.split(", ")]
    return [(float(value), 0.5 * 10.0 ** value.as_tuple().exponent) for value in values]


def plausible(hits, count, p):
    """Whether so many hits of so many are likely at probability p: each tail is above half of FALSE_ALARM."""
    return min(binom.cdf(hits, count, p), binom.sf(hits - 1, count, p)) > FALSE_ALARM / 2


def has_quantiles(values, cell):
    """Whether values are likely draws of a law with these quantiles at 5 %, 50 % and 95 %, which are rounded."""
    tail = FALSE_ALARM / 6
    return all(binom.sf((values < value - half).sum() - 1, values.size, q) > tail
               and binom.cdf((values <= value + half).sum(), values.size, q) > tail
               for (value, half), q in zip(numbers(cell), (0.05, 0.5, 0.95)))


@pytest.mark.parametrize("name, header", [("eq-16", "start $s$"), ("eq-44", "strengths")])
def test_a_table_without_flows_is_made_again_whole(tables, name, header):
    _, *rows = tables["TABLES"][name](None)
    assert [[float(cell) for cell in row[1:]] for row in rows] == [[float(cell) for cell in row[1:]]
                                                                   for row in printed("theory.md", header)]


@pytest.mark.parametrize("d", ["10^2", "10^4"])
def test_the_rates_of_eq_25(tables, d):
    """By the law from all thousand starts, digit by digit."""
    config = tables["config_of"](float(d.replace("10^", "1e")), 0.1)
    overlaps, norms = tables["starts"](config, 1000)
    row = next(row for row in printed("theory.md", "$d$ | $\\kappa$") if row[:2] == [f"${d}$", "0.1"])
    assert f"{tables['laws'].succeeds(config, overlaps, norms).mean():.3f}"[1:] == row[4]


def test_how_often_flows_succeed_and_are_named(tables):
    seen, by_18, by_25 = tables["outcomes"](tables["config_of"](1e8, 1.0), FEW)
    row = next(row for row in printed("theory.md", "$d$ | $\\kappa$") if row[:2] == ["$10^8$", "1"])
    for part, cell in zip((by_18 == seen, by_25 == seen, by_25, seen), row[2:]):
        assert plausible(part.sum(), FEW, float(cell)), cell
    assert not plausible(seen.sum(), FEW, 0.4) and not plausible((by_25 == seen).sum(), FEW, 0.6)


def test_the_times_of_phases_two_and_three(tables):
    config = tables["config_of"](1e8, 1.0)
    over_20, over_21 = tables["lag_ratios"](config, FEW)
    over_22 = tables["phase_three_ratios"](config, FEW)
    of_20, of_21 = row_of("theory.md", "$d$, $\\kappa$ | (20)", "$10^8$, 1")
    of_22 = row_of("theory.md", "$d$ | $\\kappa = 0.1$", "$10^8$")[1]
    assert has_quantiles(over_20, of_20) and has_quantiles(over_21, of_21) and has_quantiles(over_22, of_22)
    assert not has_quantiles(over_21, of_20) and not has_quantiles(0.99 * over_22, of_22)
    assert not has_quantiles(over_20, row_of("theory.md", "$d$, $\\kappa$ | (20)", "$10^3$, 1")[0])


def test_what_is_left_of_the_head(tables):
    left, law, distance = tables["heads_left"](tables["config_of"](1e8, 1.0), FEW)
    _, quantiles, off, named, before, apart = row_of("theory.md", "$d$, $\\kappa$ | flows", "$10^8$, 1")
    assert has_quantiles(left, quantiles) and not has_quantiles(left / 2, quantiles)
    assert plausible((np.abs(left - law) <= numbers(off)[0][0]).sum(), left.size, 0.5)
    assert plausible((left < tables["RETURNED"]).sum(), left.size, float(before))
    assert float(named) == 1 == ((law < tables["RETURNED"]) == (left < tables["RETURNED"])).mean()
    assert np.median(distance) < 10 * float(apart)


def test_more_neurons_and_three_features(tables):
    config, few = tables["config_of"](1e4, 1.0, m=3), 12
    both = tables["flows"](config, few).owned.all(axis=1).sum()
    cell = row_of("theory.md", "$m$, $\\kappa$", "3, 1")[2]
    assert plausible(both, few, float(cell)) and not plausible(both, few, 0.1)
    row = row_of("results.md", "strengths", "9, 3, 1")
    for cell, options in zip(row[:2], ({}, {"head": "frozen"})):
        out = tables["flows"](tables["three"]((9.0, 3.0, 1.0), 0.1, **options), few)
        followed = np.isin(out.verdict, flow.CERTIFIED)
        assert plausible(out.owned[followed].all(axis=1).sum(), followed.sum(), int(cell.split()[0]) / 200), cell


def test_partings(tables):
    out, over = tables["partings"](4, 1.05, 4)
    row = next(row for row in printed("theory.md", "$k$, $\\rho$") if row[:2] == ["4, .750", "1.05"])
    low, _, high = numbers(row[4])
    assert (out.verdict == flow.BOTH).sum() == 4 and row[2] == "24"
    assert low[0] - low[1] <= np.nanmin(over) and np.nanmax(over) <= high[0] + high[1]


def test_losses_of_all_moments(tables):
    """Two cells in small, and VICReg's times."""
    for name, (objective, batch_norm) in {"spectral, batch norm, frozen": ("spectral", True),
                                          "spectral, no batch norm, frozen": ("spectral", False)}.items():
        assert row_of("results.md", "objective, head", name)[1] == "20 both"
        assert tables["at_the_end"](objective, batch_norm, "frozen", 1e13, 3.0, 6) == "6 both"
    assert tables["at_the_end"]("simsiam", True, "frozen", 1e6, 3.0, 6) != "6 both"
    times, over = tables["vicreg_partings"](20.0, 4)
    low, _, high = numbers(row_of("theory.md", "ratio | both by t = 1e16", "20")[1])
    assert low[0] - low[1] <= np.nanmin(over) and np.nanmax(over) <= high[0] + high[1] and np.isfinite(times).any()


def by_command(script, words, monkeypatch, capsys):
    """What a script prints for these words of its command line; a table that there is not it refuses by name."""
    monkeypatch.setattr(sys, "argv", [script.name, *words])
    runpy.run_path(str(script), run_name="__main__")
    made = capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [script.name, "eq-99"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(script), run_name="__main__")
    assert caught.value.code == 2 and "eq-99: no such table" in capsys.readouterr().err
    return made


def test_every_table_has_its_command_beside_it(tables, monkeypatch, capsys):
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("theory.md", "results.md"))
    assert all(f"python examples/theory_tables.py {name}" in pages for name in tables["TABLES"])
    assert by_command(SCRIPT, ["eq-16"], monkeypatch, capsys).count("\n| ") == 3


# ---- examples/noise_laws.py --------------------------------------------------------------------------

NOISE = ROOT / "examples" / "noise_laws.py"


def test_the_table_of_batches_is_what_the_law_gives():
    drifts, commons = ([float(cell.replace(",", "")) for cell in row_of("theory.md", "$N$ | 32 | 64 | 128 | 256 | 1,024 | 3,072", name)]
                       for name in ("drift, $k = 7$", "common, $k = 7$"))
    made = [noise_laws.of_batch(8, 7, N) for N in (32, 64, 128, 256, 1024, 3072)]
    assert drifts == [round(batch.drift, 3) for batch in made]
    assert commons == pytest.approx([batch.common for batch in made], rel=5e-3)


def test_growth_by_a_few_seeds_is_that_of_the_table():
    """The first row, by 12 sampling seeds: within .03, four standard errors, of the law as the table has it, and not of eq. 56's."""
    rows = runpy.run_path(str(NOISE))["table_growth"](12)
    next(rows)
    made, row = next(rows), printed("theory.md", "$k$ | $N$ | $c_0$")[0]
    over_56, over_57 = (float(cell.split()[0]) for cell in made[4:])
    assert [str(cell) for cell in made[:2]] == row[:2]
    assert abs(over_57 - float(row[5].split()[0])) < 0.03 < abs(over_56 - 1)


def test_the_first_fate_by_law_is_that_of_the_table():
    """Eq. 80 as the script asks for it; its one run only has to end."""
    rows = runpy.run_path(str(NOISE))["table_fates"](1)
    next(rows)
    made, row = next(rows), printed("theory.md", r"$k$, $N$ | strengths")[0]
    assert f"{made[0]}, {made[1]}" == row[0]
    laws = map(float, made[6].split(", "))
    assert all(abs(law - value) <= half for law, (value, half) in zip(laws, numbers(row[5].replace(".", "0.")), strict=True))


def test_every_table_of_noise_has_its_command_beside_it(monkeypatch, capsys):
    page = (ROOT / "docs" / "theory.md").read_text()
    assert all(f"python examples/noise_laws.py {name}" in page for name in runpy.run_path(str(NOISE))["TABLES"])
    assert by_command(NOISE, ["even-chance", "--seeds", "2"], monkeypatch, capsys).count("\n| ") == 4
