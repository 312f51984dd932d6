"""The words of reports, pictures and pages, each in a sentence or two that need no other page.

docs/glossary.md says the same, and the page of a run (`plots.page`) ends with it. A report has a line for each symbol that
stands in it.

>>> from simsim import glossary
>>> glossary.TERMS["stop-gradient"]
'The target counts as given data: weights learn through the prediction alone.'
"""

TERMS = {
    "sample, patch": "A sample is P patches, vectors in R^d. In k of them stands one feature with one sign, the same in all k; "
                     "the others are Gaussian noise of standard deviation sigma.",
    "view": "What a network is shown of a sample: a random half of its patches is view 1, the other half view 2. The two share "
            "the feature and no noise.",
    "feature, v_1, v_2": "A direction in R^d that samples show, with strength alpha_l. v_1 is the strong feature, of strength "
                         "alpha_1; v_2, or the last of more, the weak one. alpha-ratio is alpha_1 / alpha_2.",
    "neuron, w_j": "One row of the weights. Reports and pictures number neurons by their roles: 1 is the first to learn v_1, 2 the "
                   "one that the head is to keep from it.",
    "overlap, a_jl": "The inner product of w_j with v_l: how much of the feature is in the weights.",
    "output, f_j": "What neuron j makes of a view: the sum over its patches of their inner product with w_j, to the power p: the "
                   "cube, p = 3, unless --power says otherwise.",
    "head, E": "The prediction head, an m x m matrix that starts as the identity I. A trained head learns its entries off the "
               "diagonal, a frozen one stays I. E_21 is how much of f_1 goes into the prediction of neuron 2.",
    "prediction, F_j": "What the head makes of the outputs, F = E f: it is to predict the target, the outputs of the other view.",
    "stop-gradient": "The target counts as given data: weights learn through the prediction alone.",
    "batch norm, BN": "Every output and every prediction is shifted and scaled so that over the batch its mean is 0 and its mean "
                      "square 1.",
    "loss": "The mean squared distance of normalised prediction and normalised target. From about 2 m, where they have nothing in "
            "common, it falls to what the two views differ in.",
    "eta, kappa": "eta is the learning rate of the weights, eta_E that of the head, kappa = eta_E / eta how fast the head is "
                  "beside the weights: 1 means alike.",
    "time, t": "The sum of the learning rates, eta times the number of steps while they are constant.",
    "flow": "Training with infinite batches and infinitely small steps, integrated as a differential equation. It depends on the "
            "start and on kappa and has no luck in it.",
    "start": "The weights at step 0: Gaussian, by init-seed. A hand-picked start is one that was searched for because all phases "
             "can be seen from it within a few thousand steps; it is not typical.",
    "share": "The fraction of an output's variance that one feature makes; what the shares leave of 1 is noise. The share of v_1 "
             "in F_2 beside that in f_2 shows what the head supplies.",
    "to hold, to learn a feature": "A neuron holds a feature while the feature makes at least half of its output's variance.",
    "success": "In the end each feature has a neuron of its own, which holds it and hardly any other.",
    "collapse": "Dimensional: the outputs vary, but all are the same up to sign and scale. Complete: no output varies any more.",
    "effective rank": "How many outputs there are in truth: exp(entropy) of the eigenvalues of their correlations, 1 where all are "
                      "alike, m where each goes its own way.",
    "phase I": "Ends when a neuron holds v_1, at time T_1. The head hardly moves.",
    "phase II, substitution": "Ends, at T_2, when v_1 makes half of F_2 while f_2 does not hold it: the head, and not the neuron, "
                              "predicts the strong feature.",
    "phase III, acceleration": "Ends, at T_3, when v_2 is held too. Neuron 2, which the head spares v_1, learns v_2 faster "
                               "than v_1.",
    "phase IV": "Ends when the head's largest entry off the diagonal has fallen to a tenth of its peak: the head is back near I.",
    "hypothesis": "What a theorem or law asks of a run, with the run's own figure beside it.",
    "PASS, FAIL": "The claim holds in this run; what cannot happen if the claim is true has happened.",
    "UNLIKELY": "The claim is about most starts, or about infinite batches, and this run went the other way.",
    "OUTSIDE": "The claim does not speak of this run: a hypothesis of it, which is named, does not hold.",
    "NOT REACHED": "The run is too short to tell.",
    "certified end": "A flow ends where its equations show that nothing else will come; one without such a proof says \"not yet\".",
}

# Of each symbol of a report the term it belongs to, how it is found in a line, as a pattern, and what is said of it in short.
SYMBOLS = (
    ("feature, v_1, v_2", r"\bv_\d", "v_l: feature l; v_1 is the strongest"),
    ("overlap, a_jl", r"\balpha", "alpha_l: the strength of feature l; a_jl: how much of it neuron j has, <w_j, v_l>"),
    ("neuron, w_j", r"\bw_\d|w_j", "w_j: the weights of neuron j; w_j = beta_j v + eps_j, v being its feature"),
    ("output, f_j", r"\bf_\d", "f_j: the output of neuron j, with the share of its variance that a feature explains"),
    ("prediction, F_j", r"\bF_\d", "F_j: the prediction that the head makes for neuron j, F = E f"),
    ("effective rank", r"\bphi",
     "phi: the normalised outputs; their effective rank is 1 if all say the same, m if each says its own"),
    ("head, E", r"E_(\d|off)|\bI\b",
     "E: the head, I at first; E_ji brings f_i into F_j, and E_off is all that is off its diagonal"),
    ("time, t", r"\bT_\d", "T_1, T_2, T_3: when phases I, II and III end; t is time, the learning rates added up"),
    ("eta, kappa", r"\bkappa", "kappa: learning rate of the head over that of the weights"),
    ("eta, kappa", r"\beta\b", "eta: learning rate of the weights"),
)
