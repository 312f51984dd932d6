"""JSON that somebody has edited by hand."""

import copy

VALUES = [None, True, 0, -1, 1e308, 10**400, "", "x", [], [1], [[]], {}, {"a": 1}, "\ud800",
          float("nan"), float("inf")]


def edits(values, rng, count):
    """Copies of JSON `values`, each with one place in it removed or replaced."""
    def places(value, path=()):
        yield path
        for name in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            yield from places(value[name], (*path, name))
    everywhere = list(places(values))
    for _ in range(count):
        edited, path = copy.deepcopy(values), everywhere[rng.integers(len(everywhere))]
        *above, last = path or (None,)
        inner = edited
        for name in above:
            inner = inner[name]
        if not path:
            yield VALUES[rng.integers(len(VALUES))]
        elif rng.random() < 0.2:
            del inner[last]
            yield edited
        else:
            inner[last] = VALUES[rng.integers(len(VALUES))]
            yield edited
