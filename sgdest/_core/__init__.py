"""The compiled core: data, losses, penalties, schedules, problems, methods and the epoch loop.

Layers, each importing only from those before it::

    kernels, random < rows | losses | penalties | schedules < problem < methods < train

where the methods are ``optimizers``, ``stream``, ``plain_sgd`` and ``quasi_newton``.

Names, one meaning each:

===========  ==============================================================
``W``        parameters, shape (n_features, n_outputs), C order, float64
``b``        intercepts, shape (n_outputs,)
``w, x``     one contiguous vector of parameters, of data
``z``        raw prediction ``x W + b + offset`` (a margin)
``y``        target, encoded for the loss
``s``        sample weight (class weight included)
``d``        derivative of the loss in ``z``
``h``        second derivative of the loss in ``z``
``g``        gradient of the objective
``t``        updates made
``eta``      learning rate
``i, j, k``  row, column, output
===========  ==============================================================
"""
