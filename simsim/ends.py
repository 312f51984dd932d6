"""How a flow can end, as numbers that files keep and as words, and which of the ends are certain."""

BOTH, COLLAPSED, TIMED_OUT, MIXED, ALONE, GAVE_UP, DRIFTED = 1, 2, 3, 4, 5, 6, -10
COMPLETE, NOTHING, PART = 7, 8, 9
VERDICTS = {
    BOTH: "all features learned",
    COLLAPSED: "collapsed: the outputs of all neurons are parallel",
    COMPLETE: "complete collapse: all weights go to zero as t^(-1/4)",
    NOTHING: "settled: no neuron has learned anything",
    ALONE: "settled: a single neuron has learned its feature",
    MIXED: "settled, but a neuron holds more than one feature",
    PART: "settled: some features have no neuron",
    TIMED_OUT: "not yet: t_max reached",
    GAVE_UP: "not yet: it took too long to compute",
    DRIFTED: "failed: a conserved quantity drifted",
}
CERTIFIED = (BOTH, COLLAPSED, COMPLETE, NOTHING, ALONE, MIXED, PART)  # nothing else will come
