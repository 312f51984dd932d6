"""What a run needs of memory, engine by engine, before any of it is taken: what does not fit is refused by its option.

These are rules for the largest arrays there are at once; tests measure that a run stays below them, and not far below.
"""

from collections.abc import Callable
from typing import NamedTuple

from simsim import data, objectives

MAX_BYTES = 4 * 2**30  # for the engine and the log of a run
MOST_LOG_SPACED = 500  # rows that log-spaced logging makes of as many steps as there may be, and more than a flow has
LOG_COPIES = 8  # of the log while shares, correlations and losses are derived from all of it at once [measured]
ROW_OVERHEAD = 64  # numbers' worth of memory for a row's Python objects [measured]
COPIES_OF_JACOBIAN, COPIES_OF_CROSSINGS = 18, 7  # in numbers, at the peak of a step of the flow [measured]
STEPS_OF_FLOW = 1000  # of which a path keeps the coordinates
BLOCK_STEPS = 64  # steps of the gram engine from one stream of random numbers


class Excess(NamedTuple):
    """Why a run does not fit: the option that decides, and what is said of it."""

    option: str
    words: str


def excess(config):
    """The `Excess` of a run over MAX_BYTES, or None where it fits."""
    engine, log = of_engine(config), of_log(config)
    if engine + log <= MAX_BYTES:
        return None
    too_much = f"would take {(engine + log) / 2**30:.3g} GiB of memory, of {MAX_BYTES / 2**30:.3g} GiB"
    if log > engine and config.log_every:
        return Excess("log_every", f"a log of {rows_logged(config)} steps of {config.m} neurons {too_much}; "
                                   "log_every, steps and m decide")
    options = ENGINES[config.engine].options
    largest = max(options, key=lambda name: getattr(config, name)) if engine > log else "m"
    return Excess(largest, f"engine {config.engine} {too_much}; {' and '.join(options)} decide"
                  + ("; engine gram does without d" * (largest == "d")))


def of_engine(config):
    """Bytes of what the engine of a run works with."""
    return ENGINES[config.engine].needs(config)


def of_log(config):
    """Bytes of steps, times and losses, overlaps, noise Gram matrix and head of every row, and what is derived of them."""
    matrices = 1 + ("target" in config.blocks)  # Gram matrices, and overlaps
    numbers = (1 + matrices) * config.m**2 + matrices * config.features * config.m + 3
    return 8 * rows_logged(config) * (LOG_COPIES * numbers + ROW_OVERHEAD)


def rows_logged(config):
    """How many steps are logged, at most (`sgd.recorder.logged_steps`; a flow has fewer rows)."""
    return 2 + min(config.steps, config.steps // config.log_every if config.log_every else MOST_LOG_SPACED)


def of_block(config):
    """Bytes of the numbers which engine gram draws for BLOCK_STEPS steps, normals apart, roughly."""
    classes = 2 * config.features * (min(config.feature_patches, config.noise_patches) + 1)  # of samples, at most
    flags = config.noise_patches * config.batch_size * (1 if config.patch_counts is None else 2)  # a byte each
    flags += 8 * config.noise_patches * config.batch_size * data.from_config(config).scaled
    numbers = len(config.blocks) * config.m**2 + (2 * config.features + 1) * config.batch_size + 8 * classes
    return BLOCK_STEPS * (8 * numbers + flags)


def _of_gram(config):
    return 8 * _preactivations(config) + of_block(config)


def _of_literal(config):
    noise = 2 * config.batch_size * config.noise_patches * config.d  # of this batch and of the next
    return 8 * (_preactivations(config) + noise + (2 + len(config.blocks)) * config.m * config.d)


def _preactivations(config):
    """Numbers as large as the pre-activations of a batch."""
    return (6 + ("target" in config.blocks)) * config.batch_size * config.patches * config.m


def _of_flow(config):
    """A Jacobian by complex step, in every direction of which features cross, and a path."""
    m, pairs = config.m, config.features * (config.features - 1) // 2
    n = 2 * m**2 + config.features * m
    crossed = m if issubclass(objectives.kind_of(config.objective), objectives.OfCorrelations) else 2 * m
    crossings, chart = crossed**2 * pairs, (m**2 + m) * pairs
    return 8 * (COPIES_OF_JACOBIAN * n * n + COPIES_OF_CROSSINGS * n * crossings + STEPS_OF_FLOW * chart)


class Engine(NamedTuple):
    """What decides on the memory of an engine: its options, and the bytes that it needs as a function of the config."""

    options: tuple
    needs: Callable


ENGINES = {"gram": Engine(("batch_size", "patches", "m"), _of_gram),
           "sgd": Engine(("d", "batch_size", "patches", "m"), _of_literal),
           "flow": Engine(("m", "features"), _of_flow)}
