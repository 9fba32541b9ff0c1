"""How far two computations of one thing may differ."""

TOLERANCES = {"float64": 1e-6, "float32": 1e-4, "float16": 2**-6, "bfloat16": 2**-4}
"""In the model's precision, relative to the size of what is compared.

Sums in another order differ by rounding, which grows with the number of blocks: on SmolLM2-135M by 3e-6 in float32, 0.005
in float16 and 0.02 in bfloat16. Results hold float32, whatever the model computes in.
"""
