"""The table of what runs, by the parameters that were touched."""

import pytest

from sgdest._resolve import resolve
from sgdest.losses import Huber
from sgdest.optimizers import LBFGS, SGD, Adam, NormalizedAdaptive

# loss, optimizer, learning_rate, batch_size, average -> fit, partial_fit, rate, rows, average
TABLE = [
    ("log_loss", "auto", "auto", "auto", False, LBFGS, NormalizedAdaptive, None, None, 0),
    ("hinge", "auto", "auto", "auto", False, LBFGS, NormalizedAdaptive, None, None, 0),
    (Huber(), "auto", "auto", "auto", False, LBFGS, NormalizedAdaptive, None, None, 0),
    ("perceptron", "auto", "auto", "auto", False, SGD, SGD, 1.0, 1, 0),
    ("perceptron", "auto", "auto", 8, False, SGD, SGD, "auto", 8, 0),
    ("log_loss", "auto", "constant", "auto", False, SGD, SGD, "constant", 1, 0),
    ("log_loss", "auto", 0.5, "auto", False, SGD, SGD, 0.5, 1, 0),
    ("log_loss", "auto", "auto", 32, False, SGD, SGD, "auto", 32, 0),
    ("log_loss", "auto", "auto", None, False, SGD, SGD, "auto", 0, 0),
    ("log_loss", "auto", "auto", "auto", True, SGD, SGD, "auto", 1, 1),
    ("log_loss", "auto", "optimal", 16, 10, SGD, SGD, "optimal", 16, 10),
    ("log_loss", "sgd", "auto", "auto", False, SGD, SGD, "auto", 1, 0),
    ("log_loss", "sgd", "auto", "auto", 0, SGD, SGD, "auto", 1, 0),
    ("log_loss", SGD(0.2), "auto", "auto", False, SGD, SGD, 0.2, 1, 0),
    ("log_loss", "gd", 0.1, "auto", False, SGD, SGD, 0.1, 0, 0),
    ("log_loss", "momentum", "auto", "auto", False, SGD, SGD, "auto", 256, 0),
    ("log_loss", "adam", "auto", "auto", False, Adam, Adam, "auto", 256, 0),
    ("log_loss", Adam(0.1), "auto", None, True, Adam, Adam, 0.1, 0, 1),
    ("log_loss", "lbfgs", "auto", "auto", False, LBFGS, NormalizedAdaptive, None, None, 0),
    ("log_loss", LBFGS(5), "auto", "auto", False, LBFGS, NormalizedAdaptive, None, None, 0),
    ("log_loss", "normalized_adaptive", "auto", "auto", False, NormalizedAdaptive,
     NormalizedAdaptive, None, None, 0),
    ("perceptron", "normalized_adaptive", "auto", "auto", False, NormalizedAdaptive,
     NormalizedAdaptive, None, None, 0),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: "-".join(map(str, row[:5])))
def test_table(row):
    *parameters, fit, stream, rate, rows, average = row
    for streaming, kind in ((False, fit), (True, stream)):
        plan = resolve(*parameters, streaming=streaming)
        assert type(plan.optimizer) is kind
        assert plan.learning_rate == rate
        if rows is not None:
            assert plan.batch_size == rows
        assert plan.average == average
        assert plan.reason


REFUSED = [
    (("log_loss", "lbfgs", 0.1, "auto", False), "lbfgs.*takes no learning_rate.*0.1"),
    (("log_loss", "lbfgs", "auto", 32, False), "lbfgs.*takes no batch_size.*32"),
    (("log_loss", "lbfgs", "auto", None, False), "lbfgs.*takes no batch_size.*None"),
    (("log_loss", LBFGS(), "auto", "auto", True), "LBFGS.*takes no average.*True"),
    (("log_loss", "normalized_adaptive", "optimal", 1, False), "learning_rate or batch_size"),
    (("log_loss", "gd", "auto", 10, False), "batch_size=10.*optimizer='sgd'"),
    (("log_loss", SGD(0.1), 0.2, "auto", False), "given twice: 0.2"),
    (("perceptron", "lbfgs", "auto", "auto", False), "perceptron.*no solver"),
    (("hinge", "auto", "pa1", 2, False), "pa1.*batch_size=2"),
]


@pytest.mark.parametrize("parameters, message", REFUSED)
def test_combinations_without_a_meaning_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        resolve(*parameters, streaming=False)
