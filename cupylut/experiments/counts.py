"""The instructions of the kernels' vector loops, counted in their machine code.

Compiling needs NVRTC and counting needs nvdisasm, so the counts are kept here; tests/test_model.py
counts again and says which lines are out of date. They are those for 32 bytes of each array in a
lane: one turn of the loop, or two. Where it branches, in the formulas, both ways are counted.
"""

from typing import NamedTuple, TypeAlias

Case: TypeAlias = tuple[str, str, str]
"""A dtype, a kind of table and a function. "product" is z·f(x) with a gate table; "formula" and
"fast" are without a table, in this library's loop: kernels/formula.cu."""

ARCHITECTURES = 80, 86, 90, 100

LOOP_BYTES = 32  # of each array that the counts are for


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
float16  linear     gelu          138/72/45/0/0    137/72/44/0/0    152/74/56/0/0    148/72/52/0/0
bfloat16 linear     gelu          146/66/59/0/0    146/66/59/0/0    160/75/63/0/0    157/69/64/0/0
float32  linear     gelu           74/32/29/0/0     73/32/28/0/0     80/34/32/0/0     76/32/28/0/0
float64  linear     gelu         141/45/47/0/40   139/43/47/0/40   148/41/50/0/40   146/39/48/0/40
float16  direct     gelu         193/57/115/0/0   192/56/115/0/0   196/52/118/0/0   192/59/105/0/0
bfloat16 direct     gelu         233/49/163/0/0   232/48/163/0/0   196/44/126/0/0   192/51/113/0/0
float16  full       gelu           72/24/27/0/0     71/23/27/0/0     71/20/30/0/0     67/19/25/0/0
bfloat16 full       gelu           72/24/27/0/0     71/23/27/0/0     71/20/30/0/0     67/19/25/0/0
float16  compact    gelu         233/119/45/0/0   232/119/44/0/0   248/116/62/0/0   244/114/58/0/0
float16  compact    silu         249/119/61/0/0   248/119/60/0/0   264/116/78/0/0   260/116/72/0/0
bfloat16 compact    gelu         258/135/70/0/0   259/135/71/0/0   272/132/86/0/0   268/130/82/0/0
bfloat16 compact    gelu_tanh    274/151/70/0/0   273/151/69/0/0   289/148/87/0/0   284/146/82/0/0
bfloat16 compact    silu         310/154/87/0/0   305/151/85/0/0  320/148/102/0/0   317/146/99/0/0
float32  gate       gelu         193/111/53/0/0   192/111/52/0/0   194/109/56/0/0   196/107/58/0/0
float32  gate       silu         169/103/37/0/0   168/103/36/0/0   170/101/40/0/0    164/98/34/0/0
float32  polynomial mish        322/126/135/0/0  323/126/136/0/0  316/116/134/0/0  314/113/132/0/0
float64  polynomial gelu        291/40/102/0/92  297/45/102/0/93  296/32/101/0/98   329/66/98/0/95
float16  product    silu         390/248/80/0/0   390/248/80/0/0   388/246/78/0/0   376/244/74/0/0
bfloat16 product    silu        410/216/132/0/0  412/216/134/0/0  406/214/128/0/0  397/212/127/0/0
float32  product    silu         190/112/40/0/0   190/112/40/0/0   188/110/38/0/0   178/109/34/0/0
float16  formula    gelu       450/268/161/16/0 450/263/166/16/0 448/265/162/16/0 443/262/158/16/0
float16  formula    gelu_tanh   379/264/78/32/0  378/263/78/32/0  377/261/79/32/0  375/260/75/32/0
float16  formula    silu       448/247/116/32/0 455/231/139/32/0 453/244/124/32/0 468/242/123/32/0
bfloat16 formula    gelu       460/252/187/16/0 460/247/192/16/0 459/249/189/16/0 452/246/183/16/0
bfloat16 formula    gelu_tanh  389/248/104/32/0 388/247/104/32/0 387/245/105/32/0  383/244/99/32/0
bfloat16 formula    silu       456/231/140/32/0 463/215/163/32/0 461/228/148/32/0 476/226/147/32/0
float32  formula    gelu         225/132/80/8/0   223/127/83/8/0   224/129/82/8/0   225/129/77/8/0
float32  formula    gelu_tanh   186/128/37/16/0  185/127/37/16/0  185/125/39/16/0  181/123/35/16/0
float32  formula    silu        218/113/60/16/0  218/111/62/16/0  215/110/60/16/0  229/114/60/16/0
float16  fast       gelu        137/104/12/16/0  136/103/12/16/0  136/101/14/16/0   132/99/10/16/0
float16  fast       gelu_tanh   137/104/12/16/0  136/103/12/16/0  136/101/14/16/0   132/99/10/16/0
float16  fast       silu         120/71/12/32/0   119/71/11/32/0   119/68/14/32/0   115/66/10/32/0
bfloat16 fast       gelu         148/88/39/16/0   149/87/41/16/0   149/85/43/16/0   143/83/37/16/0
bfloat16 fast       gelu_tanh    148/88/39/16/0   149/87/41/16/0   149/85/43/16/0   143/83/37/16/0
bfloat16 fast       silu         128/55/36/32/0   127/55/35/32/0   129/52/40/32/0   123/50/34/32/0
float32  fast       gelu            65/48/4/8/0      64/47/4/8/0      64/45/6/8/0      60/43/2/8/0
float32  fast       gelu_tanh       65/48/4/8/0      64/47/4/8/0      64/45/6/8/0      60/43/2/8/0
float32  fast       silu           56/31/4/16/0     55/31/3/16/0     55/28/6/16/0     51/26/2/16/0
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
