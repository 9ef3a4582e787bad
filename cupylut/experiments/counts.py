"""The instructions of the kernels' vector loops, counted in their machine code.

Compiling needs NVRTC and counting needs nvdisasm, so the counts are kept here; tests/test_model.py
counts again and says which lines are out of date. A loop handles a vector of 16 bytes a lane. Where
it branches, in the formulas, both ways are counted.
"""

from typing import NamedTuple, TypeAlias

Case: TypeAlias = tuple[str, str, str]
"""A dtype, a kind of table and a function. "product" is z·f(x) with a gate table; "formula" and
"fast" are without a table, in this library's loop: kernels/formula.cu."""

ARCHITECTURES = 80, 86, 90, 100


class Count(NamedTuple):
    """All instructions of a loop, and those that each unit of the GPU executes.

    fma: float32 multiply-adds, and integer ones; alu: integers, comparisons, selection; special:
    reciprocals, exponentials and some conversions; double: double precision.
    """

    instructions: int
    fma: int
    alu: int
    special: int
    double: int


# A Count for each of ARCHITECTURES; of NVRTC 13.5.
_TABLE = """
float16  linear     gelu           97/42/44/0/0     97/42/44/0/0    105/46/46/0/0    121/49/59/0/0
bfloat16 linear     gelu          101/42/48/0/0    103/44/48/0/0    109/46/50/0/0    121/49/59/0/0
float32  linear     gelu           58/26/25/0/0     58/26/25/0/0     61/26/26/0/0     60/26/26/0/0
float64  linear     gelu          95/30/38/0/22    96/28/40/0/22   104/31/38/0/22   107/31/41/0/22
float16  direct     gelu         189/56/114/8/0   189/56/114/8/0   186/46/119/8/0   199/54/123/8/0
bfloat16 direct     gelu         194/57/118/8/0   194/57/118/8/0   189/45/123/8/0   199/54/123/8/0
float16  compact    gelu          130/62/33/0/0    130/64/31/0/0    137/64/36/0/0    146/67/42/0/0
float16  compact    silu          137/63/39/0/0    138/65/38/0/0    145/67/41/0/0    159/69/52/0/0
bfloat16 compact    gelu          142/73/42/0/0    142/74/41/0/0    149/75/45/0/0    154/79/46/0/0
bfloat16 compact    gelu_tanh     150/79/44/0/0    150/82/41/0/0    158/83/46/0/0    162/84/49/0/0
bfloat16 compact    silu          166/81/50/0/0    166/82/49/0/0    173/83/53/0/0    189/93/60/0/0
float32  gate       gelu          112/59/38/0/0    113/60/38/0/0    112/59/37/0/0    128/68/44/0/0
float32  polynomial mish          174/72/71/0/0    178/74/73/0/0    168/62/70/0/0    189/78/75/0/0
float64  polynomial gelu         163/32/56/0/46   168/33/58/0/46   161/16/58/0/48   168/22/63/0/46
float16  product    silu         241/136/77/0/0   242/137/77/0/0   237/132/77/0/0   254/138/85/0/0
bfloat16 product    silu         251/131/92/0/0   248/130/90/0/0   247/127/92/0/0  266/132/104/0/0
float32  product    silu          125/66/43/0/0    125/67/42/0/0    125/68/40/0/0    133/72/43/0/0
float16  formula    gelu         236/135/90/8/0   236/132/93/8/0   234/133/90/8/0  252/134/106/8/0
float16  formula    gelu_tanh   199/130/50/16/0  199/129/51/16/0  197/129/49/16/0  212/128/65/16/0
float16  formula    silu        233/125/65/16/0  236/123/70/16/0  236/124/69/16/0  254/126/76/16/0
bfloat16 formula    gelu         240/131/98/8/0  240/127/102/8/0   238/131/96/8/0  252/133/107/8/0
bfloat16 formula    gelu_tanh   203/122/62/16/0  204/121/64/16/0  201/121/61/16/0  212/120/73/16/0
bfloat16 formula    silu        237/121/73/16/0  240/122/75/16/0  240/123/74/16/0  257/125/80/16/0
float32  formula    gelu          128/72/49/4/0    128/70/51/4/0    128/70/51/4/0    131/71/53/4/0
float32  formula    gelu_tanh     107/64/32/8/0    108/64/33/8/0    109/66/32/8/0    115/64/39/8/0
float32  formula    silu          124/66/35/8/0    120/63/34/8/0    120/64/33/8/0    139/72/40/8/0
float16  fast       gelu           78/52/15/8/0     78/52/15/8/0     76/49/16/8/0     93/52/29/8/0
float16  fast       gelu_tanh      78/52/15/8/0     78/52/15/8/0     76/49/16/8/0     93/52/29/8/0
float16  fast       silu          71/38/14/16/0    71/39/13/16/0    71/35/17/16/0    84/38/26/16/0
bfloat16 fast       gelu           83/48/24/8/0     82/50/21/8/0     81/46/24/8/0     93/51/30/8/0
bfloat16 fast       gelu_tanh      83/48/24/8/0     82/50/21/8/0     81/46/24/8/0     93/51/30/8/0
bfloat16 fast       silu          77/36/22/16/0    75/36/20/16/0    77/36/22/16/0    84/38/26/16/0
float32  fast       gelu           44/25/12/4/0     44/27/10/4/0     44/25/12/4/0     48/28/13/4/0
float32  fast       gelu_tanh      44/25/12/4/0     44/27/10/4/0     44/25/12/4/0     48/28/13/4/0
float32  fast       silu           39/18/10/8/0      39/19/9/8/0     39/18/10/8/0     43/21/11/8/0
"""


def parse(table: str) -> dict[Case, dict[int, Count]]:
    """The counts in lines like those above, by case and architecture."""
    found = {}
    for line in table.strip().splitlines():
        dtype, kind, function, *cells = line.split()
        counts = (Count(*map(int, cell.split("/"))) for cell in cells)
        found[dtype, kind, function] = dict(zip(ARCHITECTURES, counts, strict=True))
    return found


def format_line(case: Case, counts: dict[int, Count]) -> str:
    """A line of the table."""
    cells = ("/".join(map(str, counts[architecture])) for architecture in ARCHITECTURES)
    return "{:<9}{:<11}{:<10}".format(*case) + "".join(f"{cell:>17}" for cell in cells)


COUNTS = parse(_TABLE)
