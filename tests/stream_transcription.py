"""The streaming method written out, in the weights themselves and regularised at once."""

import numpy as np

RATES = (0.5, 1.0, 3.0, 32.0)


def shrink(w, length, l1, l2, positive, c):
    """The exact flow of the penalty for ``length``."""
    rate = l2 * c * c
    taken = -np.expm1(-rate * length) / rate if rate > 0 else length
    size = max(0.0, abs(w) * np.exp(-rate * length) - l1 * c * taken)
    return 0.0 if positive and w < 0 else np.sign(w) * size


def step_of_log_loss(y, z, q):
    """How far an infinitely divided step of total length q moves the log loss's z."""
    m = y * z
    low, high = 0.0, min(q, np.log1p(q * np.exp(-m)))
    for _ in range(200):
        u = (low + high) / 2
        if np.exp(m) * np.expm1(u) + u > q:
            high = u
        else:
            low = u
    return y * (low + high) / 2


class Transcription:
    """One row at a time, with every expert and feature written out."""

    def __init__(self, loss, n_features, n_outputs, rates=RATES, fit_intercept=True, l1=0.0,
                 l2=0.0, positive=False, factors=None, newton=False):
        self.loss, self.joint = loss, type(loss).joint
        rates = (*rates, 0.0) if newton else rates
        self.rates, self.d, self.K, self.newton = rates, n_features, n_outputs, newton
        # of the Newton expert: sums of h x x' with x in units of s, and what penalties are paid
        self.H = np.tile(np.eye(n_features + 1) / 10.0, (n_outputs, 1, 1))
        self.paid = np.zeros(n_features)
        self.fit_intercept = fit_intercept
        self.w = np.zeros((len(rates), n_features + 1, n_outputs))
        self.A, self.s = np.zeros((2, n_features + 1))
        self.t = self.N = self.weight = self.spread = 0.0
        self.L = np.zeros(len(rates))
        self.pi = np.full(len(rates), 1 / len(rates))
        self.losses = []
        self.l1, self.l2, self.positive = l1, l2, positive
        self.c = np.ones(n_features) if factors is None else factors
        kind = type(loss)
        self.labels = kind.targets in ("binary", "sign", "class")
        self.counts = kind.link == "log"
        self.gain = 2.0 if kind.name == "squared_error" else 1.0
        self.low, self.high = {True: (-50.0, 50.0), False: (np.inf, -np.inf)}[self.labels]
        if self.counts:
            self.low, self.high = -1.0, 1.0
        self.low, self.high = np.full((2, n_outputs), [[self.low], [self.high]])
        self.mean = np.zeros(n_outputs)
        self.unit = 1.0

    def points(self, y, z):
        """(loss, derivatives, curvatures) of one row at the raw predictions z of its outputs."""
        if self.joint:
            p = np.exp(z - z.max())
            p /= p.sum()
            code = int(y[0])
            return -np.log(p[code]), p - np.eye(self.K)[code], p * (1 - p)
        value, d, h = np.transpose([self.loss.evaluate_point(*pair) for pair in zip(y, z)])
        return value.sum(), d, h

    def step(self, y, z, d, h, eta, P):
        """D of one expert and output."""
        name = type(self.loss).name
        if name == "squared_error":
            return (y - z) * -np.expm1(-eta * P) / P
        if name == "log_loss":
            return step_of_log_loss(2 * y - 1, z, eta * P) / P
        if type(self.loss).smoothness == "kinked":
            return -eta * d
        return np.clip(-eta * d / (1 + eta * P * h) * P, -self.unit, self.unit) / P

    def see(self, s, y):
        """Range and deviation of the targets."""
        if self.labels:
            return
        if self.counts:
            z = np.log(np.maximum(y, np.exp(-20)))
            self.low, self.high = np.minimum(self.low, z - 1), np.maximum(self.high, z + 1)
            return
        self.low, self.high = np.minimum(self.low, y), np.maximum(self.high, y)
        before = y - self.mean
        self.mean = self.mean + s * before / (1 + self.weight)
        self.spread += (s * before * (y - self.mean)).sum()
        self.unit = np.sqrt(self.spread / (self.K * (1 + self.weight)))

    def learn(self, x, y, s=1.0, offset=0.0):
        """One row."""
        x = np.append(x, 1.0 if self.fit_intercept else 0.0)
        for j in np.flatnonzero(np.abs(x) > self.s):
            if self.s[j] > 0:
                ratio = self.s[j] / abs(x[j])
                self.w[:len(self.w) - self.newton, j] *= ratio
                self.H[:, j] *= ratio
                self.H[:, :, j] *= ratio
                self.H[:, j, j] += (1 - ratio**2) / 10.0
            self.s[j] = abs(x[j])
        z = np.einsum("kjo,j->ko", self.w, x) + offset
        if (self.low <= self.high).all():
            z = np.clip(z, self.low, self.high)
        losses, d, h = zip(*(self.points(y, row) for row in z))
        self.losses.append(s * self.points(y, self.pi @ z)[0])
        seen = np.flatnonzero(x)
        self.N += ((x[seen] / self.s[seen]) ** 2).sum()
        self.t += 1
        self.weight += s
        self.weigh(s, np.array(losses))
        self.see(s, y)
        c = np.sqrt(self.t / self.N) if self.N else 0.0
        n = len(self.pi) - self.newton
        G = s**2 * self.gain**2 * np.square(d[:n]).sum() / (n * self.K)
        if self.newton:
            self.newton_step(x, s, d[-1], h[-1])
        self.A[seen] += G * x[seen] ** 2
        moved = seen[self.A[seen] > 0]
        v = x[moved] / (self.s[moved] * np.sqrt(self.A[moved]))
        P = c * (x[moved] * v).sum()
        unit = s * self.gain * self.unit
        if P > 0:
            for k, o in np.ndindex(z.shape):
                target = y[0] if self.joint else y[o]
                D = self.step(target, z[k, o], d[k][o], h[k][o], self.rates[k] * unit, P)
                self.w[k, moved, o] += c * D * v
        self.regularise(c * unit)

    def newton_step(self, x, s, d, h):
        """That of the last expert, by the sum of the curvatures, and its penalty."""
        unit, name = np.where(self.s > 0, self.s, 1.0), type(self.loss).name
        r, kinked = x / unit, type(self.loss).smoothness == "kinked"
        scale = self.unit if kinked else 1.0
        for o in range(self.K):
            p = abs(d[o]) if abs(d[o]) <= 0.5 else 0.5 * abs(d[o])
            bend = {"squared_error": 1.0, "log_loss": max(p * (1 - p), 1e-3)}.get(
                name, abs(d[o]) / self.unit if kinked else max(h[o], 1e-3))
            if bend > 0:
                s_o = s * scale
                v = r @ np.linalg.solve(self.H[o], r)
                farthest = np.inf if name in ("squared_error", "log_loss") else self.unit
                step = s_o * d[o] / (1 + s_o * bend * v)
                step = np.clip(step, -farthest / v, farthest / v)
                self.w[-1, :, o] -= step * np.linalg.solve(self.H[o], r) / unit
                self.H[o] += s_o * bend * np.outer(r, r)
        j = int(self.t) // 8 % self.d
        if self.l2 and self.t % 8 == 0:
            self.pay_newton(j, unit)
            self.paid[j] = self.weight

    def pay_newton(self, j, unit):
        """The penalty of column j since its last turn."""
        rate = self.due()[j]
        for o in range(self.K if self.s[j] > 0 else 0):
            moved = np.linalg.solve(self.H[o], np.eye(self.d + 1)[j])
            step = rate * self.w[-1, j, o] * unit[j] / (1 + rate * moved[j])
            self.w[-1, :, o] -= step * moved / unit

    def due(self):
        """The rates of the penalty on the columns since their last turns."""
        scale = self.unit if type(self.loss).smoothness == "kinked" else 1.0
        return scale * self.l2 * np.divide(self.c, self.s[:-1], out=np.zeros(self.d),
                                           where=self.s[:-1] > 0) ** 2 * (self.weight - self.paid)

    def weigh(self, s, losses):
        """The mixture after the losses of a row."""
        sharpness, share = 1.0, 1e-4
        if self.labels or self.counts:
            losses = np.minimum(losses, 1e3)
            share = 1e-10 if type(self.loss).targets == "sign" else share
        self.L += s * losses
        if not (self.labels or self.counts):
            temper = 2.0 if type(self.loss).name == "squared_error" else 1.0
            sharpness = self.weight * self.K / (temper * self.L.min())
        self.pi = self.pi * np.exp(-sharpness * s * (losses - losses.min()))
        self.pi = (1 - share) * self.pi / self.pi.sum() + share / len(self.pi)

    def regularise(self, path):
        """The penalty of one row, on every feature."""
        for k, j, o in np.ndindex(self.w.shape):
            if j < self.d and self.A[j] > 0 and (self.l1 or self.l2 or self.positive):
                length = self.rates[k] * path / (self.s[j] * np.sqrt(self.A[j]))
                self.w[k, j, o] = shrink(self.w[k, j, o], length, self.l1, self.l2,
                                         self.positive, self.c[j])

    def model(self):
        if self.newton:
            for j in range(self.d if self.l2 else 0):
                self.pay_newton(j, np.where(self.s > 0, self.s, 1.0))
        w = np.tensordot(self.pi, self.w, 1)
        return w[:-1], w[-1]
