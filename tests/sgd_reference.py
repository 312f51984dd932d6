"""SGD written out patch by patch: what a step of an engine must come to, from the engine's own random numbers.

Shapes: N batch, h = P/2 patches in a view, m neurons, K features, c coordinates of a noise patch.
"""

import numpy as np

from simsim import heads, loss_and_grad, network, objectives
from simsim.data import Samples, sample_classes
from simsim.sgd.draws import Blocks, Draw, DrawnAhead


def literal_batch(config, step):
    """The Samples and the noise (2, N, h, d - K) of literal SGD."""
    samples, noise = DrawnAhead(config).draw(step)
    is_noise = samples.is_noise(config.patches // 2)
    return samples, _placed(is_noise, noise[:np.count_nonzero(is_noise)])


def gram_batch(config, step):
    """The Samples of gram SGD, the noise (2, N, h, m) as its weights see it, and its Draw."""
    draw, zeta = map(of_first, Blocks([config]).draw(step))
    zeta = zeta.reshape(config.m, config.noise_patches, config.batch_size)
    classes = sample_classes(config.patches, config.patches_by_feature, config.frequencies)
    kinds = np.repeat(np.arange(len(draw.counts)), draw.counts)
    samples = Samples(classes.feature[kinds], classes.sign[kinds], np.stack([classes.k1[kinds], classes.k2[kinds]]))
    by_sample, in_view1 = zeta.transpose(2, 1, 0), draw.in_view1.T
    there = np.ones_like(in_view1) if draw.noise is None else draw.noise.T
    noise = np.concatenate([by_sample[in_view1 & there], by_sample[~in_view1 & there]])
    return samples, _placed(samples.is_noise(config.patches // 2), noise), draw


def of_first(draw):
    """The Draw, or the array, of the first of S runs."""
    return draw[0] if isinstance(draw, np.ndarray) else Draw(*(None if of_runs is None else of_runs[0] for of_runs in draw))


def _placed(is_noise, noise):
    placed = np.zeros((*is_noise.shape, noise.shape[1]))
    placed[is_noise] = noise
    return placed


def views(config, samples, noise):
    """X1, X2 (N, h, K + c): the patches that the masks left of each view."""
    shown = ~samples.is_noise(config.patches // 2)[..., None]
    return np.concatenate([shown * samples.feature_patch(config.alphas)[:, None], config.sigma * noise], axis=-1)


def loss_options(config):
    """The options of `loss_and_grad` for a Config."""
    return {"objective": config.objective, "stop_gradient": config.stop_gradient, "batch_norm": config.batch_norm,
            "barlow_lambda": config.barlow_lambda, "power": config.power}


def descend(config, W, E, samples, noise):
    """Loss, W and E after one step on W (m, K + c) and E (m, m), and C (m, M) = dL/du of the noise patches."""
    X1, X2 = views(config, samples, noise)
    head = heads.from_config(config)
    if head.set_from is not None:
        f1, f2 = (((X @ W.T) ** config.power).sum(axis=1) for X in (X1, X2))
        E = head.set_from(objectives.second_moments(f1, f2, config.batch_norm)[:config.m, :config.m])
    loss, grad = loss_and_grad(W, E, X1, X2, **loss_options(config))
    by_patch = network.chain(X1 @ W.T, X2 @ W.T, E, objectives.from_config(config), config.power)[1]
    C = np.concatenate([dU[is_noise] for dU, is_noise in zip((by_patch.U1, by_patch.U2), samples.is_noise(X1.shape[1]))
                        if dU is not None]).T
    return loss, W - config.lr * grad.W, E - config.head_lr * head.direction(grad.E), C


def literal_step(config, W, E, step):
    """Loss, W (m, d) and E (m, m) after a step."""
    return descend(config, W, E, *literal_batch(config, step))[:3]


def gram_step(config, overlaps, factor, E, step):
    """Loss, overlaps (m, K), factor (m, m) and E (m, m) after a step (docs/theory.md, section 4, points 1 to 5)."""
    *batch, draw = gram_batch(config, step)
    loss, W, E, C = descend(config, np.concatenate([overlaps, factor], axis=1), E, *batch)
    overlaps, in_span = np.split(W, [config.features], axis=1)
    S = upper_root(C.T).T
    O = config.lr * config.sigma * S @ draw.across[:S.shape[1]]
    return loss, overlaps, upper_root(np.concatenate([in_span, O], axis=1).T).T, E


def upper_root(X):
    """R (min(M, m), m), unique upper triangular with diagonal >= 0, such that X^T X = R^T R, for X (M, m)."""
    R = np.linalg.qr(X, mode="r")
    return R * np.copysign(1, np.diagonal(R))[:, None]
