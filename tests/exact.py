"""The functions in mpmath."""

import mpmath

mp = mpmath.mp.clone()
mp.dps = 40

# From the fixed point (0, 1) of mean and variance: Klambauer et al., arXiv 1706.02515.
SELU = (mp.mpf("1.6732632423543772848"), mp.mpf("1.0507009873554804934"))

EXACT = {
    "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (x + x**3 * 44715 / 10**6))),
    "silu": lambda x: x / (1 + mp.exp(-x)),
    "quick_gelu": lambda x: x / (1 + mp.exp(-x * 1702 / 1000)),
    "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "tanh": mp.tanh,
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "laplace": lambda x: mp.ncdf((x - mp.mpf("0.707107")) / mp.mpf("0.282095")),
    "gelu_10": lambda x: min(x * mp.erfc(-x / mp.sqrt(2)) / 2, 10),
    "selu": lambda x: SELU[1] * (x if x > 0 else SELU[0] * mp.expm1(x)),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "relu2": lambda x: max(x, 0) ** 2,
    "sqrtsoftplus": lambda x: mp.sqrt(mp.log1p(mp.exp(x))),
    "xielu": lambda x: x / 2 + mp.mpf(0.8) * (x * x if x > 0 else mp.expm1(x) - x),
    "leaky_relu": lambda x: x if x > 0 else mp.mpf(0.01) * x,
}
